"""BERT on the workbench: the feed-forward layers are pruned; ffn and hidden dimensions laid out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from seqlab.data.examples import Examples, load_examples
from seqlab.data.sources import read_origin
from seqlab.errors import UserError
from seqlab.layout.permutation import Permutation
from seqlab.models.bert_sites import bert_sites
from seqlab.models.classifier import load_classifier
from seqlab.models.equivalence import Inputs
from seqlab.studies.codesign.canonical import stream
from seqlab.studies.codesign.workbench.spec import ArchitectureSpec
from seqlab.studies.codesign.workbench.subject import Score, Subject, forward_pass
from seqlab.training.classify import evaluate_examples

_GATE_INPUTS, _GATE_TOKENS = 8, 16


class BertSubject(Subject):
    """A sentence classifier; a timed call is one forward pass over held-out text, unpadded.

    Args:
        name: Name of the architecture.
        spec: Its settings.
        assets: Folder of the trained classifier, folder of its examples.
        seed: Of windows and sentences.
        device: Where the model runs.
    """

    def __init__(
        self, name: str, spec: ArchitectureSpec, assets: list[Path], seed: int, device: str
    ) -> None:
        folder, examples = assets
        model = load_classifier(folder, device)
        layers = range(model.config.num_hidden_layers)
        super().__init__(
            name,
            spec,
            model,
            bert_sites(model.config, "sequence_classification"),
            tuple(
                f"bert.encoder.layer.{i}.{part}.dense"
                for i in layers
                for part in ("intermediate", "output")
            ),
            rehearsal=read_origin(folder).rehearsal,
        )
        self._train, self._test = load_examples(examples, "train"), load_examples(examples, "test")
        self._seed, self._device = seed, device
        self.ids = self._windows(self._test, spec.length, spec.batch, "timed")

    def _windows(self, examples: Examples, length: int, count: int, purpose: str) -> Tensor:
        """Return (count, length) token ids of running text: no call is spent on padding."""
        rng = stream(self._seed, purpose)
        last = len(examples.ids) - length
        if last < 0:
            raise UserError(
                f"a split of {len(examples.ids)} tokens holds no window of {length}",
                where=f"architecture {self.name}",
                fix="make it shorter or take more documents",
            )
        starts = rng.integers(0, last + 1, count)
        windows = np.stack([examples.ids[start : start + length] for start in starts])
        return torch.from_numpy(windows.astype(np.int64)).to(self._device)

    def calibrate(self, model: nn.Module) -> None:
        """Run running text of the training split through the model."""
        windows = self._windows(self._train, self.spec.length, self.spec.calibration, "calibration")
        for window in windows.split(8):
            model(window)

    def gate_inputs(self) -> Inputs:
        """Return 8 short pieces of held-out text (8, 16)."""
        return self._windows(self._test, _GATE_TOKENS, _GATE_INPUTS, "gate")

    def caller(self, model: nn.Module, nodes: Permutation | None) -> Callable[[], Tensor]:
        """Return one forward pass over (batch, length) tokens."""
        return forward_pass(model, self.ids)

    def compiled_inputs(self) -> Tensor:
        """Return the argument of a timed call."""
        return self.ids

    def score(self, model: nn.Module) -> Score | None:
        """Return accuracy on held-out sentences, the first ones of the split."""
        if not self.spec.quality:
            return None
        found = evaluate_examples(model, self._test.first(self.spec.quality))
        return Score("accuracy", found.metrics()["accuracy"], "1")

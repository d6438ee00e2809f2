"""Mamba on the workbench: projections are pruned, inner and hidden dimensions laid out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from seqlab.data.batches import sample_windows
from seqlab.data.sources import read_origin
from seqlab.data.tokens import load_tokens
from seqlab.layout.permutation import Permutation
from seqlab.models.equivalence import Inputs
from seqlab.models.pretrained import load_causal_lm
from seqlab.models.sites import mamba_sites
from seqlab.studies.codesign.canonical import stream
from seqlab.studies.codesign.workbench.spec import ArchitectureSpec
from seqlab.studies.codesign.workbench.subject import Score, Subject, forward_pass
from seqlab.training.evaluate import evaluate_windows
from seqlab.training.losses import next_token_loss

_GATE_INPUTS, _GATE_TOKENS = 8, 8


class MambaSubject(Subject):
    """A Mamba language model; a timed call is one forward pass over held-out text.

    Args:
        name: Name of the architecture.
        spec: Its settings.
        assets: Folder of the trained model, folder of its tokens.
        seed: Of windows.
        device: Where the model runs.
    """

    def __init__(
        self, name: str, spec: ArchitectureSpec, assets: list[Path], seed: int, device: str
    ) -> None:
        folder, tokens = assets
        model = load_causal_lm(folder, device=device).eval()
        mixers = [f"backbone.layers.{i}.mixer" for i in range(len(list(model.mixers())))]
        super().__init__(
            name,
            spec,
            model,
            mamba_sites(model.config),
            tuple(f"{mixer}.{part}" for mixer in mixers for part in ("in_proj", "out_proj")),
            rehearsal=read_origin(folder).rehearsal,
        )
        train, self._held_out = load_tokens(tokens, "train"), load_tokens(tokens, "test")
        self._calibration = torch.from_numpy(
            sample_windows(train, spec.length, spec.calibration, stream(seed, "calibration"))
        ).to(device)
        self._seed, self._device = seed, device
        self.ids = self.text(spec.batch, spec.length)

    def text(self, batch: int, length: int) -> Tensor:
        """Return held-out token ids (batch, length) for a timed call, the same in every run of a
        seed.
        """
        windows = sample_windows(self._held_out, length, batch, stream(self._seed, "timed"))
        return torch.from_numpy(windows).to(self._device)

    def calibrate(self, model: nn.Module) -> None:
        """Run the calibration windows through the model, one at a time."""
        for window in self._calibration.split(1):
            model.backbone(window)  # type: ignore[operator]

    def calibration_losses(self, model: nn.Module) -> Iterator[Tensor]:
        """Yield the mean next-token loss of each calibration window."""
        for window in self._calibration.split(1):
            yield next_token_loss(model, window, 0).total

    def gate_inputs(self) -> Inputs:
        """Return 8 short held-out sequences (8, 8)."""
        rng = stream(self._seed, "gate")
        windows = sample_windows(self._held_out, _GATE_TOKENS, _GATE_INPUTS, rng)
        return torch.from_numpy(windows).to(self._device)

    def caller(self, model: nn.Module, nodes: Permutation | None) -> Callable[[], Tensor]:
        """Return one forward pass over (batch, length) held-out tokens."""
        return forward_pass(model, self.ids)

    def compiled_inputs(self) -> Tensor:
        """Return the argument of a timed call."""
        return self.ids

    def score(self, model: nn.Module) -> Score | None:
        """Return bits per byte on held-out windows."""
        if not self.spec.quality:
            return None
        rng = stream(self._seed, "held_out")
        windows = sample_windows(self._held_out, self.spec.length + 1, self.spec.quality, rng)
        found = evaluate_windows(model, windows, self._held_out.token_bytes)
        return Score("bits_per_byte", found.bits_per_byte, "bits/byte")

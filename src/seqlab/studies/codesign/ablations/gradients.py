"""Affinities of gradients (G9): how |gradient x activation| varies together over tokens."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn

from seqlab.layout.affinity import StreamingCorrelation, affinity, sensitivity
from seqlab.studies.codesign.workbench.layouts import Affinities, reading_layers
from seqlab.studies.codesign.workbench.spec import SolverSpec
from seqlab.studies.codesign.workbench.subject import Subject, features_last


def gradient_affinities(subject: Subject, model: nn.Module, solver: SolverSpec) -> Affinities:
    """Return site -> (D, D) affinity at the pruned layers that read it, as activations have one.

    Args:
        subject: The architecture; its losses are those of its calibration inputs.
        model: Model in original order; left as it is.
        solver: What becomes of a negative correlation.

    Raises:
        UserError: The architecture has no loss on its calibration inputs.
    """
    model = copy.deepcopy(model).requires_grad_(True)
    places: dict[str, list[StreamingCorrelation]] = {}
    seen: list[tuple[StreamingCorrelation, nn.Module, Tensor]] = []
    for name, layer in reading_layers(subject):
        stream = StreamingCorrelation(subject.solved[name].size)
        places.setdefault(name, []).append(stream)

        def keep(
            module: nn.Module, inputs: tuple[Tensor, ...], stream: StreamingCorrelation = stream
        ) -> None:
            seen.append((stream, module, inputs[0]))

        model.get_submodule(layer).register_forward_pre_hook(keep)
    for loss in subject.calibration_losses(model):
        slopes = torch.autograd.grad(loss, [x for *_, x in seen])
        for (stream, module, x), slope in zip(seen, slopes, strict=True):
            values, gradients = features_last(x, module), features_last(slope, module)
            stream.update(sensitivity(values, gradients))
        seen.clear()
    return {
        name: np.mean([affinity(s.correlation(), mode=solver.affinity) for s in streams], axis=0)
        for name, streams in places.items()
    }

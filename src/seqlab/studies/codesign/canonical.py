"""Models in the layouts of an arm: copies in another order, and what function they compute.

Affinities are measured and functions compared on weights in original order, so that layouts solved
for different arms are in the same labels.
"""

from __future__ import annotations

import copy
import hashlib
from typing import TypeVar

import numpy as np
from torch import nn

from seqlab.models.permuting import Layout, apply_layout, relayout

Model = TypeVar("Model", bound=nn.Module)


def stream(seed: int, purpose: str) -> np.random.Generator:
    """Return the random stream of one purpose of a run, independent of its other streams."""
    return np.random.default_rng([seed, *purpose.encode()])


def in_layout(model: Model, layout: Layout) -> Model:
    """Return a copy of a model in original order, brought into `layout`."""
    result = copy.deepcopy(model)
    apply_layout(result, layout)
    return result


def moved(model: Model, before: Layout, after: Layout) -> Model:
    """Return a copy of a model that stands in `before`, brought into `after`."""
    result = copy.deepcopy(model)
    relayout(result, before, after)
    return result


def in_original_order(model: Model, layout: Layout) -> Model:
    """Return the function of a model that stands in `layout` in original order, to read only."""
    original = Layout(layout.sites)
    return model if layout == original else moved(model, layout, original)


def function_digest(model: nn.Module) -> str:
    """Return the SHA-256 of the weights of a model in original order.

    Arms that agree in it compute one function.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.float().cpu().contiguous().numpy())
    return digest.hexdigest()

"""The gate of every permuted arm: same function, same values, only reordered.

Three things are compared: the shapes of all tensors; the multiset of the values of each, bit for
bit, which a permutation cannot change; and the logits on fixed inputs, computed in fp64 by plain
torch. The logits of a correct permutation differ by the order of summation only, about 1e-15 of
their size; a tensor that was left out changes them at their own scale.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seqlab.errors import UserError
from seqlab.kernels.digest import multiset_sums
from seqlab.models.permuting import Layout, apply_layout
from seqlab.models.quantize import QuantizedLinear

Inputs = Tensor | Mapping[str, Any]

MIN_INPUTS = 8
TOLERANCE = 1e-10
_INTEGER_OF_BYTES = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True)
class Equivalence:
    """Outcome of the gate.

    Attributes:
        passed: Whether shapes, values and logits all agree.
        max_abs: Largest absolute difference of two logits; NaN where the shapes differ.
        tolerance: What `max_abs` was held against.
        dtype: Type in which the logits were computed.
        n_inputs: Number of input sequences.
        detail: What disagrees, the worst tensor first; empty if passed.
    """

    passed: bool
    max_abs: float
    tolerance: float
    dtype: str
    n_inputs: int
    detail: str


class Reference:
    """What is computed once of the model that others are permuted from.

    Args:
        model: The model before the permutation; its output has a field `logits`. It must not change
            afterwards.
        inputs: What models are called with: one tensor, as token ids `(n, T)`, or keyword
            arguments, whose first tensor has n entries; n at least 8 (sequences, images or nodes).

    Raises:
        UserError: Fewer than 8 inputs.
    """

    def __init__(self, model: nn.Module, inputs: Inputs) -> None:
        self.count = _count(inputs)
        if self.count < MIN_INPUTS:
            raise UserError(
                f"{self.count} inputs are too few for the equivalence check",
                fix=f"give at least {MIN_INPUTS}",
            )
        self.model, self.inputs = model, inputs
        self.state = model.state_dict()

    @cached_property
    def logits(self) -> Tensor:
        """The fp64 logits on the inputs."""
        return _fp64_logits(self.model, self.inputs)

    @cached_property
    def digests(self) -> dict[str, str]:
        """Tensor -> digest of its values."""
        return {name: multiset_digest(tensor) for name, tensor in self.state.items()}


def check_equivalence(
    reference: Reference,
    candidate: nn.Module,
    *,
    tolerance: float = TOLERANCE,
    layout: Layout | None = None,
) -> Equivalence:
    """Compare a permuted model with the model it was permuted from; both are left as they are.

    Args:
        reference: The model before the permutation.
        candidate: The model after it.
        tolerance: Largest accepted absolute difference of the fp64 logits.
        layout: The move from `reference` to `candidate`, where it is known: lets the result name
            the tensor that did not follow it.
    """
    after = candidate.state_dict()
    fault, max_abs = _shape_fault(reference.state, after), float("nan")
    if not fault:
        difference = reference.logits - _fp64_logits(candidate, reference.inputs)
        max_abs = difference.abs().max().item()
        fault = _value_fault(reference, after)
        if not fault and not max_abs <= tolerance:  # NaN fails as well
            fault = f"logits differ by {max_abs:.3g}, more than {tolerance:.3g}"
            fault += _order_fault(reference.model, after, layout)
    return Equivalence(
        passed=not fault,
        max_abs=max_abs,
        tolerance=tolerance,
        dtype="float64",
        n_inputs=reference.count,
        detail=fault,
    )


def require_equivalence(
    reference: Reference,
    candidate: nn.Module,
    *,
    tolerance: float = TOLERANCE,
    layout: Layout | None = None,
    where: str = "permuted model",
) -> Equivalence:
    """As `check_equivalence`, but refuse a candidate that fails.

    Raises:
        UserError: The check failed; names the worst tensor and `where`.
    """
    result = check_equivalence(reference, candidate, tolerance=tolerance, layout=layout)
    if not result.passed:
        raise UserError(
            f"not equivalent to the model it was permuted from: {result.detail}",
            where=where,
            fix="permute every tensor of the site, and nothing else",
        )
    return result


def multiset_digest(tensor: Tensor) -> str:
    """Return a digest of a tensor's values, bit for bit, whatever their order.

    Sum and exclusive or of the values' bits, mixed: 128 bits without sorting, because the gate runs
    before every measurement.
    """
    bits = _bits(tensor)
    total, xored = multiset_sums(bits.view(f"u{bits.itemsize}"))
    return f"{bits.size}-{int(total):016x}-{int(xored):016x}"


def reference_copy(model: nn.Module) -> nn.Module:
    """Return a copy in fp64 and evaluation mode that computes in plain torch throughout."""
    result = copy.deepcopy(model).double().eval()
    for module in result.modules():
        if isinstance(module, QuantizedLinear):
            module.backend = "torch"
    return result


def _count(inputs: Inputs) -> int:
    if isinstance(inputs, Tensor):
        return inputs.shape[0]
    return next(int(value.shape[0]) for value in inputs.values() if isinstance(value, Tensor))


def _fp64_logits(model: nn.Module, inputs: Inputs) -> Tensor:
    copied = reference_copy(model)
    with torch.inference_mode():
        if isinstance(inputs, Tensor):
            logits: Tensor = copied(_double(inputs)).logits
        else:
            logits = copied(**{name: _double(value) for name, value in inputs.items()}).logits
        return logits


def _double(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


def _bits(tensor: Tensor) -> np.ndarray:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    bits: np.ndarray = flat.view(_INTEGER_OF_BYTES[flat.element_size()]).numpy()
    return bits


def _shape_fault(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> str:
    unmatched = sorted(before.keys() ^ after.keys())
    if unmatched:
        return f"only one of the models has {', '.join(unmatched)}"
    reshaped = [name for name in before if before[name].shape != after[name].shape]
    if reshaped:
        name = reshaped[0]
        return f"{name} is {tuple(after[name].shape)}, was {tuple(before[name].shape)}"
    return ""


def _value_fault(reference: Reference, after: Mapping[str, Tensor]) -> str:
    """Name the tensors whose values are not those of before, most changed values first."""
    changed = {}
    for name, tensor in reference.state.items():
        if reference.digests[name] != multiset_digest(after[name]):
            differing = np.sort(_bits(tensor)) != np.sort(_bits(after[name]))
            changed[name] = int(differing.sum())
    worst_first = sorted(changed, key=changed.__getitem__, reverse=True)
    if not worst_first:
        return ""
    return f"values changed, not only their order, in {', '.join(worst_first)}"


def _order_fault(reference: nn.Module, after: Mapping[str, Tensor], layout: Layout | None) -> str:
    """Name the tensors that are not where the layout puts them, most misplaced values first."""
    if layout is None:
        return ""
    expected = copy.deepcopy(reference)
    apply_layout(expected, layout)
    misplaced = {}
    for name, tensor in expected.state_dict().items():
        if not torch.equal(tensor, after[name]):
            misplaced[name] = int((tensor != after[name]).sum())
    worst_first = sorted(misplaced, key=misplaced.__getitem__, reverse=True)
    if not worst_first:
        return "; every tensor is where the layout puts it, so the site is incomplete"
    return f"; out of place: {', '.join(worst_first)}"

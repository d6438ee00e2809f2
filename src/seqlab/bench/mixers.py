"""Chunked linear recurrences, forward and backward, against one token at a time.

Input: random q, k, v and gates of batch 8, 2 heads of 64, lengths 64 to 4,096, one thread. Peers:
the same recurrence step by step, with inputs unbound once, and with inputs indexed at each step
(whose backward is quadratic in the length); PyTorch's causal attention of the same width, which
computes something else, as a measure of cost. Agreement means equal outputs and gradients. A last
row per form gives the log-log slope of its time over the length.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from seqlab.bench.harness import Plan, compare
from seqlab.kernels import chunked, recurrences
from seqlab.kernels.recurrences import Form

BATCH, HEADS, WIDTH = 8, 2, 64
LENGTHS = (64, 256, 1024, 4096)
# A step-by-step backward keeps a state per token: 4,096 of them do not fit beside each other.
LONGEST_STEPWISE = 1024
LONGEST_INDEXED = 256
TOLERANCE = 1e-3

ATTENTION = "attention (another function)"

_NAME = "mixers"
_SEED = 0
FORMS: dict[str, tuple[Form, Form]] = {
    "retention": (chunked.chunked_decayed, recurrences.decayed_recurrence),
    "gla": (chunked.chunked_gated, recurrences.gated_recurrence),
    "deltanet": (chunked.chunked_delta, recurrences.delta_recurrence),
    "gated_deltanet": (chunked.chunked_gated_delta, recurrences.gated_delta_recurrence),
    "rwkv7": (chunked.chunked_generalized_delta, recurrences.generalized_delta_recurrence),
}


def run(quick: bool, budget_s: float) -> Iterator[dict[str, Any]]:
    """Yield one row per form, length and peer, then the slopes.

    Args:
        quick: Short sequences and few repeats, to test that the bench works.
        budget_s: Seconds the whole bench may time for.
    """
    most = torch.get_num_threads()
    lengths = (32, 64) if quick else LENGTHS
    plan = Plan.of(quick, budget_s / (len(lengths) * len(FORMS)))
    rng = np.random.default_rng(_SEED)
    torch.set_num_threads(1)
    try:
        for form, (ours, stepwise) in FORMS.items():
            times = {}
            for length in lengths:
                tensors = inputs(form, length)
                peers: dict[str, Callable[[], Any]] = {}
                if length <= LONGEST_STEPWISE:
                    peers["step by step"] = partial(_both, stepwise, tensors)
                if length <= LONGEST_INDEXED:
                    peers["indexed"] = partial(_both, partial(_indexed, stepwise), tensors)
                peers[ATTENTION] = partial(_attention, tensors)
                for row in compare(
                    _NAME,
                    f"{form} T{length}",
                    partial(_both, ours, tensors),
                    peers,
                    agree=_agree,
                    plan=plan,
                    rng=rng,
                    threads=1,
                ):
                    times[length] = row["ours_min_s"]
                    # Nothing is compared with what computes something else.
                    yield row | ({"agree": None} if row["peer"] == ATTENTION else {})
            yield _slope(form, times)
    finally:
        torch.set_num_threads(most)


def inputs(form: str, length: int) -> list[Tensor]:
    """Return what a form takes, (B, H, T, ...), with gates of usual size."""
    generator = torch.Generator().manual_seed(_SEED)

    def normal(*size: int) -> Tensor:
        return torch.randn(BATCH, HEADS, length, *size, generator=generator)

    q, k, v = (normal(WIDTH) for _ in range(3))
    unit, beta = functional.normalize(k, dim=-1), normal().sigmoid()
    gate = functional.logsigmoid(normal(WIDTH)) / 16
    made = {
        "retention": [q, unit, v, torch.full_like(beta, math.log1p(-1 / 32))],
        "gla": [q, unit, v, gate],
        "deltanet": [q, unit, v, beta],
        "gated_deltanet": [q, unit, v, beta, gate[..., 0]],
        "rwkv7": [q, unit, v, -unit, unit * beta[..., None], gate],
    }[form]
    return [tensor.requires_grad_() for tensor in made]


def _both(form: Form, tensors: list[Tensor]) -> list[Tensor]:
    """Return the output and the gradients of its sum."""
    output, _ = form(*tensors)
    return [output.detach(), *torch.autograd.grad(output.sum(), tensors)]


def _indexed(stepwise: Form, *tensors: Tensor) -> tuple[Tensor, Tensor]:
    """Run a recurrence with its full inputs indexed at each step."""
    outputs, state = [], None
    for t in range(tensors[0].shape[2]):
        output, state = stepwise(*(tensor[:, :, t : t + 1] for tensor in tensors), state)
        outputs.append(output)
    assert state is not None
    return torch.cat(outputs, 2), state


def _attention(tensors: list[Tensor]) -> list[Tensor]:
    q, k, v = tensors[:3]
    output = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    return list(torch.autograd.grad(output.sum(), (q, k, v)))


def _agree(ours: list[Tensor], theirs: list[Tensor]) -> bool:
    """Whether outputs and gradients are equal; attention computes something else."""
    if len(theirs) != len(ours):
        return True
    return all(
        bool((a - b).norm() <= TOLERANCE * b.norm()) for a, b in zip(ours, theirs, strict=True)
    )


def _slope(form: str, times: dict[int, float]) -> dict[str, Any]:
    lengths = sorted(times)
    slope = float(np.polyfit(np.log(lengths), np.log([times[n] for n in lengths]), 1)[0])
    return {
        "name": _NAME,
        "case": form,
        "peer": "itself at other lengths",
        "slope": slope,
        "lengths": lengths,
        "seconds": [times[n] for n in lengths],
    }

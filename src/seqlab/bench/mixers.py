"""Linear recurrences in chunks, forward and backward, against one token at a time and compiled.

Input: random q, k, v and gates of batch 8, 2 heads of 64, lengths 64 to 4,096, one thread. Peers:
the same recurrence by the compiled kernel that a CPU uses in float32; step by step, with inputs
unbound once, and with inputs indexed at each step (whose backward is quadratic in the length);
PyTorch's causal attention of the same width, which computes something else, as a measure of cost.
Agreement means equal outputs and gradients. The last rows of a form give the log-log slopes of its
times over the length, in chunks and compiled.
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
from seqlab.kernels import chunked, recurrences, recurrences_numba
from seqlab.kernels.recurrences import Form

BATCH, HEADS, WIDTH = 8, 2, 64
LENGTHS = (64, 256, 1024, 4096)
# A step-by-step backward keeps a state per token: 4,096 of them do not fit beside each other.
LONGEST_STEPWISE = 1024
LONGEST_INDEXED = 256
TOLERANCE = 1e-3

ATTENTION = "attention (another function)"
CHUNKED, COMPILED, STEPWISE, INDEXED = "in chunks", "compiled", "step by step", "indexed"

_NAME = "mixers"
_SEED = 0
# Architecture -> its recurrence.
FORMS = {
    "retention": "decayed",
    "gla": "gated",
    "deltanet": "delta",
    "gated_deltanet": "gated_delta",
    "rwkv7": "generalized_delta",
}


def run(quick: bool, budget_s: float) -> Iterator[dict[str, Any]]:
    """Yield one row per architecture, length and peer, then the slopes.

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
        for architecture in FORMS:
            times: dict[str, dict[int, float]] = {CHUNKED: {}, COMPILED: {}}
            for length in lengths:
                tensors = inputs(architecture, length)
                peers: dict[str, Callable[[], Any]] = {
                    COMPILED: partial(_both, form_of(architecture, COMPILED), tensors)
                }
                if length <= LONGEST_STEPWISE:
                    peers[STEPWISE] = partial(_both, form_of(architecture, STEPWISE), tensors)
                if length <= LONGEST_INDEXED:
                    indexed = partial(_indexed, form_of(architecture, STEPWISE))
                    peers[INDEXED] = partial(_both, indexed, tensors)
                peers[ATTENTION] = partial(_attention, tensors)
                for row in compare(
                    _NAME,
                    f"{architecture} T{length}",
                    partial(_both, form_of(architecture, CHUNKED), tensors),
                    peers,
                    agree=_agree,
                    plan=plan,
                    rng=rng,
                    threads=1,
                ):
                    times[CHUNKED][length] = row["ours_min_s"]
                    if row["peer"] == COMPILED:
                        times[COMPILED][length] = row["peer_min_s"]
                    # Nothing is compared with what computes something else.
                    yield row | ({"agree": None} if row["peer"] == ATTENTION else {})
            for computed, seconds in times.items():
                yield _slope(f"{architecture} {computed}", seconds)
    finally:
        torch.set_num_threads(most)


def form_of(architecture: str, computed: str) -> Form:
    """Return the recurrence of an architecture as it is computed in one of three ways."""
    name = FORMS[architecture]
    forms: dict[str, Form] = {
        CHUNKED: getattr(chunked, f"chunked_{name}"),
        COMPILED: getattr(recurrences_numba, f"numba_{name}"),
        STEPWISE: getattr(recurrences, f"{name}_recurrence"),
    }
    return forms[computed]


def inputs(architecture: str, length: int) -> list[Tensor]:
    """Return what its recurrence takes, (B, H, T, ...), with gates of usual size."""
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
    }[architecture]
    return [tensor.requires_grad_() for tensor in made]


def _both(form: Form, tensors: list[Tensor]) -> list[Tensor]:
    """Return the output and the gradients of its sum."""
    output, _ = form(*tensors)
    return [output.detach(), *torch.autograd.grad(output.sum(), tensors)]


def _indexed(step: Form, *tensors: Tensor) -> tuple[Tensor, Tensor]:
    """Run a recurrence with its full inputs indexed at each step."""
    outputs, state = [], None
    for t in range(tensors[0].shape[2]):
        output, state = step(*(tensor[:, :, t : t + 1] for tensor in tensors), state)
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


def _slope(case: str, times: dict[int, float]) -> dict[str, Any]:
    lengths = sorted(times)
    slope = float(np.polyfit(np.log(lengths), np.log([times[n] for n in lengths]), 1)[0])
    return {
        "name": _NAME,
        "case": case,
        "peer": "itself at other lengths",
        "slope": slope,
        "lengths": lengths,
        "seconds": [times[n] for n in lengths],
    }

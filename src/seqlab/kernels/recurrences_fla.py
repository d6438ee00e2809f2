"""Linear recurrences on a GPU through flash-linear-attention's kernels, imported on first use.

The same functions as `recurrences`, with the same shapes and results. The kernels want tokens
before heads, and q, k and v in half precision: the delta rules refuse fp32. Log decays and states
stay in fp32; the others take the type of the values.
"""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache
from typing import Any

import torch
from torch import Tensor


@cache
def fla_importable() -> bool:
    """Tell whether flash-linear-attention and triton are there, without importing them."""
    return all(importlib.util.find_spec(name) is not None for name in ("fla", "triton"))


def fla_decayed(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Decay by one factor per head, g (B, H, T): RetNet."""
    return _run("simple_gla", "chunk_simple_gla", {"q": q, "k": k, "v": v}, {"g": g}, state)


def fla_gated(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Decay by a factor per key, g (B, H, T, K): GLA."""
    return _run("gla", "chunk_gla", {"q": q, "k": k, "v": v}, {"g": g}, state)


def fla_delta(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Apply the delta rule with beta (B, H, T): DeltaNet."""
    half = {"q": q, "k": k, "v": v, "beta": beta}
    return _run("delta_rule", "chunk_delta_rule", half, {}, state)


def fla_gated_delta(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Apply the delta rule to a state that decays, beta and g (B, H, T): Gated DeltaNet."""
    half = {"q": q, "k": k, "v": v, "beta": beta}
    return _run("gated_delta_rule", "chunk_gated_delta_rule", half, {"g": g}, state)


def fla_generalized_delta(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    a: Tensor,
    b: Tensor,
    g: Tensor,
    state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Apply the generalised delta rule, a, b and g (B, H, T, K): RWKV-7."""
    half = {"r": q, "k": k, "v": v, "a": a, "b": b}
    return _run("rwkv7", "chunk_rwkv7", half, {"w": g}, state)


def _run(
    module: str,
    name: str,
    half: dict[str, Tensor],
    full: dict[str, Tensor],
    state: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Call an operator of `fla.ops`.

    Args:
        module: Of the operator, below `fla.ops`.
        name: Of the operator.
        half: Argument -> tensor (B, H, T, ...) that is handed over in the type of the values.
        full: Argument -> tensor that is handed over in float32.
        state: Before the first token (B, H, K, W).

    Returns:
        The output (B, H, T, W) in the type of the values, and the last state in float32.
    """
    dtype = half["v"].dtype
    operator: Any = getattr(importlib.import_module(f"fla.ops.{module}"), name)
    given = {
        key: tensor.transpose(1, 2).to(kind).contiguous()
        for tensors, kind in ((half, dtype), (full, torch.float32))
        for key, tensor in tensors.items()
    }
    output, last = operator(
        **given,
        scale=1.0,
        initial_state=None if state is None else state.float().contiguous(),
        output_final_state=True,
    )
    return output.transpose(1, 2).to(dtype), last

"""Linear recurrences with a matrix state, one interface over all its forms.

One token, as in decoding, takes a step of the recurrence itself. Longer sequences are computed on a
CPU in float32 by one compiled kernel; on a GPU, where values are in half precision, by
flash-linear-attention's; and elsewhere, on every device and in every precision, in chunks of
batched products: what trains in float32 is never rounded behind one's back. Shapes and results are
those of `recurrences`.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from seqlab.kernels import chunked, recurrences, recurrences_fla
from seqlab.kernels.recurrences import Form, in_full_precision

Backend = Literal["chunked", "fla", "numba"]
_STEPS: dict[str, Form] = {
    name: in_full_precision(getattr(recurrences, f"{name}_recurrence"))
    for name in ("decayed", "gated", "delta", "gated_delta", "generalized_delta")
}


def resolve_backend(device: torch.device, dtype: torch.dtype) -> Backend:
    """Return what computes a recurrence over many values of a type on a device.

    Half precision is computed in float32 unless fla computes it.
    """
    if device.type == "cpu":
        return "chunked" if dtype == torch.float64 else "numba"
    half = dtype in (torch.bfloat16, torch.float16)
    on_gpu = device.type == "cuda"
    return "fla" if half and on_gpu and recurrences_fla.fla_importable() else "chunked"


def decayed(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """S_t = e^{g_t} S_{t-1} + k_t v_t^T with one log decay per head, g (B, H, T): RetNet."""
    return _computed("decayed", q, k, v, g, state)


def gated(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """S_t = diag(e^{g_t}) S_{t-1} + k_t v_t^T with log decays g (B, H, T, K): GLA."""
    return _computed("gated", q, k, v, g, state)


def delta(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """S_t = S_{t-1} + k_t beta_t (v_t - S_{t-1}^T k_t)^T with beta (B, H, T): DeltaNet."""
    return _computed("delta", q, k, v, beta, state)


def gated_delta(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Apply the delta rule to a state that decays before it is read, beta and g (B, H, T)."""
    return _computed("gated_delta", q, k, v, beta, g, state)


def generalized_delta(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    a: Tensor,
    b: Tensor,
    g: Tensor,
    state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """S_t = diag(e^{g_t}) S_{t-1} + b_t (S_{t-1}^T a_t)^T + k_t v_t^T: RWKV-7."""
    return _computed("generalized_delta", q, k, v, a, b, g, state)


def _computed(name: str, *given: Tensor | None) -> tuple[Tensor, Tensor]:
    """Compute a recurrence of q, k, v (B, H, T, W), what else it takes, and a state or None."""
    v = given[2]
    assert v is not None
    if v.shape[2] == 1:
        # A whole sequence would cost its preparations: chunks, or arrays for the kernel.
        return _STEPS[name](*given)
    wide = any(x is not None and x.dtype == torch.float64 for x in given)
    return _form(name, resolve_backend(v.device, torch.float64 if wide else v.dtype))(*given)


def _form(name: str, backend: Backend) -> Form:
    form: Form
    if backend == "numba":
        from seqlab.kernels import recurrences_numba  # compiles its kernels

        form = getattr(recurrences_numba, f"numba_{name}")
    elif backend == "fla":
        form = getattr(recurrences_fla, f"fla_{name}")
    else:
        form = getattr(chunked, f"chunked_{name}")
    return form

"""Selective scan on GPU through the mamba-ssm package, imported on first use only."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from torch import Tensor

_MODULE = "mamba_ssm.ops.selective_scan_interface"


def mamba_ssm_importable() -> bool:
    """Tell whether mamba-ssm is installed, without importing it (and CUDA with it)."""
    return importlib.util.find_spec("mamba_ssm") is not None


def mamba_ssm_scan(
    u: Tensor,
    delta: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    d: Tensor | None,
    z: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Call `selective_scan_fn`, which wants channels before tokens.

    The kernel starts from a zero state; it returns the final state without a gradient.

    Returns:
        The output (B, T, I) and the final state (B, I, N).
    """
    interface: Any = importlib.import_module(_MODULE)
    y, state = interface.selective_scan_fn(
        u.transpose(1, 2).contiguous(),
        delta.transpose(1, 2).contiguous(),
        a.contiguous(),
        b.transpose(1, 2).contiguous(),
        c.transpose(1, 2).contiguous(),
        D=d,
        z=None if z is None else z.transpose(1, 2).contiguous(),
        delta_bias=None,
        delta_softplus=True,
        return_last_state=True,
    )
    return y.transpose(1, 2), state

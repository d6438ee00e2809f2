"""K6: a selective scan that skips blocks of channels of which none is left.

The scan is element-wise over channels, so their order changes no address pattern; but channels that
a pruned model does not need can only be skipped a block at a time. How many blocks are empty
depends on the order: the layout-sensitive part of an otherwise insensitive kernel.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from seqlab.kernels.selective_scan import selective_scan


def active_blocks(alive: Tensor, block: int) -> Tensor:
    """Return which blocks of `block` consecutive channels hold one that is alive.

    Args:
        alive: Channels in use (I,), booleans.
        block: Channels per block; the last one may be shorter.

    Returns:
        (ceil(I / block),) booleans.
    """
    missing = -alive.shape[0] % block
    padded = torch.nn.functional.pad(alive, (0, missing), value=False)
    return padded.reshape(-1, block).any(dim=1)


def block_scan(
    u: Tensor,
    delta: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    *,
    alive: Tensor,
    block: int,
    d: Tensor | None = None,
    z: Tensor | None = None,
    backend: str | None = None,
) -> Tensor:
    """Run the scan on the blocks that are needed; the output is zero in channels that are not.

    Args:
        u: Inputs (B, T, I).
        delta: Steps before softplus (B, T, I).
        a: Continuous state matrix (I, N).
        b, c: Input and output maps (B, T, N).
        alive: Channels in use (I,), booleans.
        block: Channels per block.
        d: Skip connection (I,).
        z: Gates (B, T, I).
        backend: See `selective_scan`.

    Returns:
        The output (B, T, I).

    Raises:
        ValueError: Shapes disagree, or the block is not positive.
    """
    if alive.shape != u.shape[-1:] or block < 1:
        raise ValueError(
            f"alive of {tuple(alive.shape)} in blocks of {block} for {u.shape[-1]} channels"
        )
    runs = list(_runs(active_blocks(alive, block), block, u.shape[-1]))
    if runs == [(0, u.shape[-1])]:
        y, _ = selective_scan(u, delta, a, b, c, d=d, z=z, backend=backend)
        return y.masked_fill(~alive, 0.0)
    out = torch.zeros_like(u)
    for first, last in runs:
        # Slices, not copies: gathering the channels costs more than scanning them.
        y, _ = selective_scan(
            u[..., first:last],
            delta[..., first:last],
            a[first:last],
            b,
            c,
            d=None if d is None else d[first:last],
            z=None if z is None else z[..., first:last],
            backend=backend,
        )
        # Channels of an active block that are not alive were computed, and are not wanted.
        out[..., first:last] = y.masked_fill(~alive[first:last], 0.0)
    return out


def _runs(active: Tensor, block: int, channels: int) -> Iterator[tuple[int, int]]:
    """Yield the first channel and the end of each run of consecutive active blocks."""
    none = torch.zeros(1, dtype=torch.int32, device=active.device)
    edges = torch.diff(active.int(), prepend=none, append=none)
    starts, ends = (edges == 1).nonzero().flatten(), (edges == -1).nonzero().flatten()
    for first, last in zip(starts.tolist(), ends.tolist(), strict=True):
        yield first * block, min(last * block, channels)

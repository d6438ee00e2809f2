"""Selective scan in standard tensor operators only, with about 2 sqrt(T) steps instead of T.

For compilers that take a graph of operators: no loop over time, no look at a value, no kernel of
our own. Time is cut into chunks that advance side by side, each from a zero state; their last
states are then carried from chunk to chunk, and the chunks advance once more from the right state.
That is twice the multiplications of the recurrence, and no exponent ever grows: the decays are all
at most one, unlike in forms that divide by their product.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def plain_scan(
    u: Tensor,
    delta: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    d: Tensor | None = None,
    z: Tensor | None = None,
) -> Tensor:
    """Run the scan of `seqlab.kernels.selective_scan.selective_scan` from a zero state.

    Args:
        u: Inputs (B, T, I).
        delta: Steps before softplus, bias included, (B, T, I).
        a: Continuous state matrix (I, N), not positive.
        b, c: Input and output maps (B, T, N).
        d: Skip connection (I,).
        z: Gates (B, T, I); the output is multiplied by silu(z).

    Returns:
        The output (B, T, I).
    """
    batch, tokens, channels = u.shape
    length = math.isqrt(tokens - 1) + 1
    chunks = -(-tokens // length)
    steps = functional.softplus(delta)

    def by_position(tensor: Tensor) -> tuple[Tensor, ...]:
        # (B, T, X) -> one (B, chunks, X) for each position in a chunk. The zeros at the end are
        # steps of no length.
        padded = functional.pad(tensor, (0, 0, 0, chunks * length - tokens))
        return padded.reshape(batch, chunks, length, -1).unbind(2)

    dts, inputs = by_position(steps), by_position(steps * u)
    decays = [torch.exp(dt[..., None] * a) for dt in dts]
    gains = [
        x[..., None] * b_j[:, :, None, :] for x, b_j in zip(inputs, by_position(b), strict=True)
    ]
    # (B, chunks, I, N): what a chunk adds by its end, and what it leaves of the state before it.
    added = gains[0]
    for decay, gain in zip(decays[1:], gains[1:], strict=True):
        added = decay * added + gain
    left = torch.exp(torch.stack(dts).sum(0)[..., None] * a)

    carried = [torch.zeros_like(added[:, 0])]
    for left_k, added_k in zip(left.unbind(1)[:-1], added.unbind(1)[:-1], strict=True):
        carried.append(left_k * carried[-1] + added_k)
    state = torch.stack(carried, 1)

    outputs = []
    for decay, gain, c_j in zip(decays, gains, by_position(c), strict=True):
        state = decay * state + gain
        outputs.append((state @ c_j[..., None])[..., 0])
    y = torch.stack(outputs, 2).reshape(batch, chunks * length, channels)[:, :tokens]
    if d is not None:
        y = y + d * u
    if z is not None:
        y = y * functional.silu(z)
    return y

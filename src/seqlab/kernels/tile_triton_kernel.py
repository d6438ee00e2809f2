"""The Triton kernel of `seqlab.kernels.tile_triton`; importing this imports Triton."""

# Annotations stay objects here: Triton looks for `tl.constexpr` among them.
import torch
import triton
import triton.language as tl
from torch import Tensor


def launch(
    indptr: Tensor,
    indices: Tensor,
    values: Tensor,
    x: Tensor,
    y: Tensor,
    block: int,
    precision: str,
) -> None:
    """Write W X to Y.

    Args:
        indptr, indices, values: The tiles, as in `seqlab.kernels.tile_triton.TileWeight`.
        x: (I, T), any strides.
        y: (O, T), any strides.
        block: Columns of Y per program, a power of two, 16 or more.
        precision: Of float32 products, "ieee" or "tf32".
    """
    tile, tokens = values.shape[1], x.shape[1]
    rows = indptr.shape[0] - 1
    programs = rows * triton.cdiv(tokens, block)
    if programs == 0:
        return
    with torch.cuda.device_of(x):
        _tile_product[(programs,)](
            *(indptr, indices, values, x, y, rows, tokens),
            *(x.stride(0), x.stride(1), y.stride(0), y.stride(1)),
            TILE=tile,
            BLOCK=block,
            PRECISION=precision,
        )


@triton.jit
def _tile_product(  # type: ignore[no-untyped-def]
    indptr,
    indices,
    values,
    x,
    y,
    rows,
    tokens,
    x_row,
    x_column,
    y_row,
    y_column,
    TILE: tl.constexpr,
    BLOCK: tl.constexpr,
    PRECISION: tl.constexpr,
):
    # Programs that run together share the columns of X, and so the second-level cache.
    program = tl.program_id(0)
    row = program % rows
    column = (program // rows).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = column < tokens
    edge = tl.arange(0, TILE)
    first = tl.load(indptr + row)
    last = tl.load(indptr + row + 1)
    # Offsets of 64 bits: a weight of 2 ** 31 elements, or such an operand, is not far off.
    tile_at = values + first.to(tl.int64) * (TILE * TILE) + edge[:, None] * TILE + edge[None, :]
    top_at = indices + first
    x_at = x + column[None, :] * x_column
    total = tl.zeros((TILE, BLOCK), dtype=tl.float32)
    for _ in range(first, last):
        input_rows = tl.load(top_at).to(tl.int64) * TILE + edge
        part = tl.load(x_at + input_rows[:, None] * x_row, mask=inside[None, :], other=0.0)
        total = tl.dot(tl.load(tile_at), part, acc=total, input_precision=PRECISION)
        tile_at += TILE * TILE
        top_at += 1
    output_rows = row.to(tl.int64) * TILE + edge
    y_at = y + output_rows[:, None] * y_row + column[None, :] * y_column
    tl.store(y_at, total.to(y.dtype.element_ty), mask=inside[None, :])

"""Cross-entropy of next-token logits, in nats."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from seqlab.kernels.arrays import needs_grad, rows

IGNORED = -100


def cross_entropy(logits: Tensor, targets: Tensor, backend: str) -> Tensor:
    """Return the mean of -log softmax(logits)[target] over targets that are not `IGNORED`.

    With no target left the mean is NaN, as in PyTorch.

    Args:
        logits: Scores (..., V).
        targets: Token ids (...), int64, in [0, V) or `IGNORED`.
        backend: "numba" runs the fused kernel on float32 CPU tensors; any other value, or another
            type or device, runs PyTorch's function in at least float32.

    Raises:
        IndexError: A target is outside [0, V).
    """
    if backend != "numba" or logits.dtype != torch.float32 or logits.device.type != "cpu":
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return functional.cross_entropy(
            wide.flatten(0, -2), targets.flatten(), ignore_index=IGNORED
        )
    valid = targets != IGNORED
    if bool((valid & ((targets < 0) | (targets >= logits.shape[-1]))).any()):
        raise IndexError(f"a target is outside [0, {logits.shape[-1]}) and not {IGNORED}")
    if needs_grad(logits):
        return _FusedCrossEntropy.apply(logits, targets)
    return _forward(logits, targets)[0]


def _forward(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean loss, what normalises each row (rows, 2), and the number of targets."""
    from seqlab.kernels import cross_entropy_numba
    from seqlab.kernels.jit import follow_torch_threads

    follow_torch_threads()
    flat = targets.flatten()
    normaliser, losses = torch.empty(len(flat), 2), torch.empty(len(flat), 1)
    cross_entropy_numba.forward(rows(logits), flat.numpy(), rows(normaliser), rows(losses))
    count = (flat != IGNORED).sum()
    return losses.sum() / count, normaliser, count


class _FusedCrossEntropy(torch.autograd.Function):
    """The numba kernels as one differentiable operation."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        loss, normaliser, count = _forward(logits, targets)
        ctx.save_for_backward(logits, targets, normaliser, count)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor, None]:
        from seqlab.kernels import cross_entropy_numba
        from seqlab.kernels.jit import follow_torch_threads

        follow_torch_threads()
        logits, targets, normaliser, count = ctx.saved_tensors
        grad = torch.empty(logits.shape)
        scale = float(grad_loss) / max(int(count), 1)
        cross_entropy_numba.backward(
            rows(logits), targets.flatten().numpy(), rows(normaliser), scale, rows(grad)
        )
        return grad, None

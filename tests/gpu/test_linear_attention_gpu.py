"""Linear recurrences on a GPU by flash-linear-attention, against chunked products."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from seqlab.kernels import chunked, linear_attention
from seqlab.kernels.recurrences_fla import fla_importable

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.skipif(not fla_importable(), reason="needs flash-linear-attention and triton"),
]
FORMS = ("decayed", "gated", "delta", "gated_delta", "generalized_delta")


def inputs(form: str) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)

    def normal(*size: int) -> Tensor:
        return torch.randn(2, 2, 256, *size, generator=generator)

    q, k, v = normal(64) / 8, normal(64), normal(64)
    unit, beta = functional.normalize(k, dim=-1), normal().sigmoid()
    gate = functional.logsigmoid(normal(64)) / 16
    return {
        "decayed": [q, unit, v, gate[..., 0]],
        "gated": [q, unit, v, gate],
        "delta": [q, unit, v, beta],
        "gated_delta": [q, unit, v, beta, gate[..., 0]],
        "generalized_delta": [q, unit, v, -unit, unit * beta[..., None], gate],
    }[form]


@pytest.mark.parametrize("form", FORMS)
def test_outputs_and_gradients_are_those_of_the_cpu(form: str) -> None:
    found = []
    for device, dtype, function in (
        ("cpu", torch.float32, getattr(chunked, f"chunked_{form}")),
        ("cuda", torch.bfloat16, getattr(linear_attention, form)),
    ):
        given = [tensor.to(device, dtype).requires_grad_() for tensor in inputs(form)]
        output, _ = function(*given)
        output.float().square().mean().backward()
        gradients = [t.grad.float().cpu() for t in given if t.grad is not None]
        found.append([output.detach().float().cpu(), *gradients])
    for place, (theirs, ours) in enumerate(zip(*found, strict=True)):
        # archbench.md 7.4: relative root mean square, forward and backward.
        limit = 0.01 if place == 0 else 0.02
        assert float((ours - theirs).norm() / theirs.norm()) < limit

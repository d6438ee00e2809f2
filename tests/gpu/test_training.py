"""The training loop on a GPU: bf16 autocast near fp32, and resuming from a checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqlab.training.checkpoint import Checkpoints
from seqlab.training.loop import Job, train
from seqlab.training.losses import Loss
from seqlab.training.spec import TrainSpec

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def batch_at(step: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(32, 64, generator=generator)
    return x, x[:, :8].argmax(dim=1)


def loss_fn(model: nn.Module, batch: tuple[Tensor, Tensor], _step: int) -> Loss:
    x, y = batch
    return Loss(F.cross_entropy(model(x).float(), y))


def evaluate(model: nn.Module) -> dict[str, float]:
    x, y = (tensor.cuda() for tensor in batch_at(10**6))
    return {"loss": F.cross_entropy(model(x), y).item()}


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Linear(64, 128), nn.Tanh(), nn.Dropout(0.1), nn.Linear(128, 8))
    return nn.Sequential(*layers).cuda()


def test_bf16_follows_fp32() -> None:
    curves = {}
    for precision in ("fp32", "bf16"):
        model = network()
        spec = TrainSpec(steps=25, lr=3e-3, precision=precision)
        curves[precision] = train(model, spec, Job(batch_at, loss_fn)).curve["loss"]
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert len(curves["bf16"]) == 25
    np.testing.assert_allclose(curves["bf16"], curves["fp32"], rtol=0.05)


def test_a_run_resumes_where_it_failed(tmp_path: Path) -> None:
    spec = TrainSpec(steps=24, lr=3e-3, evaluate_every=6, checkpoint_every_steps=5)

    def failing(step: int) -> tuple[Tensor, Tensor]:
        if step == 17:
            raise RuntimeError("the power is cut")
        return batch_at(step)

    unbroken, model = network(), network()
    reference = train(unbroken, spec, Job(batch_at, loss_fn, evaluate))
    checkpoints = Checkpoints(tmp_path, {"spec": spec.canonical()})
    with pytest.raises(RuntimeError, match="power"):
        train(model, spec, Job(failing, loss_fn, evaluate, checkpoints=checkpoints))
    model = network()
    result = train(model, spec, Job(batch_at, loss_fn, evaluate, checkpoints=checkpoints))
    assert result.resumed_from == [15]
    np.testing.assert_allclose(result.curve["loss"], reference.curve["loss"], rtol=1e-4)
    for own, other in zip(model.parameters(), unbroken.parameters(), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-3, atol=1e-5)

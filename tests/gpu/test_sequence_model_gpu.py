"""Every architecture on a GPU, under the autocast of its study, against the CPU in fp32."""

from __future__ import annotations

import pytest
import torch

from seqlab.models.mixers.registry import ARCHITECTURES
from seqlab.models.sequence_model import (
    SequenceModel,
    SequenceModelConfig,
    SequenceState,
    init_sequence_model,
)
from seqlab.training.diagnostic import answers_loss
from seqlab.training.precision import autocast

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
VOCAB = 64


def model(architecture: str) -> SequenceModel:
    shape = SequenceModelConfig(
        architecture,
        VOCAB,
        width=64,
        layer_parameters=45_000,
        embedding_std=0.1,
        linear_std=0.07,
        positions=96,
    )
    return init_sequence_model(SequenceModel(shape), 0)


def batch() -> dict[str, torch.Tensor]:
    ids = torch.randint(VOCAB, (4, 96), generator=torch.Generator().manual_seed(1))
    return {"input_ids": ids, "labels": ids.roll(-1, 1)}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_losses_and_gradients_are_those_of_the_cpu(architecture: str) -> None:
    found = []
    for device, precision in (("cpu", "fp32"), ("cuda", "bf16")):
        made = model(architecture).to(device)
        given = {name: tensor.to(device) for name, tensor in batch().items()}
        with autocast(precision, torch.device(device)):
            loss = answers_loss(made, given, 0).total
        loss.backward()
        parts = [p.grad.float().flatten().cpu() for p in made.parameters() if p.grad is not None]
        found.append((loss.item(), torch.cat(parts)))
    (loss, gradient), (found_loss, found_gradient) = found
    assert found_loss == pytest.approx(loss, rel=0.01)
    assert found_gradient.isfinite().all()
    assert float((found_gradient - gradient).norm() / gradient.norm()) < 0.05


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_carried_state_continues_the_sequence(architecture: str) -> None:
    made, ids = model(architecture).cuda(), batch()["input_ids"].cuda()
    state = SequenceState()
    with torch.no_grad(), autocast("bf16", torch.device("cuda")):
        whole = made(ids)
        parts = torch.cat([made(part, state) for part in ids.split((50, 1, 45), 1)], 1)
    assert float((parts - whole).norm() / whole.norm()) < 0.02

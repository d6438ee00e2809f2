"""The scan and the model on a GPU: skipped, with the reason, where there is none."""

from __future__ import annotations

import pytest
import torch

from seqlab.kernels.scan_mamba_ssm import mamba_ssm_importable
from seqlab.kernels.selective_scan import resolve_backend, selective_scan
from seqlab.models.mamba import MambaForCausalLM
from seqlab.models.mamba_config import MambaConfig
from seqlab.models.mamba_init import init_weights

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def model(seed=0):
    config = MambaConfig(vocab_size=61, hidden_size=48, num_hidden_layers=2)
    return init_weights(MambaForCausalLM(config), seed)


def gradients(network, ids):
    network.zero_grad()
    output = network(ids, labels=ids)
    output.loss.backward()
    grads = {name: p.grad.float().cpu() for name, p in network.named_parameters()}
    return output.logits.detach().float().cpu(), grads


def test_model_on_gpu_equals_cpu():
    ids = torch.randint(0, 61, (2, 40), generator=torch.Generator().manual_seed(1))
    expected_logits, expected = gradients(model(), ids)
    on_gpu = model().cuda()
    assert on_gpu.scan_backend == resolve_backend(None, "cuda")
    logits, found = gradients(on_gpu, ids.cuda())
    assert float((logits - expected_logits).norm() / expected_logits.norm()) < 1e-5
    for name, value in expected.items():
        assert float((found[name] - value).norm() / value.norm()) < 1e-4, name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_on_gpu(dtype):
    ids = torch.randint(0, 61, (2, 40), generator=torch.Generator().manual_seed(1)).cuda()
    network = model().cuda()
    with torch.no_grad():
        expected = network(ids).logits
        with torch.autocast("cuda", dtype):
            got = network(ids).logits
    assert got.dtype == torch.float32
    assert float((got - expected).norm() / expected.norm()) < 3e-2


@pytest.mark.skipif(not mamba_ssm_importable(), reason="needs mamba-ssm")
def test_mamba_ssm_equals_reference():
    generator = torch.Generator().manual_seed(2)
    shapes = [(2, 50, 32), (2, 50, 32), (32, 16), (2, 50, 16), (2, 50, 16)]
    u, delta, a, b, c = (torch.randn(*s, generator=generator).cuda() for s in shapes)
    expected, last = selective_scan(u, delta, -a.exp(), b, c, backend="torch")
    got, state = selective_scan(u, delta, -a.exp(), b, c, backend="mamba_ssm")
    assert float((got - expected).norm() / expected.norm()) < 1e-4
    assert float((state - last).norm() / last.norm()) < 1e-4

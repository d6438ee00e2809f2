"""A step under Nsight Compute: skipped, with the reason, where it or its counters are missing."""

from __future__ import annotations

import sys

import pytest
import torch

from seqlab.errors import UserError
from seqlab.measure import ncu

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.skipif(ncu.unavailable() is not None, reason="needs Nsight Compute"),
]

STEP = """
import torch
from seqlab.measure.ncu import profiled
weight, x = torch.randn(512, 512, device="cuda"), torch.randn(512, 64, device="cuda")
weight @ x
with profiled():
    weight @ x
    torch.relu(x)
torch.tanh(x)
"""


def test_the_marked_region_is_profiled_and_nothing_else() -> None:
    try:
        profile, page = ncu.profile([sys.executable, "-c", STEP], timeout_s=300)
    except UserError as error:
        if "ERR_NVGPUCTRPERM" in str(error):
            pytest.skip("GPU counters are not open to this user")
        raise
    names = " ".join(kernel.kernel.lower() for kernel in profile.kernels)
    assert len(profile.kernels) >= 2
    assert "tanh" not in names
    assert ncu.parse_raw_page(page) == profile
    assert profile.l2_hit_rate is not None
    assert 0.0 <= profile.l2_hit_rate <= 1.0
    assert profile.dram_bytes is not None
    assert (profile.total(ncu.TIME) or 0.0) > 0.0

"""Peak memory."""

from __future__ import annotations

import numpy as np

from seqlab.measure import memory


def test_the_peak_grows_with_what_is_touched_and_stays() -> None:
    before = memory.peak_rss_bytes()
    block = np.ones(before // 8 + (32 << 20) // 8)
    during = memory.peak_rss_bytes()
    assert during >= block.nbytes
    assert during > before
    del block
    # The kernel counts pages per thread and adds them up late: a little slack.
    assert memory.peak_rss_bytes() >= during - (4 << 20)


def test_without_a_gpu_the_cuda_peak_is_unknown_not_zero() -> None:
    import torch

    value = memory.peak_cuda_bytes()
    assert (value is None) == (not torch.cuda.is_available())

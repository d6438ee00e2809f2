"""The machine's limits as measured."""

from __future__ import annotations

import pytest
import torch

from seqlab.errors import UserError
from seqlab.measure import roofline


def test_oneDNN_and_blas_compute_the_same_product() -> None:
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(8, 16, generator=generator), torch.randn(32, 16, generator=generator)
    expected = left.double() @ right.double().t()
    for product in roofline._products(left, right):
        torch.testing.assert_close(product().double(), expected, atol=1e-5, rtol=1e-5)


def test_rates_are_positive_and_of_a_machines_magnitude(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "_SECONDS", 0.005)
    threads = torch.get_num_threads()
    assert 1e8 < roofline.matmul_roofline(threads, [(128, 128, 128)]) < 1e15
    assert 1e8 < roofline.copy_bandwidth(threads, 1 << 22) < 1e14
    assert 1e8 < roofline.read_bandwidth(threads, 1 << 20) < 1e14


def test_another_number_of_threads_is_refused() -> None:
    with pytest.raises(UserError, match="roofline is asked for"):
        roofline.matmul_roofline(torch.get_num_threads() + 1)

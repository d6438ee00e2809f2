"""The plain scan against the recurrence one token at a time."""

from __future__ import annotations

import pytest
import torch

from seqlab.kernels.scan_plain import plain_scan
from seqlab.kernels.scan_reference import reference_scan


@pytest.mark.parametrize("tokens", [1, 2, 3, 4, 5, 15, 16, 17, 100])
@pytest.mark.parametrize("options", [True, False])
def test_plain_scan_is_the_recurrence(tokens: int, options: bool) -> None:
    rng = torch.Generator().manual_seed(tokens)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    u, delta, z = (draw(2, tokens, 6) for _ in range(3))
    b, c = (draw(2, tokens, 4) for _ in range(2))
    a, d = -torch.exp(draw(6, 4)), draw(6)
    if not options:
        d = z = None
    expected, _ = reference_scan(u, delta, a, b, c, d, z, None)
    torch.testing.assert_close(
        plain_scan(u, delta, a, b, c, d, z), expected, rtol=1e-12, atol=1e-12
    )


def test_long_decays_neither_overflow_nor_vanish() -> None:
    """Steps of 30 with rates of 40: a form that divides by the product of decays overflows."""
    u, b, c = torch.ones(1, 50, 3), torch.ones(1, 50, 2), torch.ones(1, 50, 2)
    delta, a = torch.full((1, 50, 3), 30.0), torch.tensor([[-40.0, 0.0]] * 3)
    expected, _ = reference_scan(u, delta, a, b, c, None, None, None)
    torch.testing.assert_close(plain_scan(u, delta, a, b, c), expected, rtol=1e-6, atol=0)

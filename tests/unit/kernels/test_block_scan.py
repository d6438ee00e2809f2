"""The skipping scan equals the whole one on living channels, and skips empty blocks alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from seqlab.kernels import block_scan as module
from seqlab.kernels.block_scan import active_blocks, block_scan
from seqlab.kernels.selective_scan import selective_scan


def inputs(channels: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    return {
        "u": draw(2, 9, channels),
        "delta": draw(2, 9, channels),
        "a": -draw(channels, 4).abs(),
        "b": draw(2, 9, 4),
        "c": draw(2, 9, 4),
        "d": draw(channels),
        "z": draw(2, 9, channels),
    }


@pytest.mark.parametrize("backend", ["numba", "torch"])
@pytest.mark.parametrize("block", [1, 8, 16, 64])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_living_channels_get_the_whole_scan(block: int, share: float, backend: str) -> None:
    values = inputs(37)
    alive = torch.rand(37, generator=torch.Generator().manual_seed(1)) < share
    expected, _ = selective_scan(**values, backend=backend)
    found = block_scan(**values, alive=alive, block=block, backend=backend)
    torch.testing.assert_close(found, expected * alive, rtol=1e-5, atol=1e-6)


def test_gates_and_skips_may_be_absent() -> None:
    values = inputs(16) | {"d": None, "z": None}
    alive = torch.arange(16) < 5
    expected, _ = selective_scan(**values, backend="torch")
    found = block_scan(**values, alive=alive, block=4, backend="torch")
    torch.testing.assert_close(found, expected * alive)


def test_only_whole_blocks_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    widths = []

    def spy(u: torch.Tensor, *rest: Any, **more: Any) -> Any:
        widths.append(u.shape[-1])
        return selective_scan(u, *rest, **more)

    monkeypatch.setattr(module, "selective_scan", spy)
    values = inputs(32)
    together, spread = torch.arange(32) < 8, torch.arange(32) % 4 == 0
    for alive in (together, spread, torch.zeros(32, dtype=torch.bool)):
        block_scan(**values, alive=alive, block=8, backend="torch")
    assert widths == [8, 32]


def test_blocks_are_counted_with_a_shorter_last_one() -> None:
    alive = torch.zeros(10, dtype=torch.bool)
    alive[9] = True
    assert active_blocks(alive, 4).tolist() == [False, False, True]


@pytest.mark.parametrize("changes", [{"block": 0}, {"alive": torch.ones(31, dtype=torch.bool)}])
def test_bad_input_is_refused(changes: dict[str, Any]) -> None:
    arguments = {"alive": torch.ones(32, dtype=torch.bool), "block": 8} | changes
    with pytest.raises(ValueError, match="channels"):
        block_scan(**inputs(32), **arguments)

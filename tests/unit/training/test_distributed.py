"""Slices of the global batch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seqlab.errors import UserError
from seqlab.training.distributed import World, slices


@given(size=st.integers(1, 4), accumulation=st.integers(1, 4), share=st.integers(1, 3))
def test_slices_of_all_processes_are_the_batch(size: int, accumulation: int, share: int) -> None:
    rows = size * accumulation * share
    batch = {"x": torch.arange(rows * 2).view(rows, 2), "y": (torch.arange(rows),)}
    parts = [
        part for rank in range(size) for part in slices(batch, World(rank, size), accumulation)
    ]
    assert torch.equal(torch.cat([part["x"] for part in parts]), batch["x"])
    assert torch.equal(torch.cat([part["y"][0] for part in parts]), batch["y"][0])
    assert {len(part["x"]) for part in parts} == {share}


def test_an_uneven_batch_is_refused() -> None:
    with pytest.raises(UserError, match="batch of 6 cannot be cut into 2 processes x 2"):
        slices(torch.zeros(6, 1), World(0, 2), 2)

"""Settings and the learning rate."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from seqlab.training.schedule import lr_factor
from seqlab.training.spec import TrainSpec


def test_cosine_is_torchs_cosine() -> None:
    spec = TrainSpec(steps=20, lr=0.3, lr_floor=0.1, schedule="cosine")
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=0.3)
    oracle = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20, eta_min=0.03)
    for step in range(20):
        assert 0.3 * lr_factor(spec, step, 20) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        oracle.step()


def test_warmup_rises_linearly_to_the_peak_and_the_line_falls_to_the_floor() -> None:
    spec = TrainSpec(steps=10, lr=1.0, schedule="linear", warmup_steps=4, lr_floor=0.4)
    factors = [lr_factor(spec, step, 10) for step in range(10)]
    assert factors[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert [a - b for a, b in pairwise(factors[4:])] == pytest.approx([0.1] * 5)
    assert factors[-1] - 0.1 == pytest.approx(0.4)


@given(
    steps=st.integers(1, 200),
    share=st.floats(0, 1),
    least=st.integers(0, 50),
    floor=st.floats(0, 1),
    name=st.sampled_from(["cosine", "linear", "constant"]),
)
def test_lr_stays_between_zero_and_the_peak(
    steps: int, share: float, least: int, floor: float, name: str
) -> None:
    spec = TrainSpec(
        steps=steps,
        lr=1.0,
        schedule=name,
        warmup_fraction=share,
        warmup_steps=least,
        lr_floor=floor,
    )
    warmup = spec.warmup(steps)
    factors = [lr_factor(spec, step, steps) for step in range(steps)]
    assert all(0 < factor <= 1 + 1e-12 for factor in factors)
    after = factors[max(0, warmup - 1) :]
    assert all(a >= b - 1e-12 for a, b in pairwise(after))
    assert min(after) >= floor - 1e-12


def test_tokens_are_rounded_down_to_whole_steps() -> None:
    spec = TrainSpec(tokens=1000, lr=1e-3)
    assert spec.total_steps(tokens_per_step=64) == math.floor(1000 / 64)
    with pytest.raises(ValueError, match="tokens_per_step"):
        spec.total_steps()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "exactly one of steps and tokens"),
        ({"steps": 1, "tokens": 1}, "exactly one of steps and tokens"),
        ({"steps": 1, "patience": 2}, "patience needs evaluate_every"),
        ({"steps": 1, "betas": (0.9, 1.0)}, "betas"),
        ({"steps": 1, "groups": [{"match": "("}]}, "regular expression"),
        ({"steps": 1, "seconds": 3}, "Extra inputs"),
    ],
)
def test_settings_that_make_no_sense_are_refused(values: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TrainSpec(lr=1e-3, **values)

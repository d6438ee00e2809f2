"""The solver bench: its affinities are what it says, its rows hold what is promised."""

import sys

import numpy as np
import pytest

from seqlab.bench import solver
from seqlab.bench.harness import Plan
from seqlab.layout.canonical import require_symmetric


def test_affinities_are_valid_and_planted_blocks_stand_out():
    rng = np.random.default_rng(0)
    planted, noise = solver.planted_affinity(64, rng), solver.noise_affinity(64, rng)
    for weights in (planted, noise, solver.mamba_affinity(32)):
        require_symmetric(weights)
        assert weights.max() < 1
    # Each channel has 31 partners in its block; among independent ones |R| is about 0.0125.
    partners, chance = (np.sort(weights, axis=1)[:, -31:].mean() for weights in (planted, noise))
    assert partners > 0.08
    assert chance < 0.03


def test_mamba_affinity_is_repeatable():
    np.testing.assert_array_equal(solver.mamba_affinity(32), solver.mamba_affinity(32))


def test_rows_compare_shares_of_affinity():
    weights = solver.noise_affinity(64, np.random.default_rng(1))
    plan = Plan(0.05, most=2, fewest=2)
    (row,) = solver._rows(weights, "noise D64 B16", 16, plan, np.random.default_rng(2))
    assert row["agree"] is True
    assert row["peer"] == "metis"
    assert row["ours_q_frac"] >= row["peer_q_frac"] > row["random_q_frac"]
    assert row["ratio"] == pytest.approx(row["peer_s"] / row["ours_s"])
    assert row["target_s"] is None


def test_a_missing_peer_is_a_row_with_a_reason(monkeypatch):
    monkeypatch.setitem(sys.modules, "pymetis", None)
    weights = solver.noise_affinity(16, np.random.default_rng(1))
    (row,) = solver._rows(weights, "noise D16 B4", 4, Plan(0.01), np.random.default_rng(2))
    assert "pymetis" in row["reason"]
    assert row["ratio"] is None
    assert row["ours_q_frac"] > 0

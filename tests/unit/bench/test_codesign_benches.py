"""The benches of the co-design kernels agree with their peers and sum up what they measured."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from seqlab.bench import cachesim, mediation, spmm


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Sparse")
def test_spmm_agrees_with_both_peers() -> None:
    rows = list(spmm.run(True, 2.0))
    json.dumps(rows)
    assert all(row["agree"] for row in rows if "agree" in row)
    kernels = {row["case"].split(" n256")[0] for row in rows if "ratio" in row}
    assert kernels == {"K1", "K2 b16"}
    summary = next(row for row in rows if "geomean" in row)
    better = {}
    for row in rows[: rows.index(summary)]:
        better[row["case"]] = min(better.get(row["case"], np.inf), row["ratio"])
    assert summary["worst"] == min(better.values())
    assert rows[-1]["tiles"] == sorted(rows[-1]["tiles"])


def test_random_weights_have_the_density_of_their_tiles() -> None:
    weight = spmm._weight(256, 0.25, 16, np.random.default_rng(0))
    tiles = weight.toarray().reshape(16, 16, 16, 16).transpose(0, 2, 1, 3)
    full = (tiles != 0).all(axis=(2, 3))
    assert ((tiles != 0).any(axis=(2, 3)) == full).all()
    assert 0.15 < full.mean() < 0.35


def test_cachesim_counts_what_cachegrind_counts() -> None:
    rows = list(cachesim.run(True, 1.0))
    json.dumps(rows)
    assert [row["case"] for row in rows[:2]] == ["miss-heavy", "streaming"]
    assert rows[0]["hit_rates"]["L1"] < rows[1]["hit_rates"]["L1"] == 15 / 16
    if shutil.which("valgrind") and shutil.which("gcc"):
        assert rows[2]["agree"] is True
        assert rows[2]["misses"]["LL"] <= rows[2]["misses"]["D1"]
    else:
        assert "not installed" in rows[2]["reason"]


def test_a_missing_valgrind_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cachesim, "missing_tool", lambda: "valgrind is not installed")
    assert cachesim._against_cachegrind(True)["reason"] == "valgrind is not installed"


def test_mediation_agrees_with_pingouin() -> None:
    pytest.importorskip("pingouin")
    comparison, coverage = mediation.run(True, 2.0)
    json.dumps([comparison, coverage])
    assert comparison["agree"] is True
    assert coverage["within_target"] is None
    assert coverage["coverage"]["percentile"] > 0.5

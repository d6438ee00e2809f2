"""The bench of the statistics path: rows, records, refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest

from seqlab.bench import statistics
from seqlab.errors import UserError
from seqlab.provenance.record import Arm, Metric, Record, write_record


def write_runs(folder, runs: int, metric: str = "prefill_ms"):
    rng = np.random.default_rng(0)
    values = rng.lognormal(3, 0.01, (runs, 2))
    for seed, pair in enumerate(values):
        arms = {
            f"group32/w4/{name}": Arm(
                metrics={metric: Metric(value=value, unit="ms", provenance="measured")}
            )
            for name, value in zip(statistics.ARMS, pair, strict=True)
        }
        record = Record(
            study="codesign",
            experiment="quantization",
            cell={"model": "mamba"},
            seed=seed,
            arms=arms,
            environment={},
        )
        write_record(folder / f"mamba/seed-{seed}/record.json", record)
    return values


def test_pairs_are_read_from_records(tmp_path):
    values = write_runs(tmp_path, 5)
    assert statistics.load_aa(tmp_path, "prefill_ms") == pytest.approx(values)
    assert statistics.load_aa(tmp_path, "decode_ms").shape == (0, 2)


def test_rows_of_a_quick_run(tmp_path):
    write_runs(tmp_path, 8)
    rows = list(statistics.run(True, 60.0, tmp_path))
    assert len(rows) == 2 + len(statistics.EFFECTS) + 1
    assert all(row["name"] == "statistics" and row["aa_pairs"] == 8 for row in rows)
    assert rows[0]["experiments"] == 60
    assert 0 <= rows[0]["false_positive_raw"] <= 0.12
    assert rows[0]["false_positive_ok"] is None
    assert rows[1]["false_equivalence"] <= 0.06
    powers = [row["power"] for row in rows[2:-1]]
    assert powers == sorted(powers)
    assert rows[-1]["runs_needed"] >= 2
    assert all("NaN" not in json.dumps(row) for row in rows)


def test_a_budget_ends_the_experiments():
    pairs = np.random.default_rng(0).lognormal(0, 0.02, (20, 2))
    rows = list(statistics.check(pairs, "x", 500, 0.0, judge=True))
    assert rows[0]["experiments"] == 1


def test_a_shifted_null_is_found():
    pairs = np.random.default_rng(0).lognormal(0, 0.001, (20, 2))
    rng = np.random.default_rng(1)
    assert statistics._contrast(pairs, rng).verdict == "equivalent"
    assert statistics._contrast(pairs, rng, 1.1).verdict == "slower"


def test_a_folder_without_pairs_is_refused(tmp_path):
    with pytest.raises(UserError, match="A/A pairs"):
        list(statistics.run(True, 10.0, tmp_path))

"""Accuracy by distance: tenths of queries, rows of a run, and far against near answers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from seqlab.data.mqar import MqarLaw, draw_mqar
from seqlab.provenance.environment import environment
from seqlab.provenance.observations import VALUE_COLUMNS
from seqlab.provenance.record import Arm, Metric, Record
from seqlab.studies.archbench.analysis.generalisation import distance_rows as analysed
from seqlab.studies.archbench.distances import distance_rows, tenths, tenths_of_tests
from seqlab.studies.archbench.places import COLUMNS


def at_distances(far: dict[str, float]) -> pd.DataFrame:
    """Return five runs per architecture that answer near queries, and far ones as given."""
    rng = np.random.default_rng(0)
    metrics = {"distance_00": 2.0, "distance_04": 40.0, "distance_09": 200.0}
    rows = [
        metrics
        | {
            "task": "mqar",
            "condition": "even_x4",
            "architecture": name,
            "local": "none",
            "seed": seed,
            "device": "CPU",
            "accuracy_at_00": 0.9 + 0.005 * rng.normal(),
            "accuracy_at_04": 0.8 + 0.005 * rng.normal(),
            "accuracy_at_09": accuracy + 0.005 * rng.normal(),
        }
        for name, accuracy in far.items()
        for seed in range(5)
    ]
    return pd.DataFrame(rows)


def test_far_answers_are_held_against_near_ones_of_the_same_runs() -> None:
    found = at_distances({"rope": 0.9, "gla": 0.3})
    rows = pd.DataFrame(
        analysed(
            found,
            {"mqar": ["even", "even_x4"]},
            item="archbench_table14",
            alpha=0.05,
            margin=0.02,
            seed=0,
        )
    )
    assert {*rows["condition"]} == {"even_x4"}, "a condition without distances has no rows"
    contrasts = rows[rows["contrast"] == "far_and_near"].set_index("model")
    assert contrasts.loc["rope", "verdict"] == "equivalent"
    assert contrasts.loc["gla", "verdict"] == "lower"
    assert contrasts.loc["gla", "estimate"] == pytest.approx(-0.6, abs=0.02)
    means = rows[(rows["contrast"] == "at_distance") & (rows["model"] == "gla")]
    assert [*means["distance"]] == [2.0, 40.0, 200.0]
    assert [*means["estimate"]] == pytest.approx([0.9, 0.8, 0.3], abs=0.02)
    assert (means["ci_low"] < means["estimate"]).all()


def test_tenths_are_of_queries_and_equal_distances_stay_together() -> None:
    spread = tenths(np.arange(1000) % 500)
    assert [t.name for t in spread] == [f"{n:02d}" for n in range(10)]
    assert [t.members.sum() for t in spread] == pytest.approx([100] * 10, abs=2)
    assert [t.distance for t in spread] == sorted(t.distance for t in spread)
    many = tenths(np.array([1] * 60 + [*range(2, 42)]))
    assert many[0].members.sum() == 60 and many[0].distance == 1.0
    assert sum(t.members.sum() for t in many) == 100
    assert len(tenths(np.array([3, 3, 3]))) == 1


def test_distances_come_from_every_answer() -> None:
    law = MqarLaw(vocab_size=64, length=64, pairs=8, power=1.0)
    batch = draw_mqar(law, 50, np.random.default_rng(0))
    gap = batch.facts["gap"][batch.asked]
    # A run that knows what lies at most 20 tokens back.
    arm = Arm(metrics={"accuracy": Metric(value=0.5, unit="1", provenance="measured")})
    run = Record(
        study="archbench",
        experiment="runs",
        cell={"task": "mqar", "architecture": "rope", "local": "none"},
        seed=3,
        arms={"training": arm, "even": arm},
        environment=environment({}, "0", 1) | {"device": "cpu"},
    )
    known = tenths_of_tests({"valid": batch, "test/even": batch})
    found = distance_rows(run, {"even/right": gap <= 20}, known)
    rows = pd.DataFrame(found, columns=[*COLUMNS, *VALUE_COLUMNS])
    assert {*rows["condition"]} == {"even"} and {*rows["seed"]} == {3}
    values = rows.set_index("metric")["value"]
    for name in (t.name for t in tenths(gap)):
        if values[f"distance_{name}"] < 15:
            assert values[f"accuracy_at_{name}"] == 1.0
        if values[f"distance_{name}"] > 25:
            assert values[f"accuracy_at_{name}"] == 0.0
    assert {*rows[rows["metric"].str.startswith("distance")]["provenance"]} == {"counted"}

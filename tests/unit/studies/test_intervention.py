"""Interventions: planted interactions are found, nulls are nulls, a clamp finds the capacity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from seqlab.errors import UserError
from seqlab.kernels.cachesim import Level, simulate
from seqlab.plots.tables import write_table
from seqlab.provenance.record import read_record
from seqlab.spec import Context
from seqlab.studies.codesign.caches import CacheSpec
from seqlab.studies.codesign.drawn_graph import draw_graph
from seqlab.studies.codesign.drawn_graph_spec import GraphSpec
from seqlab.studies.codesign.experiment import AnalyseSpec
from seqlab.studies.codesign.intervention import run
from seqlab.studies.codesign.intervention.spec import (
    CONDITIONS,
    HIGH,
    LOW,
    LOW_AGAIN,
    InterventionRunSpec,
    InterventionSpec,
)
from seqlab.studies.codesign.intervention.statistics import EFFECTS, LATENCY, analyse
from seqlab.studies.codesign.intervention.table import intervention
from seqlab.studies.codesign.steps.run_intervention import run_intervention
from seqlab.studies.codesign.workbench.spec import BenchTimingSpec, SolverSpec, WorkbenchSpec

GRAPH = GraphSpec(nodes=512, edges=2048, communities=8, mixing=0.1, width=16, block=64)
BENCH = WorkbenchSpec(
    architectures={},
    caches=(
        CacheSpec(name="L1", size=2048, ways=4),
        CacheSpec(name="L2", size=8192, ways=8),
        CacheSpec(name="L3", size=65536, ways=8),
    ),
    solver=SolverSpec(method="spectral_balanced", node_order="multilevel"),
    timing=BenchTimingSpec(threads=1, warmup_max=3, max_foreign_load=64, attempts=1),
    gate=1e-10,
)
SPEC = InterventionRunSpec(
    bench=BENCH,
    cell="graph",
    seed=0,
    threads=1,
    graph=GRAPH,
    warm_width=1,
    targets=(0.6, 0.9),
    capacity_max=1 << 20,
    repeats=3,
)
ANALYSE = AnalyseSpec(alpha=0.05, margin=0.02, quality_margin=0.005)


@pytest.fixture(scope="module")
def arms(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    folder: Path = tmp_path_factory.mktemp("run")
    run_intervention(
        SPEC,
        assets=[],
        record=folder / "record.json",
        samples=folder / "samples.npz",
        context=Context(code="test", threads=1),
    )
    return read_record(folder / "record.json", samples=True).arms


def value(arms, place: str, metric: str) -> float:  # type: ignore[no-untyped-def]
    return arms[place].metrics[metric].value


def test_a_run_has_every_condition_with_an_identical_pair(arms) -> None:  # type: ignore[no-untyped-def]
    for condition in CONDITIONS:
        for arm in (LOW, HIGH, LOW_AGAIN):
            name = f"aggregate/{condition}/{arm}"
            assert value(arms, name, LATENCY) > 0
            assert arms[name].checks["product"].passed
    worth = [value(arms, f"aggregate/natural/{arm}", "q_newman") for arm in (LOW, HIGH)]
    assert worth[1] > worth[0] + 0.3


def test_simulated_states_of_the_caches(arms) -> None:  # type: ignore[no-untyped-def]
    # The same trace: what a call left makes the next one hit more, and a small operand fits.
    for arm in (LOW, HIGH):
        share = [value(arms, f"aggregate/{c}/{arm}", "L1_L2_share") for c in ("thrash", "natural")]
        assert share[0] <= share[1]
    assert value(arms, f"aggregate/thrash/{HIGH}", "L1_L2_share") > value(
        arms, f"aggregate/thrash/{LOW}", "L1_L2_share"
    )


def test_the_clamp_finds_a_capacity_that_has_the_hit_rate(arms) -> None:  # type: ignore[no-untyped-def]
    for target in SPEC.targets:
        for arm in (LOW, HIGH):
            metrics = arms[f"aggregate/hit{100 * target:.0f}/{arm}"].metrics
            capacity = metrics["L2_capacity_bytes"]
            if capacity.value is None:
                assert "nearest" in capacity.reason
                continue
            assert abs(metrics["L2_hit_rate"].value - target) <= 0.005
    graph = draw_graph(GRAPH, 0)
    pieces = list(graph.product(graph.truth, "truth").product.trace())
    found = run.clamp_all(SPEC, pieces)[0.9]["L2_capacity_bytes"].value
    assert found is not None
    # An oracle of its own: the second of two calls, in one trace.
    addresses, writes = (np.concatenate([p[i] for p in pieces]) for i in (0, 1))
    levels = [Level(2048, 4), Level(int(found), 8)]
    one = simulate(addresses, levels, writes).levels[1]
    two = simulate(np.tile(addresses, 2), levels, np.tile(writes, 2)).levels[1]
    rate = (two.hits - one.hits) / (two.accesses - one.accesses)
    assert rate == pytest.approx(0.9, abs=0.005)


def test_the_clamp_on_a_known_curve() -> None:
    asked: list[int] = []

    def curve(sets: int) -> float:
        asked.append(sets)
        return sets / 10_000

    found = run.clamp(curve, 0.6, 4, 10_000)
    assert found.near and found.capacity == pytest.approx(6000, abs=50) and len(asked) < 16
    beyond = run.clamp(curve, 0.9, 4, 5000)
    assert not beyond.near and beyond.capacity == 5000 and beyond.hit_rate == 0.5


def test_an_operand_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UserError, match="second cache of 8192"):
        run.intervene(SPEC.model_copy(update={"warm_width": 4}))
    with pytest.raises(ValidationError, match="smaller than the width"):
        InterventionSpec(
            seeds=3,
            threads=1,
            margin=0.02,
            quality_margin=0.005,
            graph=GRAPH,
            warm_width=16,
            targets=(0.6,),
            capacity_max=1 << 20,
            repeats=3,
        )


def observations(forced: float, runs: int = 10) -> pd.DataFrame:
    """Return made-up runs: the high layout takes 0.8 of the time, `forced` where caches are."""
    rng = np.random.default_rng(0)
    rows = []
    for seed in range(runs):
        for condition in CONDITIONS:
            for arm in (LOW, HIGH, LOW_AGAIN):
                ratio = 1.0 if arm != HIGH else (0.8 if condition == "natural" else forced)
                latency = 5.0 * ratio * float(np.exp(rng.normal(scale=0.004)))
                place = ("graph", "", "aggregate", condition, arm, seed)
                rows.append((*place, LATENCY, latency, "ms", "measured", "cpu", np.nan))
                if arm != LOW_AGAIN:
                    hits = 0.3 + 0.3 * (arm == HIGH)
                    rows.append((*place, "L2_hit_rate", hits, "1", "simulated", "cpu", np.nan))
        for arm, capacity in ((LOW, 4e6), (HIGH, 1e6)):
            place = ("graph", "", "aggregate", "hit60", arm, seed)
            size = capacity * (1 + 0.01 * seed)
            rows.append((*place, "L2_capacity_bytes", size, "bytes", "simulated", "cpu", np.nan))
            place = ("graph", "", "aggregate", "hit90", arm, seed)
            lacking = (np.nan, "bytes", "simulated", "cpu", "no capacity gives it")
            rows.append((*place, "L2_capacity_bytes", *lacking))
    columns = ["cell", "model", "kernel", "level", "arm", "seed"]
    return pd.DataFrame(
        rows, columns=[*columns, "metric", "value", "unit", "provenance", "device", "reason"]
    )


def test_an_effect_that_forcing_takes_away_interacts() -> None:
    rows = analyse(observations(1.0), ANALYSE).set_index(["contrast", "level", "metric"])
    assert rows.loc[("layout", "natural", LATENCY), "verdict"] == "faster"
    assert rows.loc[("layout", "thrash", LATENCY), "verdict"] == "equivalent"
    assert rows.loc[("layout", "hit60", "L2_capacity_bytes"), "ratio"] == pytest.approx(0.25)
    for condition in ("thrash", "warm"):
        found = rows.loc[("interaction", condition, LATENCY)]
        assert found["verdict"] == "higher"
        assert found["ratio"] == pytest.approx(1.25, rel=0.01)
        assert found["ratio_low"] < 1.25 < found["ratio_high"]
    assert (rows.loc[[(e, "all", LATENCY) for e in EFFECTS[::2]], "p_raw"] < 1e-6).all()


def test_an_effect_that_stays_does_not_interact() -> None:
    rows = analyse(observations(0.8), ANALYSE).set_index(["contrast", "level", "metric"])
    for condition in ("thrash", "warm"):
        assert rows.loc[("interaction", condition, LATENCY), "verdict"] == "equivalent"
    assert rows.loc[("anova_layout_x_condition", "all", LATENCY), "verdict"] == "inconclusive"
    assert rows.loc[("anova_layout", "all", LATENCY), "verdict"] == "difference"


def test_the_table_has_every_row_and_says_what_was_not_had(tmp_path: Path) -> None:
    seen = observations(1.0)
    table = intervention(seen, analyse(seen, ANALYSE))
    assert (table["device"] == "cpu").all() and table["n"].max() == 60
    lacking = table[table["condition"].str.contains("90 %")].iloc[0]
    assert lacking["verdict"] == lacking["provenance"] == "not_run"
    assert lacking["reason"] == "no capacity gives it"
    assert (table["quantity"] == "interaction").sum() == 2
    paths = {kind: tmp_path / f"table.{kind}" for kind in ("csv", "md", "tex")}
    write_table(table, **paths)
    assert "evicted before each call" in paths["md"].read_text()

"""The trade-off: what arms are on a tiny model, planted effects found, nulls null, drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny_mamba import BENCH, make_assets

from seqlab.errors import UserError
from seqlab.plots.save import save_figure
from seqlab.plots.tables import to_markdown
from seqlab.provenance.record import read_record
from seqlab.spec import Context, validate
from seqlab.studies.codesign.experiment import CollectSpec
from seqlab.studies.codesign.pareto import contrasts
from seqlab.studies.codesign.pareto.contrasts import analyse, points_of, with_reference
from seqlab.studies.codesign.pareto.figure import draw, drawn
from seqlab.studies.codesign.pareto.spec import ParetoSpec
from seqlab.studies.codesign.pareto.table import table
from seqlab.studies.codesign.steps.collect_records import collect_records
from seqlab.studies.codesign.steps.run_pareto import run_pareto

SETTINGS = {
    "sparsities": (0, 50),
    "learned": "hds",
    "shown": 50,
    "repeats": 3,
    "reference": (2.0, 0.5),
    "resamples": 200,
    "seeds": 8,
    "threads": 1,
    "margin": 0.02,
    "quality_margin": 0.005,
}
SPEC = ParetoSpec(**SETTINGS)
LEVELS = {"s0": (0.0, 2.0, 0.0), "s50": (1.0, 1.0, 0.1), "s90": (2.0, 0.5, 3.0)}


def observations(gain: float, noise: float = 0.002) -> pd.DataFrame:
    """Return made-up runs: the gain of iterating is `gain` log units per unit of change."""
    rng = np.random.default_rng(0)
    rows = []

    def add(kernel: str, level: str, arm: str, seed: int, **metrics: float) -> None:
        for metric, value in metrics.items():
            rows.append(
                {
                    "cell": "mamba",
                    "model": "made-up",
                    "kernel": kernel,
                    "level": level,
                    "arm": arm,
                    "seed": seed,
                    "metric": metric,
                    "value": value,
                    "unit": "",
                    "provenance": "measured",
                    "device": "made-up",
                }
            )

    for seed in range(8):
        base = 2.0 + 0.05 * rng.standard_normal()
        for level, (change, factor, added) in LEVELS.items():
            latencies = dict.fromkeys(("dense", "dense_aa", "permute_only"), 2.0)
            latencies |= dict.fromkeys(("algo_only", "linear_PT"), factor)
            latencies |= dict.fromkeys(
                ("linear_TP", "iterative_1"), factor * np.exp(-gain * change)
            )
            for arm, latency in latencies.items():
                pruned = arm in contrasts.METHODS
                add(
                    "csr",
                    level,
                    arm,
                    seed,
                    latency_ms=latency * np.exp(noise * rng.standard_normal()),
                    bits_per_byte=base + added * pruned,
                    affinity_change=change * pruned,
                    q_excess=0.01 * change if arm == "iterative_1" else 0.0,
                    similarity_to_TP=1.0 if arm in ("linear_TP", "iterative_1") else 0.1,
                )
            reference = np.exp(noise * rng.standard_normal())
            add("dense", level, "dense", seed, latency_ms=reference, bits_per_byte=base)
    return pd.DataFrame(rows)


def row(statistics: pd.DataFrame, **where: str) -> pd.Series:
    keep = np.logical_and.reduce([statistics[name] == value for name, value in where.items()])
    (index,) = np.flatnonzero(keep)
    return statistics.iloc[index]


@pytest.fixture(scope="module")
def planted() -> pd.DataFrame:
    return analyse(observations(gain=0.1), SPEC.analyse_spec())


def test_a_planted_gain_by_affinity_is_found(planted: pd.DataFrame) -> None:
    for level in ("all", "pruned"):
        slope = row(planted, contrast="gain_by_affinity_change", level=level)
        assert slope["verdict"] == "lower"
        assert slope["estimate"] == pytest.approx(-0.1, abs=0.002)
        worth = row(planted, contrast="gain_by_layout_worth", level=level)
        assert worth["verdict"] == "lower"
        assert worth["estimate"] == pytest.approx(-10, abs=0.2)
    faster = row(planted, contrast="iterative_vs_linear_PT", level="s90", metric="latency_ms")
    assert faster["verdict"] == "faster" and faster["ratio"] == pytest.approx(
        np.exp(-0.2), rel=0.01
    )


def test_prediction_two_is_judged_by_partition_and_latency(planted: pd.DataFrame) -> None:
    where = {"contrast": "iterative_vs_linear_TP", "level": "s50"}
    same = row(planted, metric="similarity_to_TP", **where)
    assert same["verdict"] == "degenerate" and same["reason"].startswith("identical")
    assert row(planted, metric="latency_ms", **where)["verdict"] == "equivalent"
    assert row(planted, metric="bits_per_byte", **where)["reason"].startswith("identical")


def test_without_a_gain_nothing_is_found() -> None:
    found = analyse(observations(gain=0.0), SPEC.analyse_spec())
    for level in ("all", "pruned"):
        for name in ("gain_by_affinity_change", "gain_by_layout_worth"):
            slope = row(found, contrast=name, level=level)
            assert slope["verdict"] == "equivalent"
    volumes = row(found, contrast="hypervolume_iterative_1_vs_linear_PT")
    assert volumes["verdict"] in ("equivalent", "inconclusive")


def test_the_front_and_the_volumes_follow_the_planted_points(planted: pd.DataFrame) -> None:
    def front(arm: str, level: str) -> pd.Series:
        return row(planted, contrast="on_front", treatment=arm, level=level)

    assert front("iterative_1", "s90")["estimate"] > 0.3
    assert front("dense", "s0")["estimate"] == 0.0
    assert "dominated at the means by" in front("dense", "s0")["reason"]
    assert front("reference", "s0")["reason"] == "not dominated at the means"
    # The dense model under sparse products lies on the edge of the bounds: it dominates nothing.
    assert row(planted, contrast="hypervolume", treatment="dense")["estimate"] < 0.02
    reference = row(planted, contrast="hypervolume", treatment="reference")
    assert reference["estimate"] == 1.0
    better = row(planted, contrast="hypervolume_iterative_1_vs_linear_PT")
    assert better["verdict"] == "higher"
    # Points at (1, 0.1) and (e^-0.1, 0.1) below (2, 0.5).
    expected = (2 - np.exp(-0.1)) * 0.4 / 0.5
    own = row(planted, contrast="hypervolume", treatment="iterative_1")
    assert own["estimate"] == pytest.approx(expected, rel=0.01)


def test_points_are_relative_to_the_dense_products_of_their_level() -> None:
    points = points_of(with_reference(observations(gain=0.0, noise=1e-9)))
    at = points.groupby(["arm", "level"])[["x", "y"]].mean()
    assert at.loc[("algo_only", "s50")].tolist() == pytest.approx([1.0, 0.1])
    assert at.loc[("reference", "s0")].tolist() == pytest.approx([1.0, 0.0])
    assert ("permute_only", "s50") not in at.index


def test_a_regressor_that_never_varies_decides_nothing() -> None:
    data = observations(gain=0.0)
    data.loc[data["metric"] == "q_excess", "value"] = 0.0
    found = analyse(data, SPEC.analyse_spec())
    slope = row(found, contrast="gain_by_layout_worth", level="all")
    assert slope["verdict"] == "not_evaluable" and "does not vary" in slope["reason"]


def test_the_reference_is_that_of_the_lowest_sparsity_in_any_order_of_rows() -> None:
    data = observations(gain=0.0)
    learned = data[(data["level"] == "s50") & (data["arm"] == "dense")].assign(level="learned")
    points = points_of(with_reference(pd.concat([learned, data[::-1]], ignore_index=True)))
    for arm in ("reference", "dense", "permute_only"):
        assert set(points.loc[points["arm"] == arm, "level"]) == {"s0"}


def test_figure_and_table_show_what_was_not_run(planted: pd.DataFrame, tmp_path: Path) -> None:
    data = drawn(planted)
    assert set(data["panel"]) == {"points", "ratios", "volumes"}
    save_figure(draw(data, scale="ci", margin=0.02), tmp_path / "f.pdf", tmp_path / "f.png")
    built = table(observations(gain=0.1), planted, shown=50)
    absent = built[built["verdict"] == "not_run"]
    assert {"HAT", "TVM, dense"} <= set(absent["method"]) and (absent["reason"] != "").all()
    iterative = built[built["method"] == "iterative (P, T, P)"].iloc[0]
    assert iterative["n"] == 8 and iterative["verdict"] == "faster"
    assert "iterative (P, T, P)" in to_markdown(built)


def test_a_rehearsal_leaves_empty_tables_and_a_figure_that_says_so(tmp_path: Path) -> None:
    none = observations(gain=0.0).iloc[:0]
    found = analyse(none, SPEC.analyse_spec())
    assert found.empty
    data = drawn(found)
    save_figure(draw(data, scale="paper", margin=0.02), tmp_path / "f.pdf", None)
    assert table(none, found, shown=50).empty


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sparsities": (50, 0)}, "must rise"),
        ({"sparsities": (0, 100)}, "less than 100"),
        ({"shown": 70}, "shown 70 is not one of"),
        ({"reference": (0.9, 0.5)}, "above"),
        ({"learned": "guessed"}, "learned"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        validate(ParetoSpec, SETTINGS | change, "test")


def test_one_run_on_a_tiny_model(tmp_path: Path) -> None:
    """Unstructured masks do not depend on the order, so all pruned arms are one function."""
    model, tokens = make_assets(tmp_path)
    spec = SPEC.run_spec(BENCH, "mamba", seed=0)
    path = tmp_path / "runs/mamba/seed-0/record.json"
    path.parent.mkdir(parents=True)
    run_pareto(
        spec,
        assets=[model, tokens, model],
        record=path,
        samples=path.with_name("samples.npz"),
        context=Context(code="c0de"),
    )
    arms = read_record(path).arms
    assert set(arms) >= {"csr/s50/iterative_1", "dense/s50/dense", "csr/learned/learned_TP"}

    def value(arm: str, metric: str) -> float | None:
        return arms[arm].metrics[metric].value

    pruned = [f"csr/s50/{arm}" for arm in ("algo_only", "linear_PT", "linear_TP", "iterative_1")]
    assert {value(arm, "sparsity") for arm in pruned} == {0.5}
    assert len({value(arm, "bits_per_byte") for arm in pruned}) == 1
    assert value("csr/s50/iterative_1", "similarity_to_TP") == 1.0
    assert value("csr/s0/iterative_1", "affinity_change") == 0.0
    assert arms["csr/s50/iterative_1"].checks["layout_equivalence"].passed
    assert arms["csr/s50/iterative_1"].checks["product"].passed
    # The folder handed over as the trained masks is the dense model itself.
    assert value("csr/learned/learned", "bits_per_byte") == value("csr/s0/dense", "bits_per_byte")
    collected = tmp_path / "observations.csv"
    collect_records(CollectSpec(runs=("mamba/seed-0",)), runs=tmp_path / "runs", table=collected)
    points = points_of(with_reference(pd.read_csv(collected)))
    assert {"reference", "learned", "iterative_1"} <= set(points["arm"])

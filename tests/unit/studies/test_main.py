"""Table 1 and its views: known effects come out as verdicts, nulls as nulls; data are synthetic."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from seqlab.studies.codesign.comparisons import STATISTICS
from seqlab.studies.codesign.experiment import AnalyseSpec
from seqlab.studies.codesign.main import tables
from seqlab.studies.codesign.main.contrasts import BEST_LINEAR, analyse, with_best_linear
from seqlab.studies.codesign.main.figure import draw, drawn
from seqlab.studies.codesign.workbench.names import ARMS

SPEC = AnalyseSpec(alpha=0.05, margin=0.02, quality_margin=0.005)
EFFECTS = {"iterative_1": 0.8, "linear_PT": 1.1, "linear_TP": 1.0}


def observations(effects: dict[str, float] | None = None, runs: int = 10) -> pd.DataFrame:
    """Synthetic runs: latencies with 0.2 % noise, hit rates without any."""
    effects = EFFECTS if effects is None else effects
    rng = np.random.default_rng(0)
    rows = []
    for cell in ("mamba", "gcn"):
        for seed in range(runs):
            base = 10 * np.exp(0.05 * rng.standard_normal())
            for arm in ARMS:
                ms = base * effects.get(arm, 1.0) * np.exp(0.002 * rng.standard_normal())
                for metric, value, unit, provenance in (
                    ("latency_ms", ms, "ms", "measured"),
                    ("L1_hit_rate", 0.5, "1", "simulated"),
                    ("L2_hit_rate", 0.7 + 0.1 * (arm == "iterative_1"), "1", "simulated"),
                    ("L3_hit_rate", 0.9, "1", "simulated"),
                    ("dram_bytes", 1e6, "bytes", "simulated"),
                    ("dram_gb_per_s", 1e6 / ms, "GB/s", "simulated"),
                    ("q_frac", 0.1, "1", "counted"),
                    ("q_newman", 0.1, "1", "counted"),
                    ("bits_per_byte", 1.7 + 0.01 * rng.standard_normal(), "bits/byte", "measured"),
                ):
                    rows.append(
                        (cell, "m", "csr", "all", arm, seed, metric, value, unit, provenance, "cpu")
                    )
    columns = ["cell", "model", "kernel", "level", "arm", "seed", "metric", "value", "unit"]
    return pd.DataFrame(rows, columns=[*columns, "provenance", "device"])


@pytest.fixture(scope="module")
def found() -> tuple[pd.DataFrame, pd.DataFrame]:
    rows = observations()
    return rows, analyse(rows, SPEC)


def pick(statistics: pd.DataFrame, **where: str) -> pd.Series:
    rows = statistics
    for column, value in where.items():
        rows = rows[rows[column] == value]
    assert len(rows) == 1, where
    return rows.iloc[0]


def test_planted_effects_and_nulls_are_found(found: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    _, statistics = found
    assert list(statistics.columns) == STATISTICS
    for cell in ("mamba", "gcn"):
        at = {"cell": cell, "metric": "latency_ms"}
        faster = pick(statistics, contrast="iterative_vs_best_linear", **at)
        assert faster["verdict"] == "faster"
        assert faster["ratio"] == pytest.approx(0.8, rel=0.01)
        assert pick(statistics, contrast="algo_only_vs_dense", **at)["verdict"] == "equivalent"
        assert pick(statistics, contrast="aa", **at)["noise_limit"] < 0.01
    same = pick(statistics, contrast="aa", cell="mamba", metric="dram_bytes")
    assert same["verdict"] == "degenerate" and same["reason"].startswith("identical")


def test_the_best_linear_arm_is_the_faster_one(found: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    rows = with_best_linear(found[0])
    best = rows[(rows["arm"] == BEST_LINEAR) & (rows["metric"] == "latency_ms")]
    one_shot = rows[(rows["arm"] == "linear_TP") & (rows["metric"] == "latency_ms")]
    np.testing.assert_array_equal(best["value"], one_shot["value"])


def test_a_family_is_one_contrast_on_one_metric(found: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    family = found[1][
        (found[1]["contrast"] == "random_vs_dense") & (found[1]["metric"] == "latency_ms")
    ]
    raw = family["p_raw"].to_numpy()
    holm = np.minimum(1, np.maximum.accumulate(np.sort(raw) * [2, 1]))[np.argsort(np.argsort(raw))]
    np.testing.assert_allclose(family["p_holm"], holm)


def test_what_no_kernel_changes_is_one_test_of_its_family() -> None:
    rows = observations()
    twice = pd.concat([rows, rows.assign(kernel="dense")], ignore_index=True)
    at = {"contrast": "random_vs_dense", "metric": "bits_per_byte", "kernel": "csr"}
    once, again = (pick(analyse(table, SPEC), cell="gcn", **at) for table in (rows, twice))
    assert again["p_holm"] == once["p_holm"] >= once["p_raw"]


def test_table_1_prints_every_arm_and_the_verdict(found: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    table = tables.main_results(*found)
    assert list(table["architecture"]) == ["mamba", "gcn"]
    assert set(table["verdict"]) == {"faster"} and set(table["n"]) == {10}
    assert {f"{arm}_ms" for arm in tables.SHOWN} <= set(table.columns)


def test_the_summary_has_the_columns_of_the_original(
    found: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    summary = tables.results_summary(*found)
    assert list(summary.columns)[:13] == [
        *("architecture", "dense_mean", "dense_std", "algo_only_mean", "algo_only_std"),
        *("linear_mean", "linear_std", "iterative_mean", "iterative_std"),
        *("improvement_pct", "p_value", "cohens_d", "significant"),
    ]
    assert summary["improvement_pct"].to_numpy() == pytest.approx([20, 20], abs=0.5)
    rows = found[0]
    dense = rows[(rows["arm"] == "dense") & (rows["metric"] == "latency_ms")]
    assert summary["dense_mean"][0] == dense[dense["cell"] == "mamba"]["value"].mean()


def test_tables_3_and_5_carry_provenance_and_say_what_is_missing(
    found: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    mechanism = tables.mechanism(*found)
    hits = mechanism[mechanism["metric"] == "L2_hit_rate"]
    assert set(hits["provenance"]) == {"simulated"}
    memory = tables.memory_hierarchy(*found)
    last = memory.iloc[-1]
    assert last["metric"] == "bank_conflicts" and last["verdict"] == "not_run" and last["reason"]


def test_table_8_has_a_row_for_every_device_that_is_missing(
    found: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    table = tables.devices(*found, ["MI100", "cpu"])
    assert list(table["verdict"]) == ["faster", "faster", "not_run"]
    assert list(table["device"]) == ["cpu", "cpu", "MI100"]


def test_without_runs_tables_are_empty_and_the_figure_says_so() -> None:
    none = observations().iloc[:0]
    statistics = analyse(none, SPEC)
    assert list(statistics.columns) == STATISTICS and statistics.empty
    for table in (tables.main_results, tables.results_summary, tables.mechanism):
        assert table(none, statistics).empty
    assert tables.memory_hierarchy(none, statistics)["verdict"].tolist() == ["not_run"]
    assert tables.devices(none, statistics, ["A100"])["device"].tolist() == ["A100"]
    figure = draw(drawn(none, statistics), scale="paper")
    assert [text.get_text() for text in figure.texts] == ["no runs at paper scale"]


def test_the_figure_draws_runs_of_every_arm(found: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    data = drawn(*found)
    figure = draw(data, scale="ci")
    assert len(figure.axes) == 2
    points = [line for line in figure.axes[0].lines if line.get_marker() == "."]
    assert [len(line.get_xdata()) for line in points] == [10] * 5

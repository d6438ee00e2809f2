"""Layouts: planted mechanisms are found, nulls and constants are said; data are synthetic."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from tiny_subject import SPEC as BENCH
from tiny_subject import tiny_bench

from seqlab.errors import UserError
from seqlab.spec import validate
from seqlab.studies.codesign.layouts import run
from seqlab.studies.codesign.layouts.figures import (
    mediation_data,
    mediation_figure,
    scatter_data,
    scatter_figure,
)
from seqlab.studies.codesign.layouts.spec import (
    GraphSpec,
    LayoutsAnalyseSpec,
    LayoutsRunSpec,
    LayoutsSpec,
)
from seqlab.studies.codesign.layouts.statistics import analyse, layout_table, pearson, spearman

SPEC = LayoutsAnalyseSpec(alpha=0.05, margin=0.02, quality_margin=0.005, resamples=400, seed=17)
GRAPH = GraphSpec(nodes=256, edges=1024, communities=8, mixing=0.1, width=16, block=32)


def rows_of(cell: str, seed: int, level: str, arm: str, **metrics: float) -> list[tuple]:
    return [
        (cell, "m", "csr", level, arm, seed, name, value, "1", "simulated", "cpu")
        for name, value in metrics.items()
    ]


def observations(
    slope: float, *, constant_hits: bool = False, graphs: int = 1, draw: int = 0
) -> pd.DataFrame:
    """Synthetic layouts: hits follow modularity, log latency follows hits with `slope`."""
    rng = np.random.default_rng(draw)
    cell = "graph" if graphs > 1 else "mamba-csr"
    runs = range(graphs if graphs > 1 else 5)
    rows = []
    q = rng.uniform(0, 1, 40)
    hits = 0.5 + 0.3 * q + 0.02 * rng.standard_normal(40)
    for seed in runs:
        if graphs > 1:
            q = rng.uniform(0, 1, 12) + seed
            hits = 0.5 + 0.3 * (q - seed) + 0.1 * seed + 0.02 * rng.standard_normal(12)
        speed = 10 * math.exp(0.3 * rng.standard_normal())
        for index, (a, b) in enumerate(zip(q, hits, strict=True)):
            ms = speed * math.exp(slope * b + 0.01 * rng.standard_normal())
            found = 0.7 if constant_hits else b
            rows += rows_of(
                cell,
                seed,
                f"L{index:02d}-spread",
                "layout",
                q_newman=a,
                q_frac=a,
                L2_hit_rate=found,
                L2_misses=1000 * (1 - found),
                site_latency_ms=ms,
            )
        ms = speed * math.exp(slope * hits[0] + 0.01 * rng.standard_normal())
        rows += rows_of(cell, seed, "L00-spread", "layout_aa", site_latency_ms=ms)
    columns = ["cell", "model", "kernel", "level", "arm", "seed", "metric", "value", "unit"]
    return pd.DataFrame(rows, columns=[*columns, "provenance", "device"])


def pick(statistics: pd.DataFrame, contrast: str, metric: str) -> pd.Series:
    rows = statistics[(statistics["contrast"] == contrast) & (statistics["metric"] == metric)]
    rows = rows[rows["item"] != "mediation_served"]
    assert len(rows) == 1
    return rows.iloc[0]


@pytest.mark.parametrize("graphs", [1, 8])
def test_a_planted_mechanism_is_found(graphs: int) -> None:
    found = analyse(observations(-1.0, graphs=graphs), SPEC)
    assert pick(found, "q_newman_hits", "spearman")["verdict"] == "higher"
    assert pick(found, "hits_latency", "spearman")["verdict"] == "lower"
    acme, ade = pick(found, "acme", "bca"), pick(found, "ade", "bca")
    assert acme["verdict"] == "lower" and acme["ci_high"] < 0
    # All of it goes through the hit rate: 0.3 per unit of q, sd 0.29, slope -1.
    assert acme["estimate"] == pytest.approx(-0.087, rel=0.25)
    assert ade["ci_low"] < 0 < ade["ci_high"]
    share = pick(found, "proportion", "percentile")
    assert share["estimate"] == pytest.approx(1.0, abs=0.25)
    assert "ignorability" in acme["reason"]
    assert pick(found, "aa", "site_latency_ms")["noise_limit"] < 0.08


def test_without_an_effect_on_latency_nothing_is_claimed() -> None:
    claimed = {"hits_latency": 0, "acme": 0, "proportion": 0}
    for draw in range(10):
        found = analyse(observations(0.0, draw=draw), SPEC)
        claimed["hits_latency"] += (
            pick(found, "hits_latency", "spearman")["verdict"] != "inconclusive"
        )
        claimed["acme"] += pick(found, "acme", "bca")["verdict"] != "inconclusive"
        claimed["proportion"] += pick(found, "proportion", "percentile")["verdict"] != "degenerate"
    # A level of 5 %, Holm over the cell for correlations: 3 of 10 would be a chance of one in 100.
    assert max(claimed.values()) <= 2


def test_a_hit_rate_that_never_changes_mediates_nothing() -> None:
    found = analyse(observations(-1.0, constant_hits=True), SPEC)
    for contrast, metric in (
        ("hits_latency", "spearman"),
        ("acme", "percentile"),
        ("proportion", "percentile"),
    ):
        row = pick(found, contrast, metric)
        assert row["verdict"] == "degenerate"
        assert "L2_hit_rate is the same in every layout" in row["reason"]


def test_layouts_of_a_model_are_averaged_over_runs() -> None:
    table = layout_table(observations(-1.0))
    assert len(table) == 40 and set(table["runs"]) == {5}
    assert table["site_latency_ms"].mean() == pytest.approx(0, abs=1e-12)
    per_graph = layout_table(observations(-1.0, graphs=8))
    assert len(per_graph) == 96 and set(per_graph["runs"]) == {1}


def test_correlations_equal_scipys() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.integers(0, 9, 30).astype(float), rng.standard_normal(30)
    assert pearson(x, y, axis=-1) == pytest.approx(stats.pearsonr(x, y).statistic)
    assert spearman(x, y, axis=-1) == pytest.approx(stats.spearmanr(x, y).statistic)
    assert math.isnan(pearson(np.ones(5), np.arange(5.0), axis=-1))


@pytest.fixture(scope="module")
def spec() -> LayoutsRunSpec:
    return LayoutsRunSpec(
        bench=BENCH, cell="graph", seed=0, threads=1, graph=GRAPH, layouts=8, repeats=3
    )


def test_layouts_of_a_model_are_checked_and_span_worth() -> None:
    laid = run.model_layouts(tiny_bench(), "csr", 12)
    worths = [one.worth["q_frac"] for one in laid if one.kind == "spread"]
    assert len(laid) == 12 and worths == sorted(worths) and worths[-1] > worths[0]
    assert {one.kind for one in laid} == {"spread", *run.OTHER_METHODS}
    assert all(one.checks["product"].passed for one in laid)
    again = run.model_layouts(tiny_bench(seed=5), "csr", 12)
    assert [one.worth for one in again] == [one.worth for one in laid]


def test_orders_of_a_graph_are_checked_measured_and_drawn_anew(spec: LayoutsRunSpec) -> None:
    laid = run.graph_layouts(spec)
    assert [one.kind for one in laid[-3:]] == list(run.OTHER_ORDERS)
    assert laid[4].worth["q_frac"] > laid[0].worth["q_frac"]
    found = run.measure_layouts(spec, laid, "aggregate")
    names = [f"aggregate/L{i:02d}-{one.kind}/layout" for i, one in enumerate(laid)]
    assert set(found.metrics) == {*names, "aggregate/L00-spread/layout_aa"}
    assert found.metrics[names[0]]["L2_misses"].provenance == "simulated"
    other = run.graph_layouts(spec.model_copy(update={"seed": 1}))
    assert other[0].worth != laid[0].worth


def test_a_product_is_named_by_architecture_and_kernel() -> None:
    values = {
        "products": ["mamba"],
        "graph": GRAPH.model_dump(),
        "graphs": 3,
        "layouts": 8,
        "layouts_per_graph": 8,
        "repeats": 3,
        "resamples": 200,
        "bootstrap_seed": 1,
        "seeds": 3,
        "threads": 1,
        "margin": 0.02,
        "quality_margin": 0.01,
    }
    with pytest.raises(UserError, match="no ARCHITECTURE-KERNEL"):
        validate(LayoutsSpec, values, "test")
    good = validate(LayoutsSpec, values | {"products": ["mamba-csr"]}, "test")
    assert good.runs()[:3] == ["mamba-csr/seed-0", "mamba-csr/seed-1", "mamba-csr/seed-2"]
    assert good.architectures("graph") == [] and good.architectures("mamba-csr") == ["mamba"]


def test_figures_draw_every_layout_and_say_where_a_share_is_undefined() -> None:
    rows = pd.concat(
        [
            observations(-1.0),
            observations(-1.0, constant_hits=True).replace({"cell": {"mamba-csr": "mamba-dense"}}),
        ]
    )
    found = analyse(rows, SPEC)
    data = scatter_data(rows, found)
    figure = scatter_figure(data, scale="ci")
    assert len(figure.axes) == 8 and len(data) == 80
    effects = mediation_figure(mediation_data(found), scale="ci")
    texts = [text.get_text() for text in effects.axes[1].texts]
    assert any("undefined" in text for text in texts)

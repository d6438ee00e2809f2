"""Figure 3: graphs, layouts, simulation and statistics on inputs whose answer is known."""

from __future__ import annotations

import networkx
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from seqlab.studies.codesign.synthetic.contrasts import STATISTICS, analyse, spearman
from seqlab.studies.codesign.synthetic.simulate import (
    locality,
    modularity,
    planted_partition,
    shuffled_positions,
)
from seqlab.studies.codesign.synthetic.spec import AnalyseSpec, GraphSpec, RunSpec

GRAPH = GraphSpec(nodes=512, communities=16, mixing=0.2, degree=20)
RUN = RunSpec(
    graphs=(GRAPH,), blocks=(8, 32), capacities=(1, 4, 64), fractions=6, steps=60_000, seed=0
)


def test_graphs_have_the_degree_and_mixing_asked_for() -> None:
    matrix = planted_partition(GRAPH, np.random.default_rng(0))
    assert (matrix != matrix.T).nnz == 0
    assert matrix.diagonal().sum() == 0
    assert np.diff(matrix.indptr).mean() == pytest.approx(20, rel=0.05)
    ends = matrix.tocoo()
    assert np.mean(ends.row // 32 != ends.col // 32) == pytest.approx(0.2, abs=0.02)


def test_the_original_graph_has_its_probabilities() -> None:
    graph = GraphSpec(nodes=1024, communities=16, mixing=0.656, degree=146.4)
    inside = (1 - graph.mixing) * graph.degree / 63
    between = graph.mixing * graph.degree / 960
    assert (inside, between) == pytest.approx((0.8, 0.1), abs=1e-3)


def test_modularity_equals_networkx() -> None:
    matrix = planted_partition(GRAPH, np.random.default_rng(0))
    block = np.random.default_rng(1).permutation(512) // 32
    share, newman = modularity(matrix, block)
    groups = [set(np.flatnonzero(block == index)) for index in range(16)]
    network = networkx.from_scipy_sparse_array(matrix)
    assert newman == pytest.approx(networkx.community.modularity(network, groups))
    dense = matrix.toarray()
    assert share == pytest.approx(dense[block[:, None] == block[None, :]].sum() / dense.sum())


def test_shuffles_grow_from_nothing_to_everything() -> None:
    positions = shuffled_positions(100, 5, np.random.default_rng(0))
    assert np.array_equal(positions[0], np.arange(100))
    assert all(np.array_equal(np.sort(row), np.arange(100)) for row in positions)
    still = [(row == np.arange(100)).sum() for row in positions]
    assert still == sorted(still, reverse=True)
    assert still[-1] < 10


def test_one_line_hits_as_theory_says_and_a_cache_for_all_hits_always() -> None:
    found = locality(GRAPH, RUN)
    np.testing.assert_allclose(found.hit_rate[:, 0], found.q_frac, atol=0.02)
    assert (found.hit_rate[0, 2] == 1 - 64 / 60_000).all()
    assert (np.diff(found.hit_rate, axis=1) >= 0).all()
    assert found.q_frac[1, 0] > 0.75 > 0.2 > found.q_frac[1, -1]
    assert found.mixing == pytest.approx(0.2, abs=0.02)


def test_runs_repeat_and_seeds_differ() -> None:
    small = RUN.model_copy(update={"steps": 2000})
    first, again = locality(GRAPH, small), locality(GRAPH, small)
    other = locality(GRAPH, small.model_copy(update={"seed": 1}))
    assert np.array_equal(first.hit_rate, again.hit_rate)
    assert not np.array_equal(first.q_frac, other.q_frac)


def observations(gain: float, noise: float, seeds: int = 6) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for seed in range(seeds):
        for capacity, fits in ((1, False), (16, True)):
            for fraction in np.linspace(0, 1, 9):
                hit = 0.99 if fits else 0.2 + gain * (1 - fraction) + noise * rng.normal()
                rows.append(
                    {
                        "graph": "g", "nodes": 256, "communities": 4, "block": 16, "seed": seed,
                        "capacity": capacity, "fraction": fraction,
                        "q_frac": 0.2 + 0.5 * (1 - fraction), "hit_rate": hit,
                        "q_newman": 0.1 + 0.5 * (1 - fraction),
                    }
                )  # fmt: skip
    return pd.DataFrame(rows)


def verdicts(table: pd.DataFrame) -> dict[tuple[str, str], str]:
    return {(row.contrast, row.facet): row.verdict for row in table.itertuples()}


def test_a_real_gain_is_found_and_a_cache_for_all_shows_none() -> None:
    table = analyse(observations(0.5, 0.05), AnalyseSpec(alpha=0.05, margin=0.01))
    assert list(table.columns) == STATISTICS
    found = verdicts(table)
    assert found["truth_vs_random", "smaller"] == "higher"
    assert found["monotone", "smaller"] == "higher"
    assert found["monotone_newman", "smaller"] == "higher"
    assert found["truth_vs_random", "fits"] == "degenerate"
    assert ("monotone", "fits") not in found
    cells = table[(table["facet"] == "cell") & (table["contrast"] == "truth_vs_random")]
    assert dict(zip(cells["capacity"], cells["fits"], strict=True)) == {1: False, 16: True}
    assert set(cells["lines"]) == {16}


def test_noise_alone_is_no_gain() -> None:
    table = analyse(observations(0.0, 0.05), AnalyseSpec(alpha=0.05, margin=0.01))
    found = verdicts(table)
    assert found["truth_vs_random", "smaller"] == "inconclusive"
    assert found["monotone", "smaller"] == "inconclusive"


def test_rank_correlation_equals_scipy_and_is_undefined_for_constants() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 9, 30).astype(float), rng.normal(size=30)
    assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)
    assert np.isnan(spearman(x, np.ones(30)))


@pytest.mark.parametrize(
    "changes",
    [
        {"communities": 15},
        {"degree": 60.0},
        {"mixing": 1.0},
        {"nodes": 8},
        {"communities": 2, "mixing": 0.9, "degree": 500.0},
    ],
)
def test_impossible_graphs_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        GraphSpec(**GRAPH.model_dump() | changes)

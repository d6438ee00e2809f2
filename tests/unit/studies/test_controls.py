"""Layout controls: equal products, more misses in a random order, verdicts of known effects."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from seqlab.errors import UserError
from seqlab.measure.latency import Warmup, measure_interleaved
from seqlab.studies.codesign.controls import names, run
from seqlab.studies.codesign.controls.contrasts import CONTRASTS, STATISTICS, analyse
from seqlab.studies.codesign.controls.figure import PANELS, draw, drawn
from seqlab.studies.codesign.controls.placements import joined, placements
from seqlab.studies.codesign.controls.spec import (
    AnalyseSpec,
    CacheSpec,
    DenseSpec,
    LatencySpec,
    RunSpec,
    SparseSpec,
)

SPEC = RunSpec(
    dense=DenseSpec(rows=40, columns=64, width=20, block=16, samples=512),
    sparse=SparseSpec(nodes=4096, edges=20_000, communities=64, mixing=0.1, width=16),
    caches=(
        CacheSpec(name="L1", size=4096, ways=4),
        CacheSpec(name="L2", size=65536, ways=8),
    ),
    latency=LatencySpec(
        placements=2,
        dense_repeats=3,
        sparse_repeats=3,
        warmup_max=1,
        max_foreign_load=64,
        attempts=1,
    ),
    seed=0,
    threads=1,
)


@pytest.fixture(scope="module")
def products() -> dict[str, dict[str, run.Product]]:
    return run.products(SPEC)


def test_every_layout_computes_the_same(products: dict[str, dict[str, run.Product]]) -> None:
    for kernel, layouts in products.items():
        errors = run.check_products(layouts, kernel)
        assert max(errors.values()) < run.TOLERANCE
    # The sums run in another order, so the layouts did move something.
    dense = products[names.DENSE]
    original, again = dense[names.ORIGINAL].place()(), dense[names.AGAIN].place()()
    assert torch.equal(original, again)
    assert not torch.equal(original, dense[names.RANDOM].place()())


def test_every_placement_computes_the_product_elsewhere(
    products: dict[str, dict[str, run.Product]],
) -> None:
    rng = np.random.default_rng(0)
    for kernel, layouts in products.items():
        once, again = placements(layouts, 2, rng)
        assert list(once) == list(again) == list(layouts)
        for name, product in layouts.items():
            found = once[name](), again[name]()
            assert torch.equal(*found)
            assert found[0].data_ptr() != found[1].data_ptr()
            if kernel == names.DENSE:
                # The same memory is written to by every call of one placement.
                assert once[name]().data_ptr() == found[0].data_ptr()
                torch.testing.assert_close(found[0].double(), product.reference, rtol=0, atol=1e-3)


def test_measurements_of_placements_are_one() -> None:
    rng = np.random.default_rng(0)
    parts = [
        measure_interleaved(
            {"a": lambda: None, "b": lambda: None},
            repeats={"a": 4, "b": 2},
            rng=rng,
            warmup=Warmup(max_calls=calls),
        )
        for calls in (1, 2)
    ]
    whole = joined(parts)
    for arm, count in (("a", 8), ("b", 4)):
        wanted = np.concatenate([part.samples_ns[arm] for part in parts])
        assert np.array_equal(whole.samples_ns[arm], wanted) and len(wanted) == count
        assert whole.median_s(arm) == pytest.approx(np.median(wanted) * 1e-9)
    # Rounds of the second follow those of the first, and arms still pair up by round.
    assert whole.rounds["a"].tolist() == list(range(8))
    assert set(whole.rounds["b"]) <= set(range(8)) and whole.rounds["b"][2] >= 4
    assert whole.order == parts[0].order + parts[1].order
    assert whole.warmup_calls["a"] == sum(part.warmup_calls["a"] for part in parts)


def test_a_product_of_something_else_is_refused(
    products: dict[str, dict[str, run.Product]],
) -> None:
    right = products[names.SPARSE][names.CLUSTERED]
    wrong = replace(right, restored=lambda: right.restored() * 1.001)
    with pytest.raises(UserError, match=r"layout 'shuffled' differs by 0\.001"):
        run.check_products({names.CLUSTERED: right, names.SHUFFLED: wrong}, names.SPARSE)


def test_a_random_order_misses_more(products: dict[str, dict[str, run.Product]]) -> None:
    sparse = {name: run.simulated(p, SPEC.caches) for name, p in products[names.SPARSE].items()}
    assert sparse[names.CLUSTERED] == sparse[names.CLUSTERED_AGAIN]
    ratio = sparse[names.SHUFFLED].levels[1].misses / sparse[names.CLUSTERED].levels[1].misses
    assert ratio > 1.5


def observations(slow: float, runs: int = 8) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    arms = {(kernel, arm) for kernel, *pair in CONTRASTS.values() for arm in pair}
    for seed in range(runs):
        for kernel, layout in sorted(arms):
            shuffled = layout == names.SHUFFLED
            for metric, value, provenance in (
                (
                    "latency_ms",
                    np.exp(0.002 * rng.normal()) * (slow if shuffled else 1),
                    "measured",
                ),
                ("L2_misses", 1000 + seed + 500 * shuffled, "simulated"),
                ("dram_bytes", 64_000 + seed + 500 * shuffled, "simulated"),
            ):
                rows.append((kernel, layout, seed, metric, value, "1", provenance, "cpu"))
    columns = ["kernel", "layout", "seed", "metric", "value", "unit", "provenance", "device"]
    return pd.DataFrame(rows, columns=columns)


def test_verdicts_of_both_controls() -> None:
    table = analyse(observations(1.5), AnalyseSpec(alpha=0.05, margin=0.02))
    assert list(table.columns) == STATISTICS
    verdict = table.set_index(["contrast", "metric"])["verdict"]
    assert verdict["dense_random", "latency_ms"] == "equivalent"
    assert verdict["dense_spectral", "latency_ms"] == "equivalent"
    assert verdict["sparse_shuffled", "latency_ms"] == "slower"
    assert verdict["sparse_shuffled", "L2_misses"] == "higher"
    assert verdict["dense_random", "L2_misses"] == "degenerate"


def test_devices_are_never_pooled() -> None:
    both = pd.concat([observations(1.5), observations(1.0).assign(device="gpu")])
    table = analyse(both, AnalyseSpec(alpha=0.05, margin=0.02))
    verdict = table.set_index(["device", "contrast", "metric"])["verdict"]
    assert verdict["cpu", "sparse_shuffled", "latency_ms"] == "slower"
    assert verdict["gpu", "sparse_shuffled", "latency_ms"] == "equivalent"
    assert set(table["n"]) == {8}


def test_a_layout_that_changes_nothing_is_not_called_slower() -> None:
    table = analyse(observations(1.0), AnalyseSpec(alpha=0.05, margin=0.02))
    verdict = table.set_index(["contrast", "metric"])["verdict"]
    assert verdict["sparse_shuffled", "latency_ms"] == "equivalent"


def test_the_figure_draws_every_contrast_once() -> None:
    data = drawn(analyse(observations(1.5), AnalyseSpec(alpha=0.05, margin=0.02)))
    assert len(data) == len(PANELS) * len(CONTRASTS)
    figure = draw(data, scale="ci", margin=0.02)
    assert len(figure.axes) == len(PANELS)
    faster = data.assign(ratio=0.5, ratio_low=0.4, ratio_high=0.6)
    for ax in draw(faster, scale="ci", margin=0.02).axes:
        assert ax.get_xlim()[0] < 0.4


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (CacheSpec, {"name": "L1", "size": 1000, "ways": 3}),
        (DenseSpec, {"rows": 8, "columns": 60, "width": 1, "block": 16, "samples": 64}),
    ],
)
def test_settings_that_do_not_fit_are_refused(kind: type, values: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        kind(**values)

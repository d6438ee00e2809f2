"""Path dependence: the search for equal quality, tiles of the arms, verdicts of planted effects."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from tiny_mamba import BENCH, make_assets

from seqlab.errors import UserError
from seqlab.plots.tables import to_markdown
from seqlab.provenance.record import read_record
from seqlab.spec import Context, validate
from seqlab.studies.codesign.paths.contrasts import analyse
from seqlab.studies.codesign.paths.matching import match
from seqlab.studies.codesign.paths.spec import PathsSpec
from seqlab.studies.codesign.paths.table import table
from seqlab.studies.codesign.steps.run_paths import run_paths

SETTINGS = {
    "block": 16,
    "sparsities": [25, 50],
    "match": {"sparsity": 50, "grid": [40, 60], "refinements": 3, "margin": 0.01},
    "slope_margin": 0.2,
    "repeats": 3,
    "seeds": 6,
    "threads": 1,
    "margin": 0.02,
    "quality_margin": 0.01,
}
SPEC = PathsSpec.model_validate(SETTINGS)


def test_the_search_comes_near_a_smooth_function() -> None:
    asked: list[float] = []

    def value_at(sparsity: float) -> float:
        asked.append(sparsity)
        return 2.0 + (sparsity / 50) ** 3

    found = match(value_at, target=2.3, grid=(20, 40, 60), refinements=5, enough=1e-3)
    assert found.gap <= 1e-3 and found.value == value_at(found.sparsity)
    assert found.sparsity == pytest.approx(50 * 0.3 ** (1 / 3), abs=0.05)
    assert found.tried <= 8 and asked[:3] == [20, 40, 60]


def test_the_search_does_not_extrapolate() -> None:
    found = match(lambda sparsity: sparsity, target=90.0, grid=(20, 40), refinements=5, enough=0.1)
    assert (found.sparsity, found.gap, found.tried) == (40, 50.0, 2)


def test_a_step_is_found_out() -> None:
    found = match(lambda s: float(s > 30), target=0.5, grid=(20, 40), refinements=4, enough=0.01)
    assert found.gap == 0.5


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    folder = tmp_path_factory.mktemp("paths")
    spec = SPEC.run_spec(BENCH, "mamba", seed=0)
    run_paths(
        spec,
        assets=make_assets(folder),
        record=folder / "record.json",
        samples=folder / "samples.npz",
        context=Context(code="c0de"),
    )
    return read_record(folder / "record.json")


def test_one_run_counts_tiles_and_matches_quality(record) -> None:  # type: ignore[no-untyped-def]
    def value(arm: str, metric: str) -> float:
        return record.arms[f"bsr16/{arm}"].metrics[metric].value

    # in_proj 128 x 32 and out_proj 32 x 64 have 8 x 2 and 2 x 4 tiles.
    assert value("d50/dense", "tiles") == 24
    assert value("d50/algo_only", "tiles") == 12
    assert value("d50/linear_PT", "tiles") == 12
    assert value("d50/prune_random", "tiles") > 12
    # Equal functions, another order; the second permutation changes no value.
    assert value("d50/linear_TP", "bits_per_byte") == value("d50/algo_only", "bits_per_byte")
    assert value("d50/iterative_1", "bits_per_byte") == value("d50/linear_PT", "bits_per_byte")
    gap = value("q50/linear_PT", "quality_gap")
    if gap <= SPEC.match.margin:
        both = [value(f"q50/{arm}", "bits_per_byte") for arm in ("linear_PT", "linear_TP")]
        assert abs(both[0] - both[1]) == pytest.approx(gap)
    else:
        assert value("q50/linear_PT", "latency_ms") is None


def test_layouts_have_blocks_of_their_own() -> None:
    spec = SPEC.model_copy(update={"block": 8}).run_spec(BENCH, "mamba", seed=3)
    assert spec.bench.architectures["mamba"].block == 8 and spec.seed == 3
    assert BENCH.architectures["mamba"].block == 16


def observations(gap: float = 0.0, slope: float = 1.0) -> pd.DataFrame:
    """Return made-up runs whose latency is the number of tiles to the power of `slope`."""
    rng = np.random.default_rng(0)
    tiles = {
        **{("d25", arm): 75 for arm in ("algo_only", "linear_PT", "linear_TP")},
        **{("d50", arm): 50 for arm in ("algo_only", "linear_PT", "linear_TP")},
        **{(level, arm): 100 for level in ("d25", "d50", "q50") for arm in ("dense", "dense_aa")},
        **{(level, "prune_random"): 100 for level in ("d25", "d50")},
        **{("d25", "iterative_1"): 80, ("d50", "iterative_1"): 60},
        **{("q50", "linear_TP"): 50, ("q50", "linear_PT"): 45, ("q50", "iterative_1"): 55},
    }
    rows = []
    for seed in range(6):
        for (level, arm), count in tiles.items():
            noise = np.exp(0.002 * rng.standard_normal(2))
            metrics = {
                "tiles": count,
                "site_latency_ms": (count / 100) ** slope * noise[0],
                "latency_ms": (1 + (count / 100) ** slope) * noise[1],
                "bits_per_byte": 2.0 + 0.001 * rng.standard_normal(),
                "sparsity": 1 - count / 100,
            }
            if level == "q50" and not arm.startswith("dense"):
                metrics |= {"quality_gap": gap, "matched_sparsity": 50.0}
            rows += [
                {
                    "cell": "mamba",
                    "model": "made-up",
                    "kernel": "bsr16",
                    "level": level,
                    "arm": arm,
                    "seed": seed,
                    "metric": metric,
                    "value": value,
                    "unit": "",
                    "provenance": "measured",
                    "device": "made-up",
                }
                for metric, value in metrics.items()
            ]
    return pd.DataFrame(rows)


def row(statistics: pd.DataFrame, **where: str) -> pd.Series:
    keep = np.logical_and.reduce([statistics[name] == value for name, value in where.items()])
    (index,) = np.flatnonzero(keep)
    return statistics.iloc[index]


def test_latency_that_follows_tiles_has_slope_one() -> None:
    found = analyse(observations(), SPEC.analyse_spec())
    slope = row(found, contrast="tiles_slope", metric="site_latency_ms")
    assert slope["ci_low"] < 1.0 < slope["ci_high"]
    against = row(found, contrast="tiles_slope_vs_1", metric="site_latency_ms")
    assert against["verdict"] == "equivalent"
    flat = analyse(observations(slope=0.3), SPEC.analyse_spec())
    assert row(flat, contrast="tiles_slope_vs_1", metric="site_latency_ms")["verdict"] == "lower"


def test_contrasts_at_equal_density_and_quality() -> None:
    found = analyse(observations(), SPEC.analyse_spec())
    where = {"contrast": "iterative_vs_linear_PT", "metric": "site_latency_ms"}
    assert row(found, level="d50", **where)["verdict"] == "slower"
    assert row(found, level="q50", **where)["verdict"] == "slower"
    same = row(found, contrast="linear_PT_vs_linear_TP", metric="tiles", level="d50")
    assert same["verdict"] == "degenerate"
    assert found.loc[found["contrast"] == "iterative_vs_linear_PT", "p_holm"].notna().any()


def test_an_unmatched_quality_is_not_evaluable() -> None:
    table_of = observations(gap=0.5)
    lacking = (table_of["level"] == "q50") & table_of["metric"].str.contains("latency")
    table_of.loc[lacking, "value"] = np.nan
    found = analyse(table_of, SPEC.analyse_spec())
    refused = found[(found["level"] == "q50") & (found["metric"] == "site_latency_ms")]
    assert set(refused["verdict"]) == {"not_evaluable"}
    assert refused["reason"].str.contains("6 of 6 runs").all()
    built = table(table_of, found)
    shown = built[(built["level"] == "q50") & (built["arm"] == "permute, prune")].iloc[0]
    assert shown["verdict"] == "not_evaluable" and "off by up to 0.5" in shown["reason"]


def test_the_table_has_every_arm_and_the_slopes() -> None:
    data = observations()
    built = table(data, analyse(data, SPEC.analyse_spec()))
    assert (built["level"] == "d50").sum() == 6
    own = built[built["arm"] == "prune, permute"].set_index("level")
    assert own.loc["d50", "control"] == "prune" and own.loc["d50", "tiles / control"] == "×1"
    # Nothing is pruned alone at equal quality.
    assert own.loc["q50", "control"] == "" and own.loc["q50", "verdict"] == ""
    assert built["arm"].str.startswith("slope of log").sum() == 2
    assert "prune, permute at random (control)" in to_markdown(built)
    none = data.iloc[:0]
    empty = analyse(none, SPEC.analyse_spec())
    assert empty.empty and table(none, empty).empty


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tile": 12}, "tile"),
        ({"sparsities": [25]}, "match.sparsity 50"),
        ({"match": {**SETTINGS["match"], "grid": [60, 40]}}, "must rise"),
        ({"sparsities": [0, 50]}, "greater than 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        validate(PathsSpec, SETTINGS | change, "test")

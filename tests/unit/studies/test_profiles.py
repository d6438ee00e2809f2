"""Cache profiles: traffic of known traces, caches of machines, planted savings in the figure."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from seqlab.kernels.cachesim import Level
from seqlab.plots.legibility import smallest_text_pt
from seqlab.plots.save import save_figure
from seqlab.studies.codesign.caches import CacheSpec
from seqlab.studies.codesign.experiment import AnalyseSpec
from seqlab.studies.codesign.profiles.figure import draw, drawn
from seqlab.studies.codesign.profiles.run import caches_of, traffic
from seqlab.studies.codesign.profiles.spec import (
    HERE,
    LINEAR_AA,
    MEASURED,
    SIMULATED_ARMS,
    ProfilesDrawSpec,
    ProfileSpec,
    ProfilesSpec,
)
from seqlab.studies.codesign.profiles.statistics import LATENCY, PRIMARY, TRAFFIC, analyse
from seqlab.studies.codesign.workbench.names import ITERATIVE
from seqlab.studies.codesign.workbench.subject import Product

ANALYSE = AnalyseSpec(alpha=0.05, margin=0.02, quality_margin=0.005)
LABELS = {"small": "small L2", "large": "large L2"}


def walk(lines: list[int]) -> Product:
    """Return a product that reads these lines of 64 bytes, in two pieces."""

    def trace() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for part in np.array_split(np.array(lines, np.uint64) * np.uint64(64), 2):
            yield part, np.zeros(len(part), np.bool_)

    return Product(lambda: None, trace)


def test_traffic_is_what_each_cache_misses() -> None:
    there_and_back = [*range(32), *range(32)]
    found = traffic(
        [walk(there_and_back), walk(there_and_back)],
        {
            "fits": [Level(32 * 64, 32)],
            "halves": [Level(16 * 64, 16)],
            "long lines": [Level(32 * 64, 16, 128)],
        },
    )
    # Each product starts in empty caches; a cycle longer than an LRU cache never hits.
    assert found["fits"].value == 2 * 32 * 64
    assert found["halves"].value == 2 * 64 * 64
    assert found["long lines"].value == 2 * 16 * 128


def test_caches_of_machines() -> None:
    zen = {"l1d_bytes": 32768, "l2_bytes": 1 << 20, "l3_bytes": 1 << 25, "cache_line_bytes": 64}
    assert [(c.size, c.ways, c.sets) for c in caches_of(zen)] == [
        (32768, 8, 64),
        (1 << 20, 8, 2048),
        (1 << 25, 16, 32768),
    ]
    lake = {"l1d_bytes": 49152, "l2_bytes": 1310720, "l3_bytes": 62914560, "cache_line_bytes": None}
    assert next((c.ways, c.line) for c in caches_of(lake)) == (12, 64)
    assert all(c.size == c.sets * c.ways * c.line for c in caches_of(lake))
    assert [c.name for c in caches_of(zen | {"l3_bytes": None})] == ["L1", "L2"]
    assert caches_of(zen | {"l2_bytes": None}) == []


def test_wrong_profiles_are_refused() -> None:
    caches = (
        CacheSpec(name="L1", size=8192, ways=4, line=128),
        CacheSpec(name="L2", size=8192, ways=4, line=64),
    )
    with pytest.raises(ValidationError, match="lines of the caches"):
        ProfileSpec(label="x", origin="x", caches=caches)
    profile = ProfileSpec(label="x", origin="x", caches=caches[1:])
    with pytest.raises(ValidationError, match="cannot be called here"):
        ProfilesSpec(
            seeds=3,
            threads=1,
            margin=0.02,
            quality_margin=0.005,
            architectures_measured=("mamba",),
            profiles={HERE: profile},
            repeats=3,
        )


def test_columns_keep_their_order_where_settings_are_sorted() -> None:
    profile = ProfileSpec(
        label="x\ny", origin="x", caches=(CacheSpec(name="L2", size=8192, ways=4),)
    )
    spec = ProfilesSpec(
        seeds=3,
        threads=1,
        margin=0.02,
        quality_margin=0.005,
        architectures_measured=("mamba",),
        profiles={"later": profile, "first": profile},
        repeats=3,
    ).draw_spec("cache_profiles", "laptop")
    again = ProfilesDrawSpec.model_validate_json(spec.canonical())
    assert [name for name, _ in again.labels] == ["later", "first"]


def observations(devices: tuple[str, ...] = ("cpu",)) -> pd.DataFrame:
    """Return made-up runs: in the small cache the iterative arm of `gcn` saves a fifth."""
    rows = []
    rng = np.random.default_rng(0)
    for device in devices:
        for cell in ("mamba", "gcn"):
            for seed in range(5):
                for level in (*LABELS, HERE):
                    for arm in SIMULATED_ARMS:
                        saved = arm == ITERATIVE and level == "small" and cell == "gcn"
                        value = 1e6 * (0.8 if saved else 1) * (1 + 0.001 * rng.normal() * saved)
                        lost = (np.nan, "untold") if level == HERE else (value, np.nan)
                        place = (cell, "", "csr", level, arm, seed, TRAFFIC)
                        rows.append((*place, lost[0], "bytes", "simulated", device, lost[1]))
                for arm in (*SIMULATED_ARMS, LINEAR_AA):
                    value = 3 * np.exp(0.002 * rng.normal())
                    place = (cell, "", "csr", MEASURED, arm, seed, LATENCY)
                    rows.append((*place, value, "ms", "measured", device, np.nan))
    names = ["cell", "model", "kernel", "level", "arm", "seed", "metric", "value", "unit"]
    return pd.DataFrame(rows, columns=[*names, "provenance", "device", "reason"])


def test_planted_savings_are_drawn_and_nulls_are_nulls(tmp_path) -> None:  # type: ignore[no-untyped-def]
    seen = observations()
    statistics = analyse(seen, ANALYSE)
    assert not statistics[statistics["treatment"] == LINEAR_AA].empty
    data = drawn(seen, statistics, LABELS)
    cells = data[data["contrast"] == PRIMARY].set_index(["cell", "profile"])
    assert cells.loc[("gcn", "small"), "change_%"] == pytest.approx(-20, abs=0.5)
    assert cells.loc[("gcn", "small"), "verdict"] == "lower"
    assert cells.loc[("mamba", "small"), "change_%"] == 0
    assert cells.loc[("mamba", "small"), "verdict"] == "degenerate"
    assert cells.loc[("gcn", MEASURED), "provenance"] == "measured"
    assert np.isfinite(cells.loc[("gcn", MEASURED), "noise_%"])
    assert cells.loc[("gcn", HERE), "reason"] == "untold"
    assert set(cells["provenance"].drop(MEASURED, level="profile")) == {"simulated"}
    figure = draw(data, scale="laptop")
    save_figure(figure, tmp_path / "f.pdf", tmp_path / "f.png")
    assert smallest_text_pt(figure) >= 6
    texts = {text.get_text() for ax in figure.axes for text in ax.texts}
    assert "0\n(identical)" in texts and "not run" in texts
    assert any("−20.0 %" in text for text in texts)


def test_records_of_other_devices_add_their_columns() -> None:
    seen = observations(("cpu", "gpu"))
    data = drawn(seen, analyse(seen, ANALYSE), LABELS)
    columns = data[["profile", "device"]].drop_duplicates().to_numpy().tolist()
    assert columns == [
        ["small", "cpu"],
        ["large", "cpu"],
        [HERE, "cpu"],
        [MEASURED, "cpu"],
        [HERE, "gpu"],
        [MEASURED, "gpu"],
    ]
    assert data["label"].nunique() == len(columns)


def test_no_observations_draw_an_empty_figure(tmp_path) -> None:  # type: ignore[no-untyped-def]
    nothing = observations().iloc[:0]
    data = drawn(nothing, analyse(nothing, ANALYSE), LABELS)
    assert data.empty
    save_figure(draw(data, scale="paper"), tmp_path / "f.pdf", tmp_path / "f.png")

"""Names of the command line: subsets of run records, what is drawn from them, and aliases."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from seqlab.errors import UserError
from seqlab.paper.spec import PaperSpec
from seqlab.reference import load_config
from seqlab.spec import deep_merge
from seqlab.studies.codesign.spec import CodesignSpec
from seqlab.studies.codesign.targets import SubsetSpec
from seqlab.workflow import SCALES, Settings

ROOT = Path(__file__).resolve().parents[3]
SHIPPED = load_config(ROOT)
RUNS = [*(f"a-b/seed-{n}" for n in range(12)), *(f"graph/seed-{n}" for n in range(3))]


def codesign(overlay: Mapping[str, Any], scale: str = "laptop") -> CodesignSpec:
    return Settings(deep_merge(SHIPPED, {"codesign": overlay}))("codesign", scale)


def paper(overlay: Mapping[str, Any], scale: str = "laptop") -> PaperSpec:
    return Settings(deep_merge(SHIPPED, {"paper": overlay}))("paper", scale)


def test_a_subset_is_a_prefix_of_the_seeds_of_its_cells() -> None:
    assert SubsetSpec().chosen(RUNS, "key") == RUNS
    assert SubsetSpec(cells=("graph",)).chosen(RUNS, "key") == RUNS[12:]
    # By number, not by text: seed-10 is no seed below 3.
    assert SubsetSpec(seeds=3).chosen(RUNS, "key") == [*RUNS[:3], *RUNS[12:]]
    assert SubsetSpec(cells=("graph",), seeds=9).chosen(RUNS, "key") == RUNS[12:]


def test_an_unknown_cell_is_named_with_its_key() -> None:
    with pytest.raises(UserError) as caught:
        SubsetSpec(cells=("berta",)).chosen(RUNS, "targets.mine.runs.main")
    for needle in ("targets.mine.runs.main.cells", "'berta'", "a-b, graph", "codesign.yaml"):
        assert needle in str(caught.value)


def test_an_unknown_experiment_is_named_with_its_key() -> None:
    with pytest.raises(UserError) as caught:
        codesign({"targets": {"mine": {"runs": {"mian": {}}}}})
    for needle in ("config/studies/codesign.yaml", "targets.mine.runs.mian", "main"):
        assert needle in str(caught.value)


def test_a_target_is_a_name() -> None:
    with pytest.raises(UserError, match="no target"):
        codesign({"targets": {"no target": {"runs": {"main": {}}}}})


@pytest.mark.parametrize("scale", SCALES)
def test_shipped_targets_name_cells_of_every_scale(scale: str) -> None:
    spec = codesign({}, scale)
    assert {"quickstart", "mamba_only"} <= set(spec.targets)
    for target in spec.targets:
        assert spec.records_of(target)


def test_quickstart_is_the_original_set() -> None:
    records = codesign({"main": {"seeds": 10}, "quantization": {"seeds": 12}}).records_of(
        "quickstart"
    )
    wanted = [f"main/runs/mamba/seed-{n}/record.json" for n in range(5)]
    wanted += [f"quantization/runs/mamba_sotu/seed-{n}/record.json" for n in range(6)]
    assert [name for name in records if not name.startswith("ablations/")] == wanted


def test_an_item_is_drawn_where_no_record_is_left_out() -> None:
    target = {"mine": {"runs": {"main": {"seeds": 5}, "quantization": {}}}}
    sizes = {"main": {"seeds": 6}, "quantization": {"seeds": 6}, "targets": target}
    drawn = codesign(sizes).drawn_from("mine")
    assert drawn == {"figures": {"quantization_order"}, "tables": {"quantization_order"}}
    drawn = codesign(deep_merge(sizes, {"main": {"seeds": 5}})).drawn_from("mine")
    assert "latency_distributions" in drawn["figures"] and "main_results" in drawn["tables"]


def test_an_alias_is_a_name_of_its_item() -> None:
    spec = paper({"aliases": {"other": "table14", "late": "fig7a"}})
    assert spec.item("tables", "other") == spec.item("tables", "table14")
    assert spec.files("other", "ci") == ["results/ci/tables/other.csv"]
    assert spec.files("late", "laptop") == ["figures/late.pdf", "figures/late.rst"]
    assert "late" in spec.names("figures") and "late" not in spec.names("tables")


@pytest.mark.parametrize(
    "overlay,needles",
    [
        ({"aliases": {"late": "fig99"}}, ("aliases.late", "'fig99'")),
        ({"aliases": {"fig3": "fig2"}}, ("aliases.fig3", "an item has this number")),
        ({"tables": {"fig2": {"study": "codesign", "artefact": "devices"}}}, ("tables.fig2",)),
    ],
    ids=["unknown item", "number of an item", "number of a figure"],
)
def test_a_wrong_name_is_named_with_its_key(
    overlay: Mapping[str, Any], needles: tuple[str, ...]
) -> None:
    with pytest.raises(UserError) as caught:
        paper(overlay)
    for needle in ("config/paper.yaml", *needles):
        assert needle in str(caught.value)

"""An edit reruns exactly what depends on it: the dry run's rules after each kind of edit."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from workflow_checkout import Checkout

CI = ("--profile", "workflow/profiles/ci")
SCAN = "src/seqlab/kernels/scan_numba.py"
FIGURE = {"paper_number_figure", "paper_draw_contact_sheet"}
END = {"paper_merge_manifest", "all"}
CLAIMS = {
    "paper_judge_claims",
    "paper_join_claims",
    "paper_draw_claims",
    "paper_draw_contact_sheet",
}
ANALYSIS = (
    {
        "codesign_collect_quantization",
        "codesign_analyse_quantization",
        "codesign_draw_quantization",
        "codesign_tabulate_quantization",
        "codesign_facts_quantization",
        "paper_number_table",
        "paper_write_caption",
    }
    | FIGURE
    | CLAIMS
    | END
)
RUNS = {"codesign_run_quantization"} | ANALYSIS
EXPERIMENTS = {
    f"codesign_{step}_experiment"
    for step in ("run", "collect", "analyse", "draw", "tabulate", "facts")
}
SIMULATED = (
    {
        *(f"codesign_{step}_controls" for step in ("run", "collect", "analyse", "draw", "facts")),
        "codesign_run_synthetic",
        "codesign_collect_synthetic",
        "codesign_analyse_synthetic",
        "codesign_draw_synthetic",
        "codesign_facts_synthetic",
        "paper_write_caption",
    }
    | FIGURE
    | CLAIMS
    | END
)


def replaced(old: str, new: str) -> Callable[[str], str]:
    def edit(text: str) -> str:
        assert old in text, f"nothing to edit: {old!r}"
        return text.replace(old, new, 1)

    return edit


def appended(line: str) -> Callable[[str], str]:
    return lambda text: f"{text}\n{line}\n"


MASKS = {
    "codesign_train_masks",
    "codesign_score_masks",
    "codesign_analyse_masks",
    "codesign_tabulate_learned_masks",
}
# Whatever opens or makes a model, by the one step that knows every family or by the run's subjects.
MODELS = {
    *("assets_init_model", "assets_init_classifier", "assets_image_model"),
    *("assets_train_model", "assets_train_classifier"),
}
# Every architecture's training names Mamba's scan, the tenth of them; the stored test sets do not.
ARCHBENCH = {
    *("archbench_train_variant", "archbench_choose_rate", "archbench_collect_runs"),
    *("archbench_analyse", "archbench_draw", "archbench_tabulate", "archbench_facts"),
    *("archbench_run_speed", "archbench_collect_records", "archbench_analyse_records"),
    "archbench_draw_speed",
}

EDITS = {
    "comment": (SCAN, appended("# a comment"), set()),
    "docstring": (SCAN, replaced('"""', '"""Another first line. '), set()),
    "statement of the scan": (
        SCAN,
        appended("ANOTHER_CONSTANT = 1"),
        MODELS | RUNS | EXPERIMENTS | MASKS | ARCHBENCH,
    ),
    "statement of an unrelated module": (
        "src/seqlab/bench/mediation.py",
        appended("ANOTHER_CONSTANT = 1"),
        set(),
    ),
    "claim": ("config/claims/codesign.yaml", appended("# a remark"), CLAIMS | END),
    "caption": (
        "workflow/report/fig2.rst",
        appended("One more sentence."),
        {"paper_write_caption"} | END,
    ),
    "figure": (
        "src/seqlab/studies/codesign/quantization/figure.py",
        appended("ANOTHER_CONSTANT = 1"),
        {"codesign_draw_quantization"} | FIGURE | END,
    ),
    "group size": (
        "config/studies/codesign.yaml",
        replaced("schemes: [per_tensor, group32]", "schemes: [per_tensor, group16]"),
        {"paper_write_run_config"} | RUNS,
    ),
    "statement of the cache simulator": (
        "src/seqlab/kernels/cachesim.py",
        appended("ANOTHER_CONSTANT = 1"),
        SIMULATED | EXPERIMENTS | {"paper_number_table"},
    ),
    "latency margin": (
        "config/studies/codesign.yaml",
        replaced("latency: 0.02", "latency: 0.03"),
        {"paper_write_run_config"} | (ANALYSIS - {"codesign_collect_quantization"}),
    ),
}


@pytest.mark.parametrize("kind", EDITS)
def test_an_edit_reruns_what_depends_on_it(rerun_checkout: Checkout, kind: str) -> None:
    name, edit, expected = EDITS[kind]
    path = rerun_checkout.path / name
    original, times = path.read_text("utf-8"), path.stat()
    path.write_text(edit(original), "utf-8")
    try:
        assert rerun_checkout.jobs(*CI) == expected
    finally:
        path.write_text(original, "utf-8")
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert rerun_checkout.jobs(*CI) == set()


@pytest.fixture(scope="module")
def rerun_checkout(ci_build: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    import shutil

    target: Path = tmp_path_factory.mktemp("reruns") / "a checkout"
    shutil.copytree(ci_build.path, target, symlinks=True)
    return Checkout(target)

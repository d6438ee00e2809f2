"""Each rule, run again on the same inputs, gives the same result: compared by meaning.

Numbers may differ by rounding, timings by anything; everything else must be equal.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from workflow_checkout import Checkout, target_rules

CI = ("--profile", "workflow/profiles/ci")
RELATIVE = 1e-6
# What describes the occasion and not the result.
TIMED = {"prefill_ms", "decode_ms", "latency_ms", "site_latency_ms", "dram_gb_per_s"}
TIMED |= {"step_ms", "compute_s", "cpu_s", "wall_s", "peak_rss_mb"}
OCCASION = {"environment", "seconds", "samples_sha256", "resumed_from"} | TIMED

QUANTIZATION = "results/ci/codesign/quantization"
SYNTHETIC = "results/ci/codesign/synthetic"
CONTROLS = "results/ci/codesign/controls"
MAIN = "results/ci/codesign/main"
MASKS = "results/ci/codesign/masks"
ARCHBENCH = "results/ci/archbench"
RULES = {
    "assets_corpus": "results/ci/assets/corpora/sotu",
    "assets_tokenizer": "results/ci/assets/tokenizers/bpe2048",
    "assets_tokens": "results/ci/assets/tokens/sotu/bpe2048",
    "assets_baselines": "results/ci/assets/baselines/sotu/bpe2048.json",
    "assets_init_model": "results/ci/assets/models/mamba_sotu/init",
    "assets_train_model": "results/ci/assets/models/mamba_sotu/trained",
    "assets_graph": "results/ci/assets/graphs/communities",
    "assets_train_graph_network": "results/ci/assets/graph_networks/gcn_communities",
    "assets_image_model": "results/ci/assets/image_models/resnet50_random",
    "assets_init_classifier": "results/ci/assets/classifiers/bert_sentiment/init",
    "assets_examples": "results/ci/assets/examples/sentiment/bpe4096_sentiment",
    "assets_train_classifier": "results/ci/assets/classifiers/bert_sentiment/trained",
    "codesign_run_quantization": f"{QUANTIZATION}/runs/mamba_sotu/seed-0/record.json",
    "codesign_collect_quantization": f"{QUANTIZATION}/observations.csv",
    "codesign_analyse_quantization": f"{QUANTIZATION}/statistics.csv",
    "codesign_draw_quantization": "results/ci/codesign/figures/quantization_order.pdf",
    "codesign_tabulate_quantization": "results/ci/codesign/tables/quantization_order.md",
    "codesign_facts_quantization": "results/ci/codesign/figures/quantization_order.json",
    "codesign_run_experiment": f"{MAIN}/runs/mamba/seed-0/record.json",
    "codesign_collect_experiment": f"{MAIN}/observations.csv",
    "codesign_analyse_experiment": f"{MAIN}/statistics.csv",
    "codesign_draw_experiment": "results/ci/codesign/figures/latency_distributions.pdf",
    "codesign_tabulate_experiment": "results/ci/codesign/tables/main_results.md",
    "codesign_facts_experiment": "results/ci/codesign/figures/latency_distributions.json",
    "codesign_train_masks": f"{MASKS}/mamba_sotu/hds/trained",
    "codesign_score_masks": f"{MASKS}/mamba_sotu/windows.csv",
    "codesign_analyse_masks": f"{MASKS}/statistics.csv",
    "codesign_tabulate_learned_masks": "results/ci/codesign/tables/learned_masks.md",
    "codesign_run_synthetic": f"{SYNTHETIC}/runs/seed-0/record.json",
    "codesign_collect_synthetic": f"{SYNTHETIC}/observations.csv",
    "codesign_analyse_synthetic": f"{SYNTHETIC}/statistics.csv",
    "codesign_draw_synthetic": "results/ci/codesign/figures/synthetic_locality.pdf",
    "codesign_facts_synthetic": "results/ci/codesign/figures/synthetic_locality.json",
    "codesign_run_controls": f"{CONTROLS}/runs/seed-0/record.json",
    "codesign_collect_controls": f"{CONTROLS}/observations.csv",
    "codesign_analyse_controls": f"{CONTROLS}/statistics.csv",
    "codesign_draw_controls": "results/ci/codesign/figures/layout_controls.pdf",
    "codesign_facts_controls": "results/ci/codesign/figures/layout_controls.json",
    "archbench_make_tests": f"{ARCHBENCH}/tests/mqar/record.json",
    "archbench_choose_rate": f"{ARCHBENCH}/rates/mqar/rope-none/record.json",
    "archbench_train_variant": f"{ARCHBENCH}/runs/mqar/rope-none/seed-0/record.json",
    "archbench_run_speed": f"{ARCHBENCH}/speed/runs/seed-0/record.json",
    "archbench_collect_runs": f"{ARCHBENCH}/grid/curves.csv",
    "archbench_collect_records": f"{ARCHBENCH}/tests/observations.csv",
    "archbench_analyse": f"{ARCHBENCH}/vocabulary/statistics.csv",
    "archbench_analyse_records": f"{ARCHBENCH}/rates/statistics.csv",
    "archbench_draw": f"{ARCHBENCH}/figures/accuracy.pdf",
    "archbench_draw_speed": f"{ARCHBENCH}/figures/speed.pdf",
    "archbench_tabulate": f"{ARCHBENCH}/tables/pairs.md",
    "archbench_facts": f"{ARCHBENCH}/figures/accuracy.json",
    "paper_number_figure": "figures/ci/fig2.pdf",
    "paper_number_table": "results/ci/tables/table14.csv",
    "paper_write_caption": "figures/ci/fig2.rst",
    "paper_judge_claims": "results/ci/codesign/claims.csv",
    "paper_join_claims": "results/ci/tables/claims.csv",
    "paper_draw_claims": "figures/ci/claims.pdf",
    "paper_draw_contact_sheet": "figures/ci/contact_sheet.pdf",
    "paper_write_run_config": "results/ci/run_config.json",
}


def compare(ours: Path, theirs: Path) -> None:
    """Compare two files or folders by meaning."""
    if theirs.is_dir():
        names = sorted(p.relative_to(theirs) for p in theirs.rglob("*") if p.is_file())
        assert names == sorted(p.relative_to(ours) for p in ours.rglob("*") if p.is_file())
        for name in names:
            if not name.name.startswith(".snakemake"):
                compare(ours / name, theirs / name)
    elif theirs.suffix == ".json":
        compare_values(json.loads(ours.read_text()), json.loads(theirs.read_text()), theirs.name)
    elif theirs.suffix == ".csv":
        frames = [pd.read_csv(path) for path in (ours, theirs)]
        kept = [f[~f["metric"].isin(TIMED)] if "metric" in f else f for f in frames]
        if theirs.name == "curve.csv":
            kept = [
                f.drop(columns=[c for c in f if c.endswith("_s") or "seconds" in c]) for f in kept
            ]
        pd.testing.assert_frame_equal(kept[0], kept[1], rtol=RELATIVE)
    elif theirs.suffix == ".npz":
        with np.load(ours) as a, np.load(theirs) as b:
            assert sorted(a.files) == sorted(b.files)
            for name in b.files:
                np.testing.assert_allclose(a[name], b[name], rtol=RELATIVE)
    else:
        assert ours.read_bytes() == theirs.read_bytes(), theirs


def compare_values(ours: Any, theirs: Any, where: str) -> None:
    """Compare two JSON values; numbers by rounding, entries of the occasion not at all."""
    if isinstance(theirs, dict):
        assert set(ours) == set(theirs), where
        for key in theirs:
            if key not in OCCASION:
                compare_values(ours[key], theirs[key], f"{where}.{key}")
    elif isinstance(theirs, list):
        assert len(ours) == len(theirs), where
        for index, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            compare_values(a, b, f"{where}[{index}]")
    elif isinstance(theirs, float):
        assert math.isclose(ours, theirs, rel_tol=RELATIVE, abs_tol=1e-12), where
    else:
        assert ours == theirs, where


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_gives_the_same_result_again(built: Checkout, ci_build: Checkout, rule: str) -> None:
    target = RULES[rule]
    out = built.run("snakemake", *CI, "--force", target, "--rerun-triggers", "mtime").stderr
    assert rule in out, "the rule did not run"
    compare(built.path / target, ci_build.path / target)


def test_every_rule_is_tested(ci_build: Checkout) -> None:
    listed = set(ci_build.run("snakemake", "--list-rules").stdout.split())
    assert target_rules() <= listed
    # The profile needs a profiler, the export is a target of its own; their tests are below.
    elsewhere = {"paper_merge_manifest", "codesign_profile_arm", "archbench_export_benchmark"}
    assert listed - target_rules() - elsewhere == set(RULES)


def test_a_profile_is_read_off_nsight_compute(built: Checkout) -> None:
    page = Path(__file__).parents[1] / "data/ncu_page.csv"
    folder = "results/ci/codesign/profile/mamba/csr/linear_TP/seed-0"
    built.run("snakemake", *CI, f"{folder}/record.json", PATH=built.with_ncu(page))
    record = json.loads((built.path / folder / "record.json").read_text())
    metrics = record["arms"]["csr/all/linear_TP"]["metrics"]
    assert metrics["L2_hit_rate"]["value"] == pytest.approx(80 / 200)
    assert metrics["bank_conflicts"]["value"] == 7
    assert (built.path / folder / "page.csv").read_text() == page.read_text()
    with np.load(built.path / folder / "samples.npz") as samples:
        assert samples["gpu__time_duration.sum"] == pytest.approx([12_345e-9, 1_000e-9])


def test_a_profile_of_what_there_is_not_is_refused(built: Checkout) -> None:
    folder = "results/ci/codesign/profile/mamba/bsr16/dense/seed-0"
    result = built.run("snakemake", *CI, f"{folder}/record.json", check=False)
    assert "no kernel 'bsr16'" in result.stderr


def test_the_original_benchmark_script_exports_runs(built: Checkout) -> None:
    script = ("python", "scripts/run_benchmark.py")
    options = ("--architectures", "deltanet,rope", "--tasks", "mqar,flip_flop")
    ci = ("--config", "scale=ci", "--cores", "2")
    built.run(*script, *options, *ci)
    rows = pd.read_csv(built.path / "results/ci/benchmark_results.csv")
    assert len(rows) == 2 * 2 * 2 and rows["accuracy"].between(0, 1).all()
    assert set(zip(rows["architecture"], rows["task"], strict=True)) == {
        (name, task) for name in ("deltanet", "rope") for task in ("mqar", "flip_flop")
    }
    plots = {path.name for path in (built.path / "results/ci/plots").iterdir()}
    assert {"accuracy.pdf", "perplexity.png"} <= plots
    built.run(*script, "--all", *ci)
    rows = pd.read_csv(built.path / "results/ci/benchmark_results.csv")
    assert set(rows["task"]) == {"mqar", "flip_flop", "knapsack"}
    refused = built.run(*script, "--tasks", "sorting", *ci, check=False)
    assert refused.returncode and "no task 'sorting' in the grid" in refused.stderr


@pytest.mark.parametrize(
    "alias,number,suffixes",
    [
        ("figures/ci/latex_fig2", "figures/ci/fig2", ("pdf", "png", "csv", "rst")),
        ("results/ci/tables/other", "results/ci/tables/table14", ("csv", "md", "tex")),
    ],
)
def test_an_alias_is_its_item(
    built: Checkout, alias: str, number: str, suffixes: tuple[str, ...]
) -> None:
    (built.path / "mine.yaml").write_text("paper: {aliases: {other: table14}}")
    files = [f"{alias}.{suffix}" for suffix in suffixes]
    built.run("snakemake", *files, *CI, "--configfile", "mine.yaml")
    for suffix in suffixes:
        ours, theirs = (built.path / f"{name}.{suffix}" for name in (alias, number))
        assert ours.read_bytes() == theirs.read_bytes()
    explained = built.run("python", "-m", "seqlab", "explain", files[0]).stdout
    assert "codesign/quantization  model=mamba_sotu" in explained

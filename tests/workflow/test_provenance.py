"""`explain`, `verify`, `pack` and `unpack` over a graph that was really built."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from workflow_checkout import Checkout, copy_checkout

CI = ("--profile", "workflow/profiles/ci")
RECORD = "results/ci/codesign/quantization/runs/mamba_sotu/seed-1"
# Anything that trains, runs a measurement or prepares what they need.
HEAVY = {
    "assets_corpus",
    "assets_tokenizer",
    "assets_tokens",
    "assets_baselines",
    "assets_init_model",
    "assets_train_model",
    "assets_graph",
    "assets_train_graph_network",
    "assets_image_model",
    "codesign_run_quantization",
    "codesign_run_controls",
    "codesign_run_synthetic",
    "codesign_run_experiment",
    "codesign_train_masks",
    "codesign_score_masks",
    "assets_init_classifier",
    "assets_examples",
    "assets_train_classifier",
}


def test_explain_names_runs_weights_data_commit_and_machine(built: Checkout) -> None:
    text = built.run("python", "-m", "seqlab", "explain", "figures/ci/fig2.pdf").stdout
    commit = built.run("git", "rev-parse", "HEAD").stdout.strip()
    for needle in (
        "model=mamba_sotu",
        "seeds 0 1 2",
        "results/ci/assets/models/mamba_sotu/trained",
        "resources/sotu/sotu.jsonl.xz",
        "CC0-1.0",
        commit[:8],
        "cores",
    ):
        assert needle in text, needle


def test_verify_passes_on_a_fresh_build(built: Checkout) -> None:
    result = built.run("python", "-m", "seqlab", "verify", "--scale", "ci")
    assert result.stdout == "results/ci: every artefact is what its record says\n"


def test_a_study_that_is_built_alone_is_verified(built: Checkout) -> None:
    assert built.jobs("archbench_all", *CI) == {
        "archbench_all",
        "paper_draw_contact_sheet",
        "paper_merge_manifest",
    }
    built.run("snakemake", "archbench_all", *CI)
    assert (built.path / "figures/ci/contact_sheet_archbench.png").is_file()
    result = built.run("python", "-m", "seqlab", "verify", "--scale", "ci", "--study", "archbench")
    assert result.stdout == "results/ci/archbench: every artefact is what its record says\n"


@pytest.mark.parametrize(
    "name",
    [
        "figures/ci/fig2.pdf",
        "results/ci/codesign/quantization/statistics.csv",
        f"{RECORD}/samples.npz",
        f"{RECORD}/record.json",
        "results/ci/assets/models/mamba_sotu/trained/model.safetensors",
        "resources/sotu/sotu.jsonl.xz",
    ],
)
def test_verify_finds_one_flipped_byte(ci_build: Checkout, name: str) -> None:
    path = ci_build.path / name
    original, times = path.read_bytes(), path.stat()
    # A model's file is shared with nobody, but a hard link would carry the edit along.
    flipped = bytearray(original)
    flipped[len(flipped) // 2] ^= 1
    path.write_bytes(flipped)
    try:
        result = ci_build.run("python", "-m", "seqlab", "verify", "--scale", "ci", check=False)
    finally:
        path.write_bytes(original)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert result.returncode == 2
    assert Path(name).name in result.stderr
    ci_build.run("python", "-m", "seqlab", "verify", "--scale", "ci")


def test_verify_finds_a_record_edited_together_with_its_own_hash(built: Checkout) -> None:
    path = built.path / RECORD / "record.json"
    old = hashlib.sha256(path.read_bytes()).hexdigest()
    record = json.loads(path.read_text())
    record["arms"]["group32/w4/permute_quantize"]["metrics"]["bits_per_byte"]["value"] -= 0.5
    path.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")
    new = hashlib.sha256(path.read_bytes()).hexdigest()
    own = [built.path / "results/.lineage" / f"{RECORD}/record.json.json"]
    manifest = built.path / "results/ci/manifest.json"
    for place in own:
        place.write_text(place.read_text().replace(old, new))
    content = json.loads(manifest.read_text())
    content["artefacts"][f"{RECORD}/record.json"]["sha256"] = new
    manifest.write_text(json.dumps(content, indent=2, sort_keys=True))
    result = built.run("python", "-m", "seqlab", "verify", "--scale", "ci", check=False)
    assert result.returncode == 2
    assert "observations.csv" in result.stderr or "record.json" in result.stderr


def test_packed_records_draw_every_figure_in_another_clone(built: Checkout, tmp_path: Path) -> None:
    archive = tmp_path / "records.tar.gz"
    built.run("python", "-m", "seqlab", "pack", "--scale", "ci", str(archive))
    assert archive.stat().st_size < 5_000_000
    other = copy_checkout(tmp_path / "another clone")
    other.run("python", "-m", "seqlab", "unpack", str(archive))
    planned = other.jobs(*CI)
    assert planned and not planned & HEAVY, planned & HEAVY
    other.run("snakemake", *CI)
    assert not (other.path / "results/ci/assets/models").exists()
    for name in (
        "figures/ci/fig2.csv",
        "figures/ci/fig3.csv",
        "figures/ci/fig_controls.csv",
        "results/ci/tables/table14.csv",
        "results/ci/tables/claims.csv",
    ):
        assert (other.path / name).read_bytes() == (built.path / name).read_bytes(), name
    other.run("python", "-m", "seqlab", "verify", "--scale", "ci")

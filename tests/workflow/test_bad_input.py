"""Bad input gets one clear message naming file, key, value and fix, and a non-zero exit."""

from __future__ import annotations

import time

import pytest

from workflow_checkout import Checkout

CI = ("--profile", "workflow/profiles/ci")
RECORD = "results/ci/codesign/quantization/runs/mamba_sotu/seed-1/record.json"


def refusal(checkout: Checkout, *command: str) -> str:
    result = checkout.run(*command, check=False)
    assert result.returncode, "it should have been refused"
    return result.stdout + result.stderr


@pytest.mark.parametrize(
    "overlay,needles",
    [
        (
            "codesign: {quantization: {seedz: 3}}",
            ("config/studies/codesign.yaml", "quantization.seedz", "did you mean 'seeds'"),
        ),
        (
            "codesign: {quantization: {seeds: many}}",
            ("config/studies/codesign.yaml", "quantization.seeds", "'many'"),
        ),
        (
            "codesign: {quantization: {schemes: [per_row]}}",
            ("config/studies/codesign.yaml", "quantization.schemes", "'per_row'"),
        ),
        (
            "codesign: {scales: {huge: {}}}",
            ("config/studies/codesign.yaml", "scales.huge", "scales.ci or scales.paper"),
        ),
        (
            "assets: {models: {mamba_sotu: {tokenizer: bpe1}}}",
            ("config/assets.yaml", "bpe1", "bpe2048"),
        ),
    ],
    ids=["unknown key", "wrong type", "unknown scheme", "unknown scale", "unknown name"],
)
def test_a_wrong_setting_is_named(
    checkout: Checkout, overlay: str, needles: tuple[str, ...]
) -> None:
    (checkout.path / "mine.yaml").write_text(overlay)
    text = refusal(checkout, "snakemake", "-n", "--configfile", "mine.yaml")
    for needle in needles:
        assert needle in text, text[-2000:]


def test_an_unknown_scale_is_named(checkout: Checkout) -> None:
    text = refusal(checkout, "snakemake", "-n", "--config", "scale=huge")
    assert "huge" in text and "laptop, ci, paper" in text


def test_locked_refuses_an_unresolved_hub_revision(checkout: Checkout) -> None:
    text = refusal(checkout, "snakemake", "-n", "--config", "scale=paper", "locked=true")
    assert "config/hub.lock.yaml" in text and "unresolved" in text


def test_a_group_size_that_does_not_divide(built: Checkout) -> None:
    (built.path / "mine.yaml").write_text(
        "codesign: {scales: {ci: {quantization: {schemes: [group48], seeds: 3}}}}"
    )
    text = refusal(built, "snakemake", *CI, "--configfile", "mine.yaml")
    assert "48" in text and "in_proj" in text


def test_a_corrupted_resource(checkout: Checkout) -> None:
    path = checkout.path / "resources/sotu/sotu.jsonl.xz"
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    text = refusal(checkout, "snakemake", *CI, "results/ci/assets/corpora/sotu")
    assert "sotu.jsonl.xz" in text and "sha256" in text and "git checkout" in text


def test_a_truncated_record(built: Checkout) -> None:
    path = built.path / RECORD
    path.write_bytes(path.read_bytes()[:200])
    text = refusal(built, "snakemake", *CI)
    assert RECORD in text and "delete the file" in text


def test_an_output_folder_that_is_a_file(built: Checkout) -> None:
    (built.path / "figures/ci/fig2.pdf").unlink()
    for path in (built.path / "figures/ci").iterdir():
        path.unlink()
    (built.path / "figures/ci").rmdir()
    (built.path / "figures/ci").write_text("in the way")
    text = refusal(built, "snakemake", *CI)
    assert "figures/ci" in text


def test_a_second_workflow_in_the_same_folder(checkout: Checkout) -> None:
    first = checkout.start("snakemake", *CI, "results/ci/assets/models/mamba_sotu/trained")
    locks = checkout.path / ".snakemake/locks"
    for _ in range(400):
        if locks.is_dir() and any(locks.iterdir()):
            break
        time.sleep(0.05)
    text = refusal(checkout, "snakemake", *CI)
    assert "lock" in text.lower()
    resumed = refusal(checkout, "python", "-m", "seqlab", "resume")
    assert str(first.pid) in resumed or "running" in resumed
    assert first.wait(timeout=300) == 0


def test_a_failed_step_is_listed_with_its_log(checkout: Checkout) -> None:
    (checkout.path / "resources/sotu/sotu.jsonl.xz").write_bytes(b"")
    refusal(checkout, "snakemake", *CI, "results/ci/assets/corpora/sotu")
    text = checkout.run("python", "-m", "seqlab", "status", "--scale", "ci").stdout
    assert "failed: assets corpus" in text and "logs/ci/assets/corpus/sotu.log" in text


@pytest.mark.parametrize(
    "arguments,needle",
    [
        (("bench", "nothing"), "no bench 'nothing'"),
        (("explain", "figures/none.pdf"), "figures/none.pdf"),
        (("codesign", "no_such_step"), "no step 'no_such_step'"),
        (("assets", "corpus", "--spec", "{"), "--spec is no JSON"),
        (("unpack", "no.tar.gz"), "no.tar.gz"),
    ],
)
def test_commands_refuse_with_one_message(
    checkout: Checkout, arguments: tuple[str, ...], needle: str
) -> None:
    result = checkout.run("python", "-m", "seqlab", *arguments, check=False)
    assert result.returncode == 2
    assert needle in result.stderr and "Traceback" not in result.stderr

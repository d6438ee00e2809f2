"""Names of the command line: subsets, numbers, aliases, and the original scripts."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from workflow_checkout import ROOT, Checkout, planned_rules, target_rules

CI = ("--config", "scale=ci")
OVERLAY = "config/overlays/quickstart.yaml"
# The scripts that the original's own assessment lists.
ORIGINAL = [
    "run_table1_batch.sh",
    "run_quantization_batch.sh",
    "runpod_quickstart.sh",
    "aggregate_table1.py",
    "aggregate_quantization.py",
    "aggregate_table1_minimal.py",
    "fix_directories.sh",
    "run_mechanism_deepdive.sh",
    "generate_synthetic_validation.py",
    "validate_synthetic.py",
    "run_memory_hierarchy.sh",
    "run_ablations_batch.sh",
    "run_generalization_a100.sh",
    "run_batch_sensitivity.sh",
    "run_autotvm.py",
    "compare_tvm_baseline.py",
    "analyze_table1.py",
    "plot_quantization_barchart.py",
    "extract_mechanism_metrics.py",
    "plot_synthetic_validation.py",
    "plot_hardware_heatmap.py",
    "plot_pareto_frontier.py",
    "plot_latency_distributions.py",
    "plot_scaling_width.py",
    "mediation_analysis.py",
    "generate_all_figures.py",
    "run_table1_mamba_only.sh",
    "run_quantization_mamba_only.sh",
    "run_mechanism_mamba_only.sh",
    "run_ablations_key_only.sh",
]
# Takes the options of its original instead of having one target; tests/rules runs it.
BENCHMARK = "run_benchmark.py"
# Stands in for Snakemake and says how it was called.
STAND_IN = "import json, os, sys; print(json.dumps([os.getcwd(), *sys.argv[1:]]))\n"
# Takes longer to end than a parent that was interrupted, too, would wait.
SLOW_TO_END = """
import time
try:
    print("works", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(1)
    print("unlocked", flush=True)
"""


def listed_scripts() -> dict[str, list[str]]:
    """Return script -> targets as docs/seed_scripts.md lists them."""
    page = (ROOT / "docs/seed_scripts.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+\.(?:sh|py))` \| (?:`([\w ]+)`)? ?\|", page, re.M)
    return {script: targets.split() for script, targets in rows}


def commands(page: str, heading: str = "") -> list[str]:
    """Return the Snakemake commands in the code blocks of a page, from a heading to the next."""
    text = (ROOT / page).read_text("utf-8")
    section = text.partition(heading)[2].partition("\n## ")[0] if heading else text
    blocks = re.findall(r"^```\n(.*?)^```", section, re.M | re.S)
    lines = "".join(blocks).splitlines()
    return [line.partition("#")[0].strip() for line in lines if line.startswith("snakemake")]


def planned(checkout: Checkout, *command: str) -> tuple[set[str], set[str]]:
    """Return the run records that a dry run would make, and its rules."""
    out = checkout.run("snakemake", "-n", *command).stdout
    records = re.findall(r"^    output: (results/\S+/record\.json)", out, re.M)
    return set(records), planned_rules(out)


@pytest.mark.parametrize(
    "command", sorted({*commands("README.md", "## Targets\n"), *commands("docs/seed_scripts.md")})
)
def test_a_command_of_the_documentation(checkout: Checkout, command: str) -> None:
    scale = () if "--profile" in command or "--config " in command else CI
    assert checkout.jobs(*command.split()[1:], *scale)


def test_quickstart_asks_for_its_records_and_the_overlay_for_their_items(
    checkout: Checkout,
) -> None:
    records, rules = planned(checkout, "quickstart")
    runs = "results/laptop/codesign"
    wanted = {f"{runs}/main/runs/mamba/seed-{n}/record.json" for n in range(5)}
    wanted |= {f"{runs}/quantization/runs/mamba_sotu/seed-{n}/record.json" for n in range(6)}
    wanted |= {
        f"{runs}/ablations/runs/{cell}/seed-{n}/record.json"
        for cell in ("objectives-mamba", "components")
        for n in range(3)
    }
    assert records == wanted
    assert "codesign_collect_experiment" not in rules
    same, drawn = planned(checkout, "quickstart", "--configfile", OVERLAY)
    assert same == records
    assert {"codesign_tabulate_experiment", "paper_number_figure"} <= drawn


def test_a_target_of_an_overlay(checkout: Checkout) -> None:
    (checkout.path / "mine.yaml").write_text(
        "codesign: {targets: {mine: {runs: {main: {cells: [mamba], seeds: 1}}}}}"
    )
    records, _ = planned(checkout, "mine", "--configfile", "mine.yaml", *CI)
    assert records == {"results/ci/codesign/main/runs/mamba/seed-0/record.json"}


def test_every_target_is_listed(checkout: Checkout) -> None:
    listed = checkout.run("snakemake", "--list-target-rules").stdout.split()
    assert target_rules() <= set(listed)


def test_every_original_script_has_a_wrapper() -> None:
    found = {path.name for path in (ROOT / "scripts").iterdir()}
    assert found == {*ORIGINAL, BENCHMARK}
    assert sorted(listed_scripts()) == sorted(ORIGINAL)


def with_stand_in(folder: Path, code: str) -> dict[str, str]:
    """Put a stand-in for Snakemake into a folder; return an environment that runs it."""
    (folder / "snakemake").mkdir()
    (folder / "snakemake/__init__.py").touch()
    stand_in = folder / "snakemake/__main__.py"
    stand_in.write_text(code)
    (folder / "bin").mkdir()
    executable = folder / "bin/snakemake"
    # Not by a first line that names the interpreter: its path may hold a space.
    executable.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{stand_in}" "$@"\n')
    executable.chmod(0o755)
    return os.environ | {
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        # Behind it the package, for the scripts that need it.
        "PYTHONPATH": f"{folder}{os.pathsep}{ROOT / 'src'}",
    }


@pytest.mark.parametrize("script", ["run_autotvm.py", "run_table1_batch.sh", BENCHMARK])
def test_an_interrupted_script_lets_snakemake_end(script: str, tmp_path: Path) -> None:
    run = subprocess.Popen(
        ["bash" if script.endswith(".sh") else sys.executable, ROOT / "scripts" / script, "--all"],
        env=with_stand_in(tmp_path, SLOW_TO_END),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with run:
        assert run.stdout is not None and run.stdout.readline() == "works\n"
        # As Ctrl-C does: to all that run in the foreground.
        os.killpg(run.pid, signal.SIGINT)
        assert run.stdout.read() == "unlocked\n"


@pytest.mark.parametrize("script", ORIGINAL)
def test_a_script_asks_for_the_targets_that_are_documented(script: str, tmp_path: Path) -> None:
    result = subprocess.run(
        ["bash" if script.endswith(".sh") else sys.executable, ROOT / "scripts" / script, "-n"],
        cwd=tmp_path,
        env=with_stand_in(tmp_path, STAND_IN),
        capture_output=True,
        text=True,
        check=True,
    )
    targets = listed_scripts()[script]
    if not targets:
        assert "Nothing to do" in result.stdout
        return
    folder, *arguments = json.loads(result.stdout)
    assert Path(folder) == ROOT and arguments[-1] == "-n"
    options = arguments[len(targets) : -1]
    assert arguments[: len(targets)] == targets
    overlays = [b for a, b in itertools.pairwise(options) if a == "--configfile"]
    assert overlays in ([], [OVERLAY])
    assert set(targets) <= target_rules()


def test_the_targets_of_all_scripts_resolve(checkout: Checkout) -> None:
    targets = {target for names in listed_scripts().values() for target in names}
    built = sorted(targets & target_rules())
    assert set(built) <= checkout.jobs(*built, *CI)


def test_a_script_of_each_kind_plans_its_runs(checkout: Checkout) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    shell = checkout.run("bash", "scripts/run_quantization_batch.sh", "-n", PATH=path).stdout
    assert "codesign_run_quantization" in shell
    python = checkout.run("python", "scripts/plot_quantization_barchart.py", "-n").stdout
    assert "codesign_run_quantization" in python and "figures/fig2.pdf" in python

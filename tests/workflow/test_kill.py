"""Twenty kills at random moments, of jobs and of Snakemake itself, change no table."""

from __future__ import annotations

import random
import signal
import subprocess
import time

import pandas as pd
import psutil
import pytest

from workflow_checkout import Checkout

CI = ("--profile", "workflow/profiles/ci")
KILLS = 20
TIMED = {"prefill_ms", "decode_ms", "latency_ms", "site_latency_ms", "dram_gb_per_s"}
# Training and runs of a figure with steps of its own, and of an experiment on the workbench.
TARGETS = ("results/ci/tables/table14.csv", "results/ci/tables/e20.csv")
TABLES = (
    *(f"quantization/{name}.csv" for name in ("observations", "statistics", "summary")),
    "paths/observations.csv",
)


def jobs_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Return the step processes below a running Snakemake."""
    try:
        children = psutil.Process(process.pid).children(recursive=True)
        return [child for child in children if "seqlab" in child.cmdline()]
    except psutil.NoSuchProcess:
        return []


def kill(job: psutil.Process) -> bool:
    """Send SIGKILL to a job; return whether it was still running."""
    try:
        running = job.status() != psutil.STATUS_ZOMBIE
        job.send_signal(signal.SIGKILL)
    except psutil.NoSuchProcess:
        return False
    return running


def kill_one(process: subprocess.Popen[bytes], rng: random.Random) -> str:
    """Kill Snakemake or one of its jobs with SIGKILL; return which.

    Whom is drawn first: of processes found at a random moment most are Snakemake without a job, for
    on a slow machine it spends more time on its graph than its short jobs run.
    """
    if rng.random() < 0.5:
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if jobs_of(process):
                # Somewhere between the first import of a job and its last file, or in the next one.
                time.sleep(rng.uniform(0.0, 3.0))
                if (jobs := jobs_of(process)) and kill(rng.choice(jobs)):
                    return "job"
            time.sleep(0.05)
        return "nothing"
    process.kill()
    process.wait()
    return "snakemake"


@pytest.mark.slow
def test_twenty_random_kills_end_with_the_same_tables(
    checkout: Checkout, ci_build: Checkout
) -> None:
    rng = random.Random(20)
    killed = {"job": 0, "snakemake": 0, "nothing": 0}
    process = checkout.start("snakemake", *CI, *TARGETS)
    deadline = time.monotonic() + 900
    while killed["job"] + killed["snakemake"] < KILLS and time.monotonic() < deadline:
        time.sleep(rng.uniform(1.5, 7.0))
        if process.poll() is not None:
            if process.returncode == 0:
                # Done before the last kill: start over from a table in the middle.
                (checkout.path / "results/ci/codesign/quantization/observations.csv").unlink()
                for record in checkout.path.glob("results/ci/codesign/**/seed-1/record.json"):
                    record.unlink()
            checkout.run("python", "-m", "seqlab", "resume")
            process = checkout.start("snakemake", *CI, *TARGETS)
            continue
        killed[kill_one(process, rng)] += 1
        if process.poll() is not None:
            checkout.run("python", "-m", "seqlab", "resume")
            process = checkout.start("snakemake", *CI, *TARGETS)
    process.wait(timeout=600)
    checkout.run("python", "-m", "seqlab", "resume")
    checkout.run("snakemake", *CI, *TARGETS)
    assert killed["job"] >= 3 and killed["snakemake"] >= 3, killed
    for table in TABLES:
        path = f"results/ci/codesign/{table}"
        ours, unbroken = (pd.read_csv(c.path / path) for c in (checkout, ci_build))
        ours, unbroken = (frame[~frame["metric"].isin(TIMED)] for frame in (ours, unbroken))
        pd.testing.assert_frame_equal(
            ours.reset_index(drop=True), unbroken.reset_index(drop=True), rtol=1e-6
        )


def test_make_resume_finishes_what_a_killed_snakemake_left(checkout: Checkout) -> None:
    target = "results/ci/assets/tokens/sotu/bpe2048"
    process = checkout.start("snakemake", *CI, target)
    while not jobs_of(process):
        time.sleep(0.05)
        assert process.poll() is None
    process.kill()
    process.wait()
    refused = checkout.run("snakemake", *CI, target, check=False)
    assert refused.returncode and "lock" in (refused.stdout + refused.stderr).lower()
    recovered = checkout.run("python", "-m", "seqlab", "resume").stdout
    assert "unlocked the folder" in recovered
    checkout.run("snakemake", *CI, target)
    assert (checkout.path / target / "tokens.json").is_file()

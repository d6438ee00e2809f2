"""The literal commands of the README and of the issue tracker, from the root of a checkout."""

from __future__ import annotations

import re
from pathlib import Path

from workflow_checkout import Checkout

SCALES = ("laptop", "ci", "paper")


def rulegraph(checkout: Checkout, scale: str) -> str:
    """Return the rulegraph in canonical form: Snakemake orders its lines at random."""
    out = checkout.run(
        "snakemake", "--rulegraph", "mermaid-js", "--config", f"scale={scale}"
    ).stdout
    names = dict(re.findall(r"(id\d+)\[(\w+)\]", out))
    edges = {(names[a], names[b]) for a, b in re.findall(r"(id\d+) --> (id\d+)", out)}
    lines = [f"    {a} --> {b}" for a, b in sorted(edges)]
    return "\n".join(["flowchart TB", *lines])


def rules_of(graph: str) -> set[str]:
    return set(re.findall(r"\w+_\w+", graph))


def test_dry_run_shows_the_laptop_graph(checkout: Checkout) -> None:
    assert {
        "assets_train_model",
        "codesign_run_quantization",
        "paper_number_figure",
    } <= checkout.jobs()


def test_profile_runpod_shows_paper_scale(checkout: Checkout) -> None:
    out = checkout.run("snakemake", "--profile", "runpod", "-n").stdout
    assert "results/paper/assets/models/mamba_2.8b/trained" in out
    assert "results/laptop" not in out


def test_slurm_profile_names_known_options() -> None:
    text = (Path(__file__).parents[2] / "workflow/profiles/slurm/profile.yaml").read_text()
    assert "executor: slurm" in text and "scale=paper" in text


def test_a_figure_of_any_scale_can_be_asked_for(checkout: Checkout) -> None:
    out = checkout.run("snakemake", "-n", "figures/ci/fig2.pdf").stdout
    assert "results/ci/codesign" in out and "results/laptop/codesign" not in out


def test_lint_is_clean(checkout: Checkout) -> None:
    checkout.run("snakemake", "--lint")


def test_the_graph_has_the_same_rules_at_every_scale(checkout: Checkout) -> None:
    graphs = {scale: rules_of(rulegraph(checkout, scale)) for scale in SCALES}
    assert graphs["laptop"], "no rule found in the rulegraph"
    assert graphs["ci"] == graphs["laptop"] == graphs["paper"]


def test_the_rulegraph_of_the_readme_is_current(checkout: Checkout) -> None:
    graph = rulegraph(checkout, "laptop")
    assert graph in (checkout.path / "README.md").read_text("utf-8"), f"put this there:\n{graph}"


def test_nothing_to_be_done_after_a_build(ci_build: Checkout) -> None:
    assert (
        "Nothing to be done"
        in ci_build.run("snakemake", "--profile", "workflow/profiles/ci", "-n").stdout
    )


def test_report(built: Checkout) -> None:
    built.run("snakemake", "--config", "scale=ci", "--report", "report.html")
    report = (built.path / "report.html").read_text("utf-8")
    assert "fig2" in report and "table14" in report


def test_the_scheduler_looks_for_jobs_only_when_one_has_ended(checkout: Checkout) -> None:
    """Timers that pile up would take from what is timed: Snakemake starts one for every job."""
    jobs = 20
    (checkout.path / "probe.smk").write_text(
        'include: "Snakefile"\n'
        "rule probe_scheduler:\n"
        '    output: "probe/{number}"\n'
        '    shell: "sleep 0.3; touch {output}"\n'
    )
    targets = [f"probe/{number}" for number in range(jobs)]
    options = ("-s", "probe.smk", "--cores", "1", "--verbose")
    told = checkout.run("snakemake", *targets, *options).stderr
    assert told.count("Ready jobs") < 2 * jobs

"""Forecasts from stored benchmarks: sums of similar jobs, and unknown where nothing is stored."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from seqlab import forecast as module
from seqlab.errors import UserError
from seqlab.forecast import commit_benchmarks, forecast, parse_dry_run
from seqlab.provenance.lineage import record_lineage

SNAKEFILE = """
RUN = "results/laptop/toy/runs/{model}/seed-{seed}/record.json"
workflow.global_resources.setdefault("gpu", 8)
rule all:
    input:
        "figures/fig2.pdf",
rule toy_run_order:
    output:
        RUN,
    benchmark:
        "logs/laptop/toy/run_order/{model}/seed-{seed}.jsonl"
    resources:
        gpu=2,
        mem_mb=100,
    shell:
        "touch {output}"
rule toy_draw:
    input:
        expand(RUN, model=["large", "small"], seed=[0, 1, 2]),
    output:
        "figures/fig2.pdf",
    benchmark:
        "logs/laptop/toy/draw.jsonl"
    shell:
        "touch {output}"
"""


def benchmark(root: Path, name: str, *seconds: float) -> None:
    path = root / "logs/laptop/toy" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"s": value, "max_rss": 1.0} for value in seconds]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def finished(root: Path, name: str, size: int) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    record_lineage(
        "toy run_order", "{}", "", {}, {"out": Path(name)}, started=0, seconds=1, root=root
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    return tmp_path


def test_known_unknown_and_fallback(project: Path) -> None:
    first = forecast([], "laptop", project)
    assert {e.rule: e.jobs for e in first.estimates} == {"toy_run_order": 6, "toy_draw": 1}
    assert set(first.unknown) == {"toy_run_order", "toy_draw"}
    assert "unknown, no stored benchmark: " in str(first)
    assert first.seconds == 0

    benchmark(project, "run_order/large/seed-0.jsonl", 3600)
    benchmark(project, "run_order/small/seed-0.jsonl", 10)
    benchmark(project, "run_order/small/seed-1.jsonl", 30, 20)
    finished(project, "results/laptop/toy/runs/small/seed-7/record.json", 100)
    benchmark(project, "run_other/small/seed-0.jsonl", 1e6)
    second = forecast(["figures/fig2.pdf"], "laptop", project)
    run = next(e for e in second.estimates if e.rule == "toy_run_order")
    # Three large seeds of an hour; small ones of 10 and 25 s, the third their median.
    assert run.seconds == pytest.approx(3 * 3600 + 10 + 25 + 17.5)
    assert run.gpu_hours == pytest.approx(2 * run.seconds / 3600)
    assert run.disk_bytes == 600
    assert second.unknown == ("toy_draw",)
    assert "at least 3h 00m" in str(second)

    path = commit_benchmarks(project, "toy-cpu")
    assert path.relative_to(project).as_posix() == "bench/records/toy-cpu/jobs.jsonl"
    for log in (project / "logs").rglob("*.jsonl"):
        log.unlink()
    third = forecast([], "laptop", project)
    again = next(e for e in third.estimates if e.rule == "toy_run_order")
    assert again.seconds == run.seconds
    assert again.source == "committed record of toy-cpu"


def test_nothing_to_keep_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no job has left a benchmark"):
        commit_benchmarks(tmp_path)


def test_failed_dry_run_is_explained(tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text("rule broken\n")
    with pytest.raises(UserError, match="the dry run failed: "):
        forecast([], "laptop", tmp_path)


TEXT = """
Job stats:
job      count
-----  -------
a_run        1
all          1
total        2

[{now}]
rule a_run:
    input: x
    output: results/a.csv, results/b.csv
    log: logs/a.log
    jobid: 1
    benchmark: logs/laptop/a/run.jsonl
    reason: Missing output files: results/a.csv
    resources: tmpdir=/tmp, gpu=3, runtime=10, gpu_model=7
[{now}]
localrule all:
    input: results/a.csv
Job stats:
job      count
-----  -------
a_run        1
all          1
total        2
"""


def test_text_of_the_dry_run() -> None:
    jobs = parse_dry_run(TEXT.replace("{now}", time.ctime()))
    assert [job.rule for job in jobs] == ["a_run", "all"]
    assert jobs[0].outputs == ["results/a.csv", "results/b.csv"]
    assert (jobs[0].benchmark, jobs[0].gpus) == ("logs/laptop/a/run.jsonl", 3)
    assert jobs[1].outputs == []
    assert parse_dry_run("Nothing to be done (all requested files are present).") == []


def test_text_that_is_not_understood_is_refused() -> None:
    with pytest.raises(UserError, match="lists 1 jobs but counts 2"):
        parse_dry_run(TEXT.replace("localrule all", "rule_of another kind"))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "unknown"), (0.25, "0.2s"), (61, "1m 01s"), (3600, "1h 00m"), (7325, "2h 02m")],
)
def test_times_for_people(seconds: float | None, text: str) -> None:
    assert module._time(seconds) == text


def test_a_cut_line_of_a_benchmark_is_left_out(tmp_path: Path) -> None:
    benchmark(tmp_path, "x.jsonl", 4.0)
    with open(tmp_path / "logs/laptop/toy/x.jsonl", "a") as stream:
        stream.write('{"s": 5')
    assert module.benchmarks(tmp_path) == {"logs/laptop/toy/x.jsonl": 4.0}

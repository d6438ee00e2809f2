"""Time, GPU-hours and disk of a run before it starts.

Snakemake's dry run says which jobs there are; their time is the time of the most similar finished
job of the same rule, from the benchmark files below `logs/`. A rule that has no stored benchmark
is reported as unknown, never guessed.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from seqlab.bench.record import RECORDS
from seqlab.errors import UserError
from seqlab.provenance.atomic import write_text
from seqlab.provenance.environment import device_key
from seqlab.provenance.lineage import LINEAGE
from seqlab.provenance.machine import describe_machine

FALLBACK = "jobs.jsonl"
_RULE = re.compile(r"^(?:local)?(?:rule|checkpoint) (\S+):$")
_KEY = re.compile(r"^    (output|benchmark|resources): (.*)$")
_TOTAL = re.compile(r"^total\s+(\d+)$", re.MULTILINE)
_DRY_RUN_TIMEOUT_S = 600
_LINES = 4


@dataclass
class Job:
    """One pending job of the dry run."""

    rule: str
    outputs: list[str] = field(default_factory=list)
    benchmark: str | None = None
    gpus: int = 0


@dataclass(frozen=True)
class Estimate:
    """What one rule's pending jobs take; None where nothing is stored to tell it from."""

    rule: str
    jobs: int
    seconds: float | None
    gpu_hours: float | None
    disk_bytes: int | None
    source: str


@dataclass(frozen=True)
class Forecast:
    """Estimates of all rules; `str` is the table for the user."""

    targets: tuple[str, ...]
    estimates: tuple[Estimate, ...]

    @property
    def seconds(self) -> float:
        """Time of all jobs whose time is known, one after the other, in seconds."""
        return sum(estimate.seconds or 0.0 for estimate in self.estimates)

    @property
    def gpu_hours(self) -> float:
        """GPU-hours of all jobs whose time is known."""
        return sum(estimate.gpu_hours or 0.0 for estimate in self.estimates)

    @property
    def disk_bytes(self) -> int:
        """Size of all outputs whose size is known, in bytes."""
        return sum(estimate.disk_bytes or 0 for estimate in self.estimates)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Rules whose time is not known."""
        return tuple(e.rule for e in self.estimates if e.seconds is None)

    def __str__(self) -> str:
        if not self.estimates:
            return "nothing to be done"
        width = max(len("rule"), *(len(estimate.rule) for estimate in self.estimates))
        lines = [f"{'rule':{width}}  {'jobs':>6}  {'time':>10}  {'GPU-h':>8}  {'disk':>9}  from"]
        for e in self.estimates:
            cells = (_time(e.seconds), _hours(e.gpu_hours), _size(e.disk_bytes))
            lines.append(
                f"{e.rule:{width}}  {e.jobs:>6}  {cells[0]:>10}  {cells[1]:>8}  {cells[2]:>9}"
                f"  {e.source}"
            )
        least = "at least " if self.unknown else ""
        total = (
            f"{least}{_time(self.seconds)} one after the other, {_hours(self.gpu_hours)} GPU-hours"
            if len(self.unknown) < len(self.estimates)
            else "time unknown"
        )
        disk = _total(e.disk_bytes for e in self.estimates)
        space = _size(disk) if disk is not None else f"at least {_size(self.disk_bytes)}"
        lines.append(f"\n{sum(e.jobs for e in self.estimates)} jobs, {total}, {space} of disk")
        if self.unknown:
            lines.append(f"unknown, no stored benchmark: {', '.join(self.unknown)}")
        small = [e.rule for e in self.estimates if e.disk_bytes is None]
        if small:
            lines.append(f"unknown size of outputs: {', '.join(small)}")
        return "\n".join(lines)


def forecast(
    targets: Sequence[str] = (), scale: str = "laptop", root: str | Path | None = None
) -> Forecast:
    """Return what building `targets` (everything, if none) takes from here.

    Raises:
        UserError: Snakemake refuses the dry run, or its text cannot be understood.
    """
    base = Path(root or Path.cwd()).resolve()
    text = dry_run(base, targets, scale)
    jobs = [job for job in parse_dry_run(text) if job.outputs]
    history = History.load(base)
    by_rule: dict[str, list[Job]] = {}
    for job in jobs:
        by_rule.setdefault(job.rule, []).append(job)
    estimates = [_estimate(rule, pending, history) for rule, pending in by_rule.items()]
    estimates.sort(key=lambda e: (-(e.seconds or 0.0), e.rule))
    return Forecast(tuple(targets), tuple(estimates))


def dry_run(root: Path, targets: Sequence[str], scale: str) -> str:
    """Return the text of `snakemake -n`.

    Raises:
        UserError: Snakemake exits with an error; its last lines are shown.
    """
    command = [sys.executable, "-m", "snakemake", "-n", "--nocolor", "--cores", "1"]
    # A profile of the user may switch off the very lines that are read here.
    environment = {k: v for k, v in os.environ.items() if k != "SNAKEMAKE_PROFILE"}
    done = subprocess.run(
        [*command, "--config", f"scale={scale}", "--", *targets],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=_DRY_RUN_TIMEOUT_S,
        env=environment,
        check=False,
    )
    text = done.stdout + "\n" + done.stderr
    if done.returncode:
        lines = [line for line in text.splitlines() if line.strip()][-_LINES:]
        raise UserError(
            f"the dry run failed: {' / '.join(lines)}", fix="see `snakemake -n` for all of it"
        )
    return text


def parse_dry_run(text: str) -> list[Job]:
    """Read the jobs from the text of a dry run; their number is checked against its own table.

    Raises:
        UserError: The numbers differ, so this version of Snakemake prints something else.
    """
    jobs: list[Job] = []
    for line in text.splitlines():
        rule = _RULE.match(line)
        if rule:
            jobs.append(Job(rule.group(1)))
            continue
        key = _KEY.match(line)
        if key and jobs:
            _fill(jobs[-1], key.group(1), key.group(2))
    totals = _TOTAL.findall(text)
    expected = int(totals[0]) if totals else 0
    if len(jobs) != expected:
        raise UserError(
            f"the dry run lists {len(jobs)} jobs but counts {expected}",
            fix="use the version of Snakemake in constraints.txt",
        )
    return jobs


def _fill(job: Job, key: str, value: str) -> None:
    if key == "output":
        job.outputs = [name for name in value.split(", ") if name]
    elif key == "benchmark":
        job.benchmark = value
    else:
        gpus = re.search(r"(?:^|, )gpu=(\d+)", value)
        job.gpus = int(gpus.group(1)) if gpus else 0


@dataclass
class History:
    """Finished jobs: benchmark path -> (seconds, where from), and output path -> bytes."""

    seconds: dict[str, tuple[float, str]]
    sizes: dict[str, int]

    @classmethod
    def load(cls, root: Path) -> History:
        """Read benchmark files and sizes below `root`; committed records fill what is absent."""
        seconds: dict[str, tuple[float, str]] = {}
        sizes: dict[str, int] = {}
        for path in sorted((root / RECORDS).glob(f"*/{FALLBACK}")):
            for row in _rows(path):
                source = f"committed record of {path.parent.name}"
                seconds[str(row["benchmark"])] = (float(row["s"]), source)
        for name, found in benchmarks(root).items():
            seconds[name] = (found, "logs")
        base = root / LINEAGE
        for sidecar in base.rglob("*.json"):
            name = sidecar.relative_to(base).as_posix().removesuffix(".json")
            size = _size_of(root / name)
            if size is not None:
                sizes[name] = size
        return cls(seconds, sizes)

    def time_of(self, job: Job) -> tuple[float, str] | None:
        """Return the time of the most similar finished jobs of the same rule, in seconds."""
        if job.benchmark is None:
            return None
        folder = _folder_of_rule(job)
        own = {
            name: value
            for name, value in self.seconds.items()
            if name == job.benchmark or (folder and name.startswith(f"{folder}/"))
        }
        return _nearest(job.benchmark, own)

    def size_of(self, output: str) -> int | None:
        """Return the size of the most similar existing output with the same file name."""
        path = PurePosixPath(output)
        same = {
            name: size
            for name, size in self.sizes.items()
            if PurePosixPath(name).name == path.name
            and len(PurePosixPath(name).parts) == len(path.parts)
            and PurePosixPath(name).parts[:_LINES] == path.parts[:_LINES]
        }
        if output in same:
            return same[output]
        found = _nearest(output, {name: (float(size), "") for name, size in same.items()})
        return None if found is None else int(found[0])


def benchmarks(root: Path) -> dict[str, float]:
    """Return benchmark path -> seconds (median over repeats) of all files below `logs/`."""
    found: dict[str, float] = {}
    for path in sorted((root / "logs").rglob("*.jsonl")):
        times = [float(row["s"]) for row in _rows(path) if isinstance(row.get("s"), int | float)]
        if times:
            found[path.relative_to(root).as_posix()] = statistics.median(times)
    return found


def commit_benchmarks(root: str | Path, device: str | None = None) -> Path:
    """Write all benchmarks below `logs/` to `bench/records/<device>/jobs.jsonl`; return its path.

    A checkout without logs forecasts from this file and says so.

    Args:
        root: Folder of the project.
        device: Name of the hardware the jobs ran on; this machine's unless told.

    Raises:
        UserError: No job has left a benchmark.
    """
    base = Path(root).resolve()
    rows = [{"benchmark": name, "s": s} for name, s in sorted(benchmarks(base).items())]
    if not rows:
        raise UserError("no job has left a benchmark", where="logs", fix="run Snakemake first")
    device = device or device_key({"machine": describe_machine()})
    path = base / RECORDS / device / FALLBACK
    write_text(path, "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows))
    return path


def _rows(path: Path) -> list[dict[str, Any]]:
    """Read JSON lines; a line cut short by a killed job is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def _folder_of_rule(job: Job) -> str | None:
    """Return the log folder that repeats the rule's name (`.../run_order` for `toy_run_order`)."""
    parts = PurePosixPath(job.benchmark or "").parent.parts
    for index, part in enumerate(parts):
        if job.rule == part or job.rule.endswith(f"_{part}"):
            return "/".join(parts[: index + 1])
    return None


def _nearest(name: str, candidates: dict[str, tuple[float, str]]) -> tuple[float, str] | None:
    """Return the median over the candidates whose paths are most like `name`.

    An equal part further left counts more than any to its right: the seed, which changes no
    cost, is the last part of a path.
    """
    if name in candidates:
        return candidates[name]
    parts = PurePosixPath(name).parts
    best: list[tuple[float, str]] = []
    most: list[bool] = []
    for other, value in candidates.items():
        shared = [a == b for a, b in zip(parts, PurePosixPath(other).parts, strict=False)]
        if not best or shared > most:
            best, most = [value], shared
        elif shared == most:
            best.append(value)
    if not best:
        return None
    return statistics.median(value for value, _ in best), best[0][1]


def _estimate(rule: str, jobs: list[Job], history: History) -> Estimate:
    times = [history.time_of(job) for job in jobs]
    known = [time for time in times if time is not None]
    complete = len(known) == len(jobs)
    hours = sum(t[0] * job.gpus for t, job in zip(times, jobs, strict=True) if t) / 3600
    return Estimate(
        rule=rule,
        jobs=len(jobs),
        seconds=sum(seconds for seconds, _ in known) if complete else None,
        gpu_hours=hours if complete else None,
        disk_bytes=_total(history.size_of(name) for job in jobs for name in job.outputs),
        source=", ".join(sorted({source for _, source in known})) if complete else "unknown",
    )


def _total(sizes: Iterable[int | None]) -> int | None:
    total = 0
    for size in sizes:
        if size is None:
            return None
        total += size
    return total


def _size_of(path: Path) -> int | None:
    if path.is_file():
        return path.stat().st_size
    if path.is_dir():
        return sum(inner.stat().st_size for inner in path.rglob("*") if inner.is_file())
    return None


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h {minutes:02d}m"
    return f"{minutes}m {rest:02d}s" if minutes else f"{seconds:.1f}s"


def _hours(hours: float | None) -> str:
    return "unknown" if hours is None else f"{hours:.2f}"


def _size(size: int | None) -> str:
    if size is None:
        return "unknown"
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size} B"

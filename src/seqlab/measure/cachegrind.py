"""Runs a program under valgrind's cachegrind with given caches and reads its misses."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seqlab.errors import UserError
from seqlab.kernels.cachesim import Level


@dataclass(frozen=True)
class DataMisses:
    """Data references of a whole program.

    Attributes:
        reads: Data reads.
        d1_reads: Reads that missed the first level.
        ll_reads: Reads that missed both levels.
        d1_writes: Writes that missed the first level.
        ll_writes: Writes that missed both levels.
    """

    reads: int
    d1_reads: int
    ll_reads: int
    d1_writes: int
    ll_writes: int


def missing_tool() -> str | None:
    """Return why cachegrind cannot run here, None if it can."""
    return None if shutil.which("valgrind") else "valgrind is not installed"


def data_misses(
    command: Sequence[str | Path], first: Level, last: Level, timeout_s: float = 600.0
) -> DataMisses:
    """Run a program with two simulated data caches.

    Args:
        command: The program and its arguments.
        first: D1.
        last: LL; cachegrind has no level between them.
        timeout_s: Seconds after which the run is given up.

    Raises:
        UserError: valgrind is missing or took too long, the program failed, or the report cannot be
            read.
    """
    why = missing_tool()
    if why is not None:
        raise UserError(why, fix="install the package valgrind")
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report"
        arguments = [
            *("valgrind", "--tool=cachegrind", "--cache-sim=yes"),
            f"--D1={first.size},{first.ways},{first.line}",
            f"--LL={last.size},{last.ways},{last.line}",
            f"--cachegrind-out-file={report}",
            *map(str, command),
        ]
        try:
            done = subprocess.run(
                arguments, check=False, capture_output=True, text=True, timeout=timeout_s
            )
        except subprocess.TimeoutExpired as error:
            raise UserError(f"cachegrind took longer than {timeout_s:g} s") from error
        if done.returncode:
            last_line = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise UserError(f"cachegrind ended with status {done.returncode}: {last_line}")
        return parse_report(report.read_text())


def parse_report(text: str) -> DataMisses:
    """Read the totals of a cachegrind report.

    Raises:
        UserError: The report lacks its totals or an event.
    """
    lines = {
        key: rest.split()
        for key, _, rest in (line.partition(":") for line in text.splitlines())
        if key in ("events", "summary")
    }
    try:
        found = dict(zip(lines["events"], map(int, lines["summary"]), strict=True))
        return DataMisses(*(found[key] for key in ("Dr", "D1mr", "DLmr", "D1mw", "DLmw")))
    except (KeyError, ValueError) as error:
        raise UserError(
            f"cachegrind's report has no total of {error}", fix="use valgrind 3.19 or newer"
        ) from error

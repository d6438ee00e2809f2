"""Runs a step under Nsight Compute and reads its raw page: the one place for GPU profiling.

The step marks what is to be profiled with `profiled()` (cudaProfilerStart and Stop). The raw page
in CSV is: lines of the program and the tool, a header row that starts with "ID", a row of units,
and one row per kernel launch with one column per metric.
"""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from seqlab.errors import UserError
from seqlab.quiet import unbroken

L2_HIT, L2_MISS = "lts__t_sectors_lookup_hit.sum", "lts__t_sectors_lookup_miss.sum"
L1_HIT = "l1tex__t_sectors_lookup_hit.sum"
L1_MISS = "l1tex__t_sectors_lookup_miss.sum"
DRAM_READ, DRAM_WRITE = "dram__bytes_read.sum", "dram__bytes_write.sum"
BANK_CONFLICTS = "l1tex__data_bank_conflicts_pipe_lsu_mem_shared.sum"
TIME = "gpu__time_duration.sum"
METRICS = (L1_HIT, L1_MISS, L2_HIT, L2_MISS, DRAM_READ, DRAM_WRITE, BANK_CONFLICTS, TIME)

_KERNEL = "Kernel Name"
# What a unit counts, in sectors, conflicts, bytes or seconds.
_UNITS = {
    "": 1.0,
    "sector": 1.0,
    "byte": 1.0,
    "Kbyte": 1e3,
    "Mbyte": 1e6,
    "Gbyte": 1e9,
    "ns": 1e-9,
    "nsecond": 1e-9,
    "us": 1e-6,
    "usecond": 1e-6,
    "ms": 1e-3,
    "msecond": 1e-3,
    "s": 1.0,
    "second": 1.0,
}


@dataclass(frozen=True)
class KernelProfile:
    """Metrics of one kernel launch, in sectors, bytes, conflicts and seconds; None if not given."""

    kernel: str
    values: dict[str, float | None]


@dataclass(frozen=True)
class Profile:
    """What one profiled region did.

    Attributes:
        kernels: One entry per launch, in order.
    """

    kernels: tuple[KernelProfile, ...]

    def total(self, metric: str) -> float | None:
        """Return the sum over kernels; None if any of them lacks the metric."""
        values = [kernel.values.get(metric) for kernel in self.kernels]
        known = [value for value in values if value is not None]
        return sum(known) if known and len(known) == len(values) else None

    @property
    def l1_hit_rate(self) -> float | None:
        """Sector-weighted share of L1 lookups that hit."""
        return _share(self.total(L1_HIT), self.total(L1_MISS))

    @property
    def l2_hit_rate(self) -> float | None:
        """Sector-weighted share of L2 lookups that hit."""
        return _share(self.total(L2_HIT), self.total(L2_MISS))

    @property
    def dram_bytes(self) -> float | None:
        """Bytes read from and written to memory."""
        read, written = self.total(DRAM_READ), self.total(DRAM_WRITE)
        return None if read is None or written is None else read + written


@contextmanager
def profiled() -> Iterator[None]:
    """Mark what Nsight Compute profiles; does nothing without a CUDA device."""
    import torch

    if not torch.cuda.is_available():
        yield
        return
    torch.cuda.synchronize()
    torch.cuda.profiler.start()
    try:
        yield
        torch.cuda.synchronize()
    finally:
        torch.cuda.profiler.stop()


def unavailable() -> str | None:
    """Return why nothing can be profiled here, None if it can."""
    return None if shutil.which("ncu") else "Nsight Compute (ncu) is not installed"


def profile(
    command: Sequence[str | Path], timeout_s: float, metrics: Sequence[str] = METRICS
) -> tuple[Profile, str]:
    """Run a command and profile the regions it marks.

    Args:
        command: The program and its arguments; it calls `profiled`.
        timeout_s: Seconds after which the run is given up: profiling replays every kernel.
        metrics: What to collect.

    Returns:
        The profile, and the raw page it was read from.

    Raises:
        UserError: ncu is missing, took too long, failed, or printed no page.
    """
    why = unavailable()
    if why is not None:
        raise UserError(why, fix="install Nsight Compute and allow access to GPU counters")
    # A session of its own, because ncu killed alone leaves the program behind, on the GPU.
    process = subprocess.Popen(
        command_line(command, metrics),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        with unbroken():  # the program would go on alone
            page, complaints = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise UserError(
            f"profiling took longer than {timeout_s:g} s", fix="profile fewer kernels"
        ) from error
    finally:
        if process.returncode is None:
            _end_session(process)
    if process.returncode:
        raise UserError(
            f"ncu ended with status {process.returncode}: {_complaint(page + complaints)}",
            fix="ERR_NVGPUCTRPERM means that only the administrator may read GPU counters",
        )
    return parse_raw_page(page, metrics), page


def command_line(command: Sequence[str | Path], metrics: Sequence[str] = METRICS) -> list[str]:
    """Return the arguments that run a command under ncu and print the raw page of its regions.

    Clocks are left as they are, and processes that the command starts are profiled as well.
    """
    return [
        *("ncu", "--csv", "--page", "raw", "--print-units", "base"),
        *("--target-processes", "all", "--profile-from-start", "off"),
        *("--clock-control", "none", "--metrics", ",".join(metrics)),
        *map(str, command),
    ]


def parse_raw_page(text: str, metrics: Sequence[str] = METRICS) -> Profile:
    """Read the raw page of `ncu --csv --page raw`.

    A value that is not a number ("n/a") is None; thousands may be separated by commas.

    Args:
        text: What ncu printed.
        metrics: What to read; one that the page lacks has no value.

    Raises:
        UserError: There is no header or units row, a row has another length, or a unit of a known
            metric is not known.
    """
    lines = text.splitlines(keepends=True)
    # What the program printed before is no CSV: a lone quotation mark there would swallow the page.
    start = next((i for i, line in enumerate(lines) if _is_header(line)), len(lines))
    rows = list(csv.reader(lines[start:]))
    if len(rows) < 2:
        raise UserError(
            f"no raw page in what ncu printed: {_complaint(text)}",
            fix="the program must mark a region with seqlab.measure.ncu.profiled",
        )
    header, units = rows[:2]
    if len(units) != len(header):
        raise UserError(f"units of {len(units)} columns below a header of {len(header)}")
    known = {name: header.index(name) for name in metrics if name in header}
    scale = {name: _scale(name, units[column]) for name, column in known.items()}
    kernels = []
    for row in rows[2:]:
        if not row or row[0].startswith("=="):
            continue
        if len(row) != len(header):
            raise UserError(f"a row of {len(row)} columns below a header of {len(header)}")
        values = {name: _number(row[column], scale[name]) for name, column in known.items()}
        kernels.append(KernelProfile(row[header.index(_KERNEL)], values))
    return Profile(tuple(kernels))


def _is_header(line: str) -> bool:
    return line.startswith(("ID,", '"ID",')) and _KERNEL in line


def _end_session(process: subprocess.Popen[str]) -> None:
    """End a process that runs in a session of its own, and what it has started."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _scale(metric: str, unit: str) -> float:
    if unit not in _UNITS:
        raise UserError(f"unknown unit {unit!r}", where=metric, fix="run ncu --print-units base")
    return _UNITS[unit]


def _number(text: str, scale: float) -> float | None:
    try:
        return float(text.replace(",", "")) * scale
    except ValueError:
        return None


def _share(hits: float | None, misses: float | None) -> float | None:
    if hits is None or misses is None or hits + misses == 0:
        return None
    return hits / (hits + misses)


def _complaint(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("==ERROR==", "==WARNING=="))]
    return (errors or lines or ["nothing"])[-1]

"""Foreign load: processor time that others used while we measured.

Input: the kernel's accounting in /proc before and after. Output: CPU seconds of other processes per
elapsed second on the cores this process may use (0 on a quiet machine, 1 where one core was lost),
and the load averages. Where the kernel does not tell, the value is None with the reason, recorded
and never taken for zero.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from seqlab.errors import UserError
from seqlab.quiet import alone

T = TypeVar("T")

# A disturbed measurement is repeated once others are quiet, or have not been for so many looks: a
# job that ends, the next one that starts and the scheduler between them take a second or two.
_LOOKS, _LOOK_S = 40, 0.25
_PROC = Path("/proc")
# Columns of a cpu line of /proc/stat (proc_stat(5)); guest time is already part of user and nice.
_BUSY_COLUMNS = {"user": 0, "nice": 1, "system": 2, "irq": 5, "softirq": 6, "steal": 7}
# Fields of /proc/PID/stat after the command name: parent, and utime, stime, cutime, cstime.
_PARENT_FIELD = 1
_TIME_FIELDS = slice(11, 15)


@dataclass(frozen=True)
class ForeignLoad:
    """Load of the machine over one interval.

    Attributes:
        cpu_per_s: CPU seconds of other processes (stolen time included) per elapsed second; None
            where the system does not tell.
        elapsed_s: Length of the interval in seconds.
        load_before: One-minute load average at its start; None where there is none.
        load_after: One-minute load average at its end.
        reason: Why `cpu_per_s` is None.
    """

    cpu_per_s: float | None
    elapsed_s: float
    load_before: float | None
    load_after: float | None
    reason: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for a record's environment."""
        return dict(vars(self))


@dataclass
class LoadWatch:
    """Holds the load of the block that `watch_load` watched, once the block has ended."""

    load: ForeignLoad | None = field(default=None)

    def result(self) -> ForeignLoad:
        """Return the load.

        Raises:
            RuntimeError: The watched block has not ended.
        """
        if self.load is None:
            raise RuntimeError("the watched block has not ended")
        return self.load


@contextmanager
def watch_load(proc: Path = _PROC) -> Iterator[LoadWatch]:
    """Watch the foreign load while the block runs; read it from the watch afterwards."""
    watch = LoadWatch()
    before, load_before = _snapshot(proc), _load_average()
    start = time.monotonic()
    try:
        yield watch
    finally:
        elapsed = time.monotonic() - start
        foreign, reason = _foreign_seconds(before, _snapshot(proc))
        watch.load = ForeignLoad(
            cpu_per_s=None if foreign is None else foreign / max(elapsed, 1e-9),
            elapsed_s=elapsed,
            load_before=load_before,
            load_after=_load_average(),
            reason=reason,
        )


def refuse_if_loaded(load: ForeignLoad, limit: float, key: str) -> None:
    """Refuse a measurement that foreign load disturbed; an unknown load is recorded, not refused.

    Args:
        load: What was watched.
        limit: Most CPU seconds per second of other processes.
        key: The setting that holds the limit, for the message.

    Raises:
        UserError: The load is above the limit.
    """
    if load.cpu_per_s is not None and load.cpu_per_s > limit:
        raise UserError(
            f"other processes used {load.cpu_per_s:.2f} CPU seconds per second while timing, "
            f"the limit is {limit:g}",
            where=key,
            fix="end the other processes and run again, or raise the limit and accept the noise",
        )


def measure_quietly(
    measure: Callable[[], T], *, limit: float, attempts: int, key: str
) -> tuple[T, list[ForeignLoad]]:
    """Measure alone on the machine, and again where foreign load was above the limit, once it is
    not.

    Other steps of the workflow wait meanwhile, unless the limit is more than all cores can do:
    whoever sets such a one does not want the time, but to see that it is taken.

    Args:
        measure: The measurement; called at most `attempts` times.
        limit: Most CPU seconds per second of other processes.
        attempts: Tries before the measurement is refused.
        key: The setting that holds the limit.

    Returns:
        The first undisturbed result, and the load of every attempt, the last one being its own.

    Raises:
        UserError: Every attempt was disturbed.
        ValueError: `attempts` is below one.
    """
    if attempts < 1:
        raise ValueError(f"attempts must be at least 1, not {attempts}")
    loads: list[ForeignLoad] = []
    while True:
        with alone() if limit < len(_cores()) else nullcontext():
            if loads:
                _wait_for_quiet(limit)
            with watch_load() as watch:
                result = measure()
        loads.append(watch.result())
        try:
            refuse_if_loaded(loads[-1], limit, key)
        except UserError:
            if len(loads) == attempts:
                raise
        else:
            return result, loads


def _wait_for_quiet(limit: float) -> None:
    """Wait until others use no more than the limit, ten seconds at most."""
    for _ in range(_LOOKS):
        with watch_load() as watch:
            time.sleep(_LOOK_S)
        used = watch.result().cpu_per_s
        if used is None or used <= limit:
            return


@dataclass(frozen=True)
class _Snapshot:
    """CPU seconds since boot of our cores and of this process's tree; None with a reason."""

    busy_s: float | None
    own_s: float | None
    reason: str | None


def _snapshot(proc: Path) -> _Snapshot:
    try:
        # Own time first and second symmetrically: reading takes far less than one tick.
        own = own_seconds(proc, os.getpid())
        busy = busy_seconds((proc / "stat").read_text(encoding="ascii"), _cores())
    except (OSError, ValueError, IndexError, KeyError) as error:
        return _Snapshot(None, None, f"no CPU accounting in {proc}: {type(error).__name__}")
    return _Snapshot(busy, own, None)


def _foreign_seconds(before: _Snapshot, after: _Snapshot) -> tuple[float | None, str | None]:
    if before.busy_s is None or before.own_s is None:
        return None, before.reason
    if after.busy_s is None or after.own_s is None:
        return None, after.reason
    # Both clocks count in ticks of 10 ms, so a quiet machine can come out slightly below zero.
    foreign = (after.busy_s - before.busy_s) - (after.own_s - before.own_s)
    return max(foreign, 0.0), None


def busy_seconds(stat: str, cores: set[int]) -> float:
    """Return the busy and stolen CPU seconds since boot of `cores`, from /proc/stat's text.

    Raises:
        KeyError: None of the cores is listed.
    """
    wanted = {f"cpu{core}" for core in cores}
    lines = [line.split() for line in stat.splitlines() if line.split(" ", 1)[0] in wanted]
    if not lines:
        raise KeyError("no line of our cores")
    ticks = 0
    for _, *columns in lines:
        ticks += sum(int(columns[i]) for i in _BUSY_COLUMNS.values() if i < len(columns))
    return ticks / _ticks_per_s()


def own_seconds(proc: Path, pid: int) -> float:
    """Return the CPU seconds of a process, its living descendants and the children they reaped."""
    parent: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for folder in proc.iterdir():
        if not folder.name.isdigit():
            continue
        try:
            text = (folder / "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue  # the process ended while we were looking
        # The command name may hold spaces and brackets; the fields follow its last bracket.
        fields = text.rpartition(")")[2].split()
        parent[int(folder.name)] = int(fields[_PARENT_FIELD])
        ticks[int(folder.name)] = sum(int(value) for value in fields[_TIME_FIELDS])
    return sum(ticks[p] for p in ticks if _descends(p, pid, parent)) / _ticks_per_s()


def _descends(pid: int, ancestor: int, parent: dict[int, int]) -> bool:
    while pid != ancestor:
        if pid not in parent:
            return False
        pid = parent[pid]
    return True


def _cores() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _ticks_per_s() -> int:
    return os.sysconf("SC_CLK_TCK")


def _load_average() -> float | None:
    try:
        return os.getloadavg()[0]
    except (OSError, AttributeError):
        return None

"""Interleaved latency: the one place of the project that times code.

Arms (callables without arguments, on fixed inputs) are warmed up until stable, then timed in
rounds. Every round times each of its arms once; the order within a round follows a Williams design,
so over a block of rounds each arm stands equally often at each position and after each other arm,
and drift or carry-over do not favour one of them. Input: the arms and the number of repeats.
Output: a `Latency` with every raw sample in nanoseconds, the order, and what was pinned.

Repeats inside one process describe that process; they are never statistical replicates.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from seqlab.errors import UserError

Arm = Callable[[], object]


@dataclass(frozen=True)
class Warmup:
    """When an arm counts as warm.

    Attributes:
        window: Number of last calls looked at.
        cv: Coefficient of variation of those calls below which the arm is stable.
        max_calls: Calls after which warming up ends, stable or not.
        max_s: Seconds after which warming up ends, stable or not.
    """

    window: int = 10
    cv: float = 0.02
    max_calls: int = 50
    max_s: float = 20.0


@dataclass(frozen=True)
class Latency:
    """Raw samples of one interleaved measurement.

    Attributes:
        samples_ns: Arm -> (n,) int64, durations in nanoseconds in the order they were taken.
        rounds: Arm -> (n,) int64, the round each sample belongs to; arms pair up by round.
        order: The arm timed at each step, over all rounds.
        warmup_calls: Arm -> calls before the first sample.
        stable: Arm -> whether warming up ended because the arm was stable.
        threads: Library -> its number of threads while timing.
        device: "cpu" or a CUDA device.
    """

    samples_ns: dict[str, np.ndarray]
    rounds: dict[str, np.ndarray]
    order: list[str]
    warmup_calls: dict[str, int]
    stable: dict[str, bool]
    threads: dict[str, int]
    device: str

    def median_s(self, arm: str) -> float:
        """Median duration of an arm in seconds (the primary reduction of a run)."""
        return float(np.median(self.samples_ns[arm])) * 1e-9

    def mean_s(self, arm: str) -> float:
        """Mean duration of an arm in seconds."""
        return float(np.mean(self.samples_ns[arm])) * 1e-9

    def min_s(self, arm: str) -> float:
        """Shortest duration of an arm in seconds."""
        return float(np.min(self.samples_ns[arm])) * 1e-9

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return everything raw as flat arrays, ready for an npz file."""
        arrays: dict[str, np.ndarray] = {"order": np.array(self.order)}
        for arm, samples in self.samples_ns.items():
            arrays[f"{arm}/ns"] = samples
            arrays[f"{arm}/round"] = self.rounds[arm]
        return arrays


class CpuClock:
    """Times a call on the host with `perf_counter_ns`."""

    def time_ns(self, call: Arm) -> int:
        """Return the duration of one call in nanoseconds."""
        start = time.perf_counter_ns()
        call()
        return time.perf_counter_ns() - start


class CudaClock:
    """Times a call on a GPU with events, synchronised before and after.

    Args:
        event: Makes a timing event with `record()`, `synchronize()` and `elapsed_time(end)` in ms.
        synchronize: Waits until the device is idle.
    """

    def __init__(self, event: Callable[[], Any], synchronize: Callable[[], object]) -> None:
        self._event = event
        self._synchronize = synchronize

    def time_ns(self, call: Arm) -> int:
        """Return the duration of one call in nanoseconds of device time."""
        start, end = self._event(), self._event()
        self._synchronize()
        start.record()
        call()
        end.record()
        end.synchronize()
        return round(start.elapsed_time(end) * 1e6)


def clock_for(device: str) -> CpuClock | CudaClock:
    """Return the clock of a device ("cpu", "cuda", "cuda:1").

    Raises:
        UserError: CUDA is asked for and not there, or the device is unknown.
    """
    if device == "cpu":
        return CpuClock()
    if not device.startswith("cuda"):
        raise UserError(f"cannot time on device {device!r}", fix="use 'cpu' or 'cuda'")
    import torch

    if not torch.cuda.is_available():
        raise UserError(
            f"device {device!r} was asked for, but torch sees no CUDA device",
            fix="run on a machine with an NVIDIA GPU or set device to 'cpu'",
        )

    def event() -> Any:
        return torch.cuda.Event(enable_timing=True)

    return CudaClock(event, lambda: torch.cuda.synchronize(device))


def measure_interleaved(
    arms: Mapping[str, Arm],
    *,
    repeats: int | Mapping[str, int],
    rng: np.random.Generator,
    device: str = "cpu",
    warmup: Warmup = Warmup(),
    threads: int | None = None,
    before_each: Arm | None = None,
    clock: CpuClock | CudaClock | None = None,
) -> Latency:
    """Time arms against each other in one process.

    Args:
        arms: Name -> a call on fixed inputs; what it returns is dropped.
        repeats: Samples per arm. With one number per arm, an arm with fewer samples takes part in
            rounds spread evenly over the whole measurement.
        rng: Draws which arm plays which part of the design, and the order of its rounds.
        device: Where the arms run; decides the clock.
        warmup: When an arm counts as warm.
        threads: The pinned number of threads; None only records what is set.
        before_each: Untimed call before every sample, such as `touch_buffer` for a cold cache.
        clock: Overrides the device's clock.

    Raises:
        UserError: A library uses another number of threads than `threads`.
        ValueError: No arms, or an arm without repeats.
    """
    counts = _counts(arms, repeats)
    pinned = _threads_in_use(threads)
    timer = clock or clock_for(device)
    samples: dict[str, list[int]] = {name: [] for name in arms}
    rounds: dict[str, list[int]] = {name: [] for name in arms}
    order: list[str] = []
    calls: dict[str, int] = {}
    stable: dict[str, bool] = {}
    with collector_paused():
        for name, arm in arms.items():
            calls[name], stable[name] = _warm_up(arm, timer, warmup)
        for index, members in enumerate(schedule(counts, rng)):
            for name in members:
                if before_each is not None:
                    before_each()
                samples[name].append(timer.time_ns(arms[name]))
                rounds[name].append(index)
                order.append(name)
    return Latency(
        samples_ns={name: np.array(values, dtype=np.int64) for name, values in samples.items()},
        rounds={name: np.array(values, dtype=np.int64) for name, values in rounds.items()},
        order=order,
        warmup_calls=calls,
        stable=stable,
        threads=pinned,
        device=device,
    )


def williams_rows(count: int) -> list[list[int]]:
    """Return the rows of a Williams design of `count` treatments.

    Each treatment stands equally often at every position and follows every other one equally often
    (Williams 1949): `count` rows if it is even, the rows and their mirror images if it is odd.
    """
    first = [0]
    for step in range(1, count):
        first.append((count - step // 2) % count if step % 2 == 0 else (step + 1) // 2)
    rows = [[(entry + shift) % count for entry in first] for shift in range(count)]
    if count % 2 == 1 and count > 1:
        rows += [row[::-1] for row in rows]
    return rows


def schedule(counts: Mapping[str, int], rng: np.random.Generator) -> Iterator[list[str]]:
    """Yield the arms of each round in the order they are to be timed.

    Args:
        counts: Arm -> its number of samples; the largest is the number of rounds.
        rng: Relabels the design and shuffles its rows, anew for every block of rounds.
    """
    names = list(counts)
    total = max(counts.values())
    # Evenly spread: arm k takes part in the rounds where floor(r * n_k / total) increases.
    takes_part = {
        name: {(2 * i + 1) * total // (2 * n) for i in range(n)} for name, n in counts.items()
    }
    block: list[list[str]] = []
    for index in range(total):
        if not block:
            labels = [names[i] for i in rng.permutation(len(names))]
            rows = williams_rows(len(names))
            block = [[labels[entry] for entry in rows[r]] for r in rng.permutation(len(rows))]
        yield [name for name in block.pop() if index in takes_part[name]]


def once(call: Callable[[], Any]) -> tuple[Any, float]:
    """Return one call's result and its seconds: a pilot to plan repeats with, not a result."""
    start = time.perf_counter_ns()
    result = call()
    return result, (time.perf_counter_ns() - start) * 1e-9


def planted_slowdown(
    call: Arm, fraction: float, synchronize: Callable[[], object] | None = None
) -> Arm:
    """Return `call` made slower by a known fraction: the positive control of a measurement.

    Args:
        call: The arm to slow down.
        fraction: 0.05 makes every call take 1.05 times as long, by spinning on the host.
        synchronize: Waits for the device where the call is asynchronous.
    """

    def slowed() -> object:
        start = time.perf_counter_ns()
        result = call()
        if synchronize is not None:
            synchronize()
        now = time.perf_counter_ns()
        end = now + round((now - start) * fraction)
        while time.perf_counter_ns() < end:
            pass
        return result

    return slowed


def touch_buffer(nbytes: int, device: str = "cpu") -> Arm:
    """Return a call that writes a buffer of `nbytes` (twice the last cache level: a cold cache)."""
    if device != "cpu":
        import torch

        on_device = torch.zeros(max(nbytes // 8, 1), dtype=torch.int64, device=device)
        return lambda: on_device.add_(1)
    buffer = np.zeros(max(nbytes // 8, 1), dtype=np.int64)

    def touch() -> None:
        np.add(buffer, 1, out=buffer)

    return touch


@contextmanager
def collector_paused() -> Iterator[None]:
    """Collect garbage once, then keep the collector off inside the block."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _warm_up(arm: Arm, timer: CpuClock | CudaClock, warmup: Warmup) -> tuple[int, bool]:
    """Call an arm until its last calls agree; return the number of calls and whether they did."""
    last: deque[int] = deque(maxlen=warmup.window)
    spent_ns = 0
    for call in range(1, warmup.max_calls + 1):
        duration = timer.time_ns(arm)
        last.append(duration)
        spent_ns += duration
        if len(last) == warmup.window and np.std(last) < warmup.cv * np.mean(last):
            return call, True
        if spent_ns > warmup.max_s * 1e9:
            return call, False
    return warmup.max_calls, False


def _counts(arms: Mapping[str, Arm], repeats: int | Mapping[str, int]) -> dict[str, int]:
    if not arms:
        raise ValueError("nothing to measure: no arms")
    counts = {name: repeats if isinstance(repeats, int) else repeats[name] for name in arms}
    empty: Sequence[str] = [name for name, count in counts.items() if count < 1]
    if empty:
        raise ValueError(f"arm {empty[0]!r} needs at least one repeat")
    return counts


def _threads_in_use(expected: int | None) -> dict[str, int]:
    """Return the threads of the imported libraries; refuse any that differs from `expected`."""
    found: dict[str, int] = {}
    if "torch" in sys.modules:
        found["torch"] = sys.modules["torch"].get_num_threads()
    elif "OMP_NUM_THREADS" in os.environ:
        found["OMP_NUM_THREADS"] = int(os.environ["OMP_NUM_THREADS"].split(",")[0])
    if "numba" in sys.modules:
        found["numba"] = sys.modules["numba"].get_num_threads()
    wrong = {name: count for name, count in found.items() if count != expected}
    if expected is not None and wrong:
        name, count = next(iter(wrong.items()))
        raise UserError(
            f"{name} uses {count} threads, the measurement is specified for {expected}",
            fix="call seqlab.threads.pin_threads before importing torch or numba",
        )
    return found

"""Interleaved timing: balance, warm-up, clocks, and the planted control."""

from __future__ import annotations

import gc
import time
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqlab.errors import UserError
from seqlab.measure import latency
from seqlab.measure.latency import CudaClock, Warmup, measure_interleaved

NO_WARMUP = Warmup(window=1, cv=1.0, max_calls=1)


class VirtualClock:
    """Stands in for `time`: reading it takes 100 ns, and only the test lets more pass."""

    def __init__(self) -> None:
        self.now_ns = 0

    def perf_counter_ns(self) -> int:
        self.now_ns += 100
        return self.now_ns


class ListClock:
    """A clock that reads durations from the arms' own list, so that tests need no real time."""

    def time_ns(self, call) -> int:
        return int(call())


def constant(value: int):
    return lambda: value


@given(st.integers(1, 9))
def test_williams_rows_balance_position_and_carry_over(count: int) -> None:
    rows = latency.williams_rows(count)
    for position in range(count):
        seen = Counter(row[position] for row in rows)
        assert seen == dict.fromkeys(range(count), len(rows) // count)
    follows = Counter(pair for row in rows for pair in pairwise(row))
    if count > 1:
        assert len(follows) == count * (count - 1)
        assert len(set(follows.values())) == 1


@given(
    counts=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    seed=st.integers(0, 1000),
)
def test_the_schedule_gives_each_arm_its_samples(counts: list[int], seed: int) -> None:
    wanted = {f"arm{i}": count for i, count in enumerate(counts)}
    rounds = list(latency.schedule(wanted, np.random.default_rng(seed)))
    assert Counter(name for members in rounds for name in members) == wanted
    assert len(rounds) == max(counts)
    assert all(len(set(members)) == len(members) for members in rounds)


def test_a_rare_arm_is_spread_over_the_whole_measurement() -> None:
    rounds = list(latency.schedule({"a": 30, "b": 3}, np.random.default_rng(0)))
    where = [index for index, members in enumerate(rounds) if "b" in members]
    assert where == [5, 15, 25]


def test_samples_rounds_and_order_describe_the_same_calls() -> None:
    result = measure_interleaved(
        {"a": constant(10), "b": constant(20), "c": constant(30)},
        repeats=6,
        rng=np.random.default_rng(1),
        warmup=NO_WARMUP,
        clock=ListClock(),
    )
    assert result.samples_ns["b"].dtype == np.int64
    np.testing.assert_array_equal(result.samples_ns["b"], [20] * 6)
    np.testing.assert_array_equal(result.rounds["a"], np.arange(6))
    positions = Counter((name, index % 3) for index, name in enumerate(result.order))
    assert set(positions.values()) == {2}
    assert result.median_s("c") == pytest.approx(30e-9)
    assert result.mean_s("a") == pytest.approx(10e-9)
    arrays = result.to_arrays()
    assert list(arrays["order"]) == result.order
    np.testing.assert_array_equal(arrays["c/ns"], [30] * 6)


def test_the_same_generator_gives_the_same_order() -> None:
    arms = {"a": constant(1), "b": constant(1), "c": constant(1)}
    orders = [
        measure_interleaved(
            arms,
            repeats=9,
            rng=np.random.default_rng(5),
            warmup=NO_WARMUP,
            clock=ListClock(),
        ).order
        for _ in range(2)
    ]
    assert orders[0] == orders[1]


def test_warming_up_ends_when_the_last_calls_agree() -> None:
    cold = iter([1000, 900, 500, 300] + [100] * 100)
    result = measure_interleaved(
        {"a": lambda: next(cold), "b": constant(7)},
        repeats=2,
        rng=np.random.default_rng(0),
        warmup=Warmup(window=10, cv=0.02, max_calls=50),
        clock=ListClock(),
    )
    assert result.warmup_calls == {"a": 14, "b": 10}
    assert result.stable == {"a": True, "b": True}
    np.testing.assert_array_equal(result.samples_ns["a"], [100, 100])


def test_an_arm_that_never_settles_is_reported_as_unstable() -> None:
    noisy = iter([100, 300] * 100)
    result = measure_interleaved(
        {"a": lambda: next(noisy)},
        repeats=1,
        rng=np.random.default_rng(0),
        warmup=Warmup(max_calls=12),
        clock=ListClock(),
    )
    assert result.warmup_calls["a"] == 12
    assert result.stable["a"] is False


def test_warming_up_a_slow_arm_stops_at_its_seconds() -> None:
    result = measure_interleaved(
        {"a": constant(2_000_000_000)},
        repeats=1,
        rng=np.random.default_rng(0),
        warmup=Warmup(max_s=3.0),
        clock=ListClock(),
    )
    assert result.warmup_calls["a"] == 2


def test_the_call_before_each_sample_is_not_timed_but_happens() -> None:
    calls: list[str] = []

    def arm() -> int:
        calls.append("arm")
        return 1

    measure_interleaved(
        {"a": arm},
        repeats=3,
        rng=np.random.default_rng(0),
        warmup=NO_WARMUP,
        before_each=lambda: calls.append("flush"),
        clock=ListClock(),
    )
    assert calls == ["arm", "flush", "arm", "flush", "arm", "flush", "arm"]


def test_the_collector_is_off_while_timing_and_back_on_after_an_error() -> None:
    seen: list[bool] = []

    def arm() -> int:
        seen.append(gc.isenabled())
        raise RuntimeError("broken arm")

    with pytest.raises(RuntimeError, match="broken arm"):
        measure_interleaved({"a": arm}, repeats=1, rng=np.random.default_rng(0), clock=ListClock())
    assert seen == [False]
    assert gc.isenabled()


def test_cpu_clock_measures_real_time() -> None:
    assert latency.CpuClock().time_ns(lambda: time.sleep(0.005)) >= 5_000_000


class FakeEvent:
    """Stands for torch.cuda.Event: the device's time advances only when work is submitted."""

    device_ms = 0.0
    log: list[str] = []  # noqa: RUF012 - shared on purpose, cleared by the test

    def __init__(self) -> None:
        self.at = -1.0

    def record(self) -> None:
        self.at = FakeEvent.device_ms
        FakeEvent.log.append("record")

    def synchronize(self) -> None:
        FakeEvent.log.append("wait")

    def elapsed_time(self, end: FakeEvent) -> float:
        return end.at - self.at


def test_cuda_clock_synchronises_and_reads_device_time() -> None:
    FakeEvent.log.clear()

    def work() -> None:
        FakeEvent.device_ms += 2.5
        FakeEvent.log.append("work")

    clock = CudaClock(FakeEvent, lambda: FakeEvent.log.append("idle"))
    assert clock.time_ns(work) == 2_500_000
    assert FakeEvent.log == ["idle", "record", "work", "record", "wait"]


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(UserError, match="tpu"):
        latency.clock_for("tpu")


def test_cuda_without_a_gpu_is_refused() -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(UserError, match="no CUDA device"):
        latency.clock_for("cuda")


def test_a_planted_slow_down_is_recovered(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = VirtualClock()
    monkeypatch.setattr(latency, "time", clock)

    def work() -> None:
        clock.now_ns += 300_000

    result = measure_interleaved(
        {"plain": work, "planted": latency.planted_slowdown(work, 0.2)},
        repeats=25,
        rng=np.random.default_rng(0),
        warmup=NO_WARMUP,
    )
    assert result.median_s("planted") / result.median_s("plain") == pytest.approx(1.2, abs=0.002)


def test_planting_waits_for_an_asynchronous_call_and_keeps_the_result() -> None:
    waited: list[bool] = []
    call = latency.planted_slowdown(lambda: 42, 0.05, synchronize=lambda: waited.append(True))
    assert call() == 42
    assert waited == [True]


def test_wrong_thread_count_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.get_num_threads", lambda: 3)
    with pytest.raises(UserError, match="torch uses 3 threads"):
        measure_interleaved(
            {"a": constant(1)},
            repeats=1,
            rng=np.random.default_rng(0),
            threads=2,
            clock=ListClock(),
        )


def test_an_arm_without_repeats_and_no_arms_are_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="'a' needs at least one"):
        measure_interleaved({"a": constant(1)}, repeats=0, rng=rng)
    with pytest.raises(ValueError, match="no arms"):
        measure_interleaved({}, repeats=1, rng=rng)


def test_touching_a_buffer_writes_all_of_it() -> None:
    touch = latency.touch_buffer(1 << 12)
    touch()
    buffer = touch.__closure__[0].cell_contents
    assert buffer.nbytes == 1 << 12
    assert (buffer == 1).all()

"""The bench harness: agreement first, rows complete, intervals that cover."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest

from seqlab.bench import available, harness
from seqlab.measure import latency as latency_module
from seqlab.measure.latency import Latency

KEYS = {
    "name", "case", "ours_s", "peer", "peer_s", "ratio", "ratio_ci", "agree", "limit",
    "limit_fraction",
}  # fmt: skip


class VirtualClock:
    """Stands in for `time` where durations are measured: only the arms let it pass."""

    def __init__(self) -> None:
        self.now_ns = 0

    def perf_counter_ns(self) -> int:
        return self.now_ns

    def spin(self, seconds: float, result: int = 0) -> Callable[[], int]:
        def call() -> int:
            self.now_ns += round(seconds * 1e9)
            return result

        return call


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> VirtualClock:
    virtual = VirtualClock()
    monkeypatch.setattr(latency_module, "time", virtual)
    return virtual


def latency_of(samples: dict[str, list[int]], rounds: dict[str, list[int]]) -> Latency:
    return Latency(
        samples_ns={name: np.array(values) for name, values in samples.items()},
        rounds={name: np.array(values) for name, values in rounds.items()},
        order=[],
        warmup_calls={},
        stable={},
        threads={},
        device="cpu",
    )


def test_rows_carry_every_key_and_the_planted_ratio(clock: VirtualClock) -> None:
    rows = list(
        harness.compare(
            "demo",
            "B1",
            clock.spin(0.001, 7),
            {"twice": clock.spin(0.002, 7), "wrong": clock.spin(0.001, 8)},
            agree=lambda ours, theirs: ours == theirs,
            plan=harness.Plan(0.3, most=20),
            rng=np.random.default_rng(0),
            limit_s=0.0005,
        )
    )
    twice, wrong = rows
    assert set(twice) >= KEYS
    assert (twice["peer"], wrong["peer"]) == ("twice", "wrong")
    assert (twice["agree"], wrong["agree"]) == (True, False)
    assert twice["ratio"] == pytest.approx(2.0)
    assert twice["ratio_ci"][0] <= twice["ratio"] <= twice["ratio_ci"][1]
    assert twice["limit_fraction"] == pytest.approx(0.0005 / twice["ours_s"])
    assert json.loads(json.dumps(rows)) == rows


def test_agreement_is_checked_before_anything_is_repeated() -> None:
    log: list[str] = []

    def ours() -> None:
        log.append("ours")

    def peer() -> None:
        log.append("peer")

    def agree(_ours: object, _theirs: object) -> bool:
        log.append("agree")
        return True

    plan = harness.Plan.of(True, 0.01)
    rng = np.random.default_rng(0)
    list(harness.compare("demo", "x", ours, {"peer": peer}, agree=agree, plan=plan, rng=rng))
    first = log.index("agree")
    assert log[first - 1] == "peer"
    assert log.count("agree") == 1
    assert log[:first].count("peer") == 1


def test_a_slow_peer_is_called_fewer_times_than_ours(clock: VirtualClock) -> None:
    rows = harness.compare(
        "demo",
        "x",
        clock.spin(0.0002),
        {"slow": clock.spin(0.03)},
        agree=lambda ours, theirs: ours == theirs,
        plan=harness.Plan(0.2, most=40),
        rng=np.random.default_rng(0),
    )
    (row,) = rows
    assert row["n_peer"] == 3
    assert row["n_ours"] > row["n_peer"]
    assert row["limit"] is None and row["limit_fraction"] is None


def test_the_interval_of_identical_constant_arms_is_one() -> None:
    latency = latency_of({"a": [5] * 8, "b": [5] * 8}, {"a": list(range(8)), "b": list(range(8))})
    assert harness.ratio_interval(latency, "a", "b", np.random.default_rng(0)) == (1.0, 1.0)


def test_drift_common_to_both_arms_cancels_when_rounds_are_shared() -> None:
    drift = [100, 200, 400, 800, 1600]
    rounds = {"a": list(range(5)), "b": list(range(5))}
    latency = latency_of({"a": drift, "b": [3 * value for value in drift]}, rounds)
    assert harness.ratio_interval(latency, "a", "b", np.random.default_rng(0)) == (3.0, 3.0)


def test_the_interval_covers_the_true_ratio_about_95_times_in_100() -> None:
    rng = np.random.default_rng(3)
    covered = 0
    trials = 200
    for _ in range(trials):
        a = np.exp(rng.normal(10, 0.1, 40))
        b = 1.5 * np.exp(rng.normal(10, 0.1, 20))
        rounds = {"a": list(range(40)), "b": list(range(0, 40, 2))}
        low, high = harness.ratio_interval(
            latency_of({"a": a, "b": b}, rounds), "a", "b", rng, resamples=200
        )
        covered += low <= 1.5 <= high
    assert 0.88 <= covered / trials <= 0.995


def test_an_unavailable_peer_says_why_and_has_every_key() -> None:
    row = harness.unavailable("demo", "B1", "other", "not installed")
    assert set(row) >= KEYS
    assert row["ratio"] is None
    assert row["reason"] == "not installed"


def test_benches_are_listed_without_the_harness() -> None:
    names = available()
    assert "harness" not in names
    assert names == sorted(names)
    assert "decode" in names

"""Time ours against peers in one process and say it in rows.

Input: our call and the peers' calls on the same input, and a check of agreement. Output: one row
per peer, `{name, case, ours_s, peer, peer_s, ratio, ratio_ci, agree, limit, limit_fraction}` with

- `ours_s`, `peer_s`: medians in seconds; `ratio` = peer_s / ours_s (above 1: ours is faster);
- `ratio_ci`: 95 % interval of the ratio of medians, bootstrapped over the interleaved rounds;
- `agree`: whether the results agreed, checked before anything was timed;
- `limit`: seconds the machine's measured roofline would need for this work, `limit_fraction` =
  limit / ours_s; null where no roofline applies;
- and, beyond the common keys, `n_ours`, `n_peer`, `ours_min_s`, `peer_min_s`, `threads`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from seqlab.measure.latency import Arm, Latency, Warmup, measure_interleaved, once
from seqlab.measure.roofline import copy_bandwidth, matmul_roofline, read_bandwidth

__all__ = [
    "Plan",
    "compare",
    "copy_bandwidth",
    "matmul_roofline",
    "ratio_interval",
    "read_bandwidth",
    "unavailable",
]

_OURS = "ours"
_RESAMPLES = 2000


@dataclass(frozen=True)
class Plan:
    """How much a comparison may measure.

    Attributes:
        budget_s: Seconds of timed calls, shared equally by ours and every peer.
        most: Most samples per arm.
        fewest: Fewest samples per arm, whatever the budget: a slow peer still gets an interval.
    """

    budget_s: float
    most: int = 60
    fewest: int = 3

    @classmethod
    def of(cls, quick: bool, budget_s: float) -> Plan:
        """Return the plan of a quick run (tests) or of a full one."""
        return cls(min(budget_s, 0.5), most=3, fewest=2) if quick else cls(budget_s)


def compare(
    name: str,
    case: str,
    ours: Callable[[], Any],
    peers: Mapping[str, Callable[[], Any]],
    *,
    agree: Callable[[Any, Any], bool],
    plan: Plan,
    rng: np.random.Generator,
    limit_s: float | None = None,
    threads: int | None = None,
    device: str = "cpu",
) -> Iterator[dict[str, Any]]:
    """Check that ours agrees with every peer, then time all of them interleaved.

    Args:
        name: The bench.
        case: The input, such as "B4 L256".
        ours: Our call; it must return what `agree` compares.
        peers: Name -> the peer's call on the same input.
        agree: (our result, peer's result) -> whether they agree.
        plan: How much to measure.
        rng: Balances the order and draws the bootstrap.
        limit_s: Roofline of this work in seconds.
        threads: The pinned number of threads, asserted.
        device: Where the calls run.

    Yields:
        One row per peer, in the order of `peers`.

    Raises:
        ValueError: A peer has the name of our own arm.
    """
    if _OURS in peers:
        raise ValueError(f"a peer cannot be called {_OURS!r}")
    result = ours()
    # The first call may compile; what the second one takes is what the others will.
    expected_s = {_OURS: once(ours)[1]}
    agreed: dict[str, bool] = {}
    for peer, call in peers.items():
        theirs, first_s = once(call)
        agreed[peer] = bool(agree(result, theirs))
        expected_s[peer] = _pilot(call, first_s, plan)
    # The agreement check already called every arm, so slow ones need no more warming up.
    warm_s = plan.budget_s / (10 * len(expected_s))
    warm_calls = 10 if min(expected_s.values()) < warm_s else 0
    latency = measure_interleaved(
        {_OURS: ours, **peers},
        repeats=_repeats(expected_s, plan),
        rng=rng,
        device=device,
        warmup=Warmup(max_calls=warm_calls, max_s=warm_s),
        threads=threads,
    )
    for peer in peers:
        yield _row(name, case, peer, latency, agreed[peer], limit_s, rng)


def unavailable(name: str, case: str, peer: str, reason: str) -> dict[str, Any]:
    """Return the row of a peer that cannot run here; `reason` says why."""
    keys = ("ours_s", "peer_s", "ratio", "ratio_ci", "agree", "limit", "limit_fraction")
    return {"name": name, "case": case, "peer": peer, **dict.fromkeys(keys), "reason": reason}


def ratio_interval(
    latency: Latency, ours: str, peer: str, rng: np.random.Generator, resamples: int = _RESAMPLES
) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of median(peer) / median(ours).

    Rounds in which both took part are drawn jointly, so that drift common to both cancels; rounds
    of the more frequent arm alone are drawn beside them.
    """
    together = np.intersect1d(latency.rounds[ours], latency.rounds[peer])
    joint = rng.integers(0, len(together), (resamples, len(together)))
    medians = {arm: _resampled_medians(latency, arm, together, joint, rng) for arm in (ours, peer)}
    low, high = np.quantile(medians[peer] / medians[ours], [0.025, 0.975])
    return float(low), float(high)


def _resampled_medians(
    latency: Latency,
    arm: str,
    together: np.ndarray,
    joint: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    shared = np.isin(latency.rounds[arm], together)
    paired = latency.samples_ns[arm][shared]
    alone = latency.samples_ns[arm][~shared]
    drawn = paired[joint] if len(paired) else np.empty((len(joint), 0))
    if len(alone):
        extra = alone[rng.integers(0, len(alone), (len(joint), len(alone)))]
        drawn = np.concatenate([drawn, extra], axis=1)
    return np.median(drawn, axis=1)


def _pilot(call: Arm, first_s: float, plan: Plan) -> float:
    """Return the seconds a peer's call will take; its first one may include compilation."""
    return min(first_s, once(call)[1]) if first_s < plan.budget_s / 10 else first_s


def _repeats(expected_s: Mapping[str, float], plan: Plan) -> dict[str, int]:
    share = plan.budget_s / len(expected_s)
    return {
        arm: int(np.clip(share / max(seconds, 1e-9), plan.fewest, plan.most))
        for arm, seconds in expected_s.items()
    }


def _row(
    name: str,
    case: str,
    peer: str,
    latency: Latency,
    agreed: bool,
    limit_s: float | None,
    rng: np.random.Generator,
) -> dict[str, Any]:
    ours_s, peer_s = latency.median_s(_OURS), latency.median_s(peer)
    return {
        "name": name,
        "case": case,
        "ours_s": ours_s,
        "peer": peer,
        "peer_s": peer_s,
        "ratio": peer_s / ours_s,
        "ratio_ci": list(ratio_interval(latency, _OURS, peer, rng)),
        "agree": agreed,
        "limit": limit_s,
        "limit_fraction": None if limit_s is None else limit_s / ours_s,
        "n_ours": len(latency.samples_ns[_OURS]),
        "n_peer": len(latency.samples_ns[peer]),
        "ours_min_s": latency.min_s(_OURS),
        "peer_min_s": latency.min_s(peer),
        "threads": latency.threads,
    }

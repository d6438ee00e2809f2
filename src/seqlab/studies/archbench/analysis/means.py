"""What each architecture reached: means over runs with intervals, ranks, and the front of cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from seqlab.stats.bootstrap import Interval, bootstrap_interval, expanded_level
from seqlab.stats.contrast import DEGENERATE
from seqlab.stats.paired import IDENTICAL
from seqlab.stats.pareto import non_dominated
from seqlab.studies.archbench.analysis.frames import (
    ABOVE_ALONE,
    ABOVE_GREEDY,
    CORRECTED,
    GLITCH_RATE,
    Row,
    trained_runs,
)
from seqlab.studies.archbench.architectures import GROUPS
from seqlab.studies.archbench.tasks_spec import TRAINED

# An architecture has solved a task in a run that is at least this accurate.
SOLVED = 0.9
_RESAMPLES = 9999
_FRONT_RESAMPLES = 2000
MEASURED = (
    "accuracy",
    CORRECTED,
    "legal_accuracy",
    ABOVE_ALONE,
    ABOVE_GREEDY,
    "perplexity",
    "compute_s",
    "exact",
    GLITCH_RATE,
    "item_f1",
    "value_exact",
    "value_error",
    "value_ratio",
    "infeasible",
)
# Metrics whose mean is geometric: one bad run would decide the other one.
_GEOMETRIC = ("perplexity",)
# Rows without a test.
DESCRIBED = "described"


def mean_rows(found: pd.DataFrame, *, item: str, alpha: float, seed: int) -> Iterator[Row]:
    """Yield the mean of every metric of every architecture under every condition."""
    rng = np.random.default_rng(seed)
    keys = ["task", "condition", "architecture", "local", "device"]
    for key, part in found.groupby(keys, sort=False):
        labels = dict(zip(keys, map(str, key), strict=True))
        for metric in MEASURED:
            if metric not in part or part[metric].isna().all():
                continue
            values = part[metric].dropna().to_numpy(dtype=float)
            back = np.exp if metric in _GEOMETRIC else np.asarray
            averaged = np.log(values) if metric in _GEOMETRIC else values
            row: Row = {
                "item": item,
                "contrast": "mean",
                "task": labels["task"],
                "condition": labels["condition"],
                "model": labels["architecture"],
                "treatment": f"{labels['architecture']}-{labels['local']}",
                "metric": metric,
                "provenance": "measured",
                "device": labels["device"],
                "n": len(values),
                "estimate": float(back(averaged.mean())),
                "median": float(np.median(values)),
                "least": float(values.min()),
                "most": float(values.max()),
                "verdict": DESCRIBED,
                "reason": "",
            }
            if len(values) > 1 and np.ptp(values) == 0:
                row |= {"verdict": DEGENERATE, "reason": IDENTICAL}
            if len(values) > 1:
                row["sd"] = float(values.std(ddof=1))
                interval = interval_of_mean(averaged, rng, alpha)
                row |= {
                    "ci_low": float(back(interval.low)),
                    "ci_high": float(back(interval.high)),
                    "test": f"bootstrap, {interval.method}",
                }
            if metric == "accuracy":
                row["share"] = float((values >= SOLVED).mean())
            yield row


def front_rows(
    found: pd.DataFrame, tasks: Sequence[str], *, item: str, seed: int, learned: float
) -> Iterator[Row]:
    """Yield for each architecture whether no other is both as accurate and as cheap.

    `estimate` is the share of joint resamples of seeds in which it is on the front; the cost is the
    time of training. The cheapest is on the front whatever it has learned: for a group those count
    alone whose mean accuracy above the floor is at least `learned`.
    """
    rng = np.random.default_rng(seed)
    for task in tasks:
        part = trained_runs(found, task)
        if part.empty:
            continue
        accuracy = part.pivot_table(
            index="seed", columns="architecture", values="accuracy"
        ).dropna()
        cost = part.pivot_table(index="seed", columns="architecture", values="compute_s").loc[
            accuracy.index
        ]
        index = rng.integers(0, len(accuracy), (_FRONT_RESAMPLES, len(accuracy)))
        points = np.stack(
            (-accuracy.to_numpy()[index].mean(1), cost.to_numpy()[index].mean(1)), axis=-1
        )
        among = non_dominated(points)
        often = among.mean(0)
        own = np.stack((-accuracy.mean().to_numpy(), cost.mean().to_numpy()), axis=-1)
        front = non_dominated(own)
        ranks = accuracy.mean().rank(ascending=False, method="average")
        reached = part.groupby("architecture")[CORRECTED].mean()[accuracy.columns]
        common = {
            "item": item,
            "task": task,
            "condition": TRAINED,
            "metric": "accuracy against compute_s",
            "provenance": "measured",
            "device": part["device"].iloc[0],
            "n": len(accuracy),
            "test": f"{_FRONT_RESAMPLES} joint resamples of seeds",
        }
        for place, name in enumerate(accuracy.columns):
            yield common | {
                "contrast": "front",
                "model": name,
                "treatment": name,
                "estimate": float(often[place]),
                "rank": float(ranks[name]),
                "verdict": "on the front" if front[place] else "dominated",
                "reason": "",
            }
        for group, names in GROUPS.items():
            own = accuracy.columns.isin(names)
            counted = own & (reached >= learned).to_numpy()
            if own.any():
                yield common | {
                    "contrast": "front_of_group",
                    "model": group,
                    "treatment": "+".join(accuracy.columns[own]),
                    "estimate": float(among[:, counted].any(1).mean()),
                    "verdict": DESCRIBED,
                    "reason": "resamples in which one of them that has learned the task is on "
                    "the front",
                }


def solver_rows(solvers: pd.DataFrame, tasks: Sequence[str], *, item: str) -> Iterator[Row]:
    """Yield what those reach who need no training, under every condition."""
    for _, row in solvers[solvers["task"].isin(tasks)].iterrows():
        yield {
            "item": item,
            "contrast": "solver",
            "task": row["task"],
            "condition": row["condition"],
            "model": row["metric"],
            "treatment": row["metric"],
            "metric": "accuracy",
            "provenance": "counted",
            "device": row["device"],
            "n": 1,
            "estimate": row["value"],
            "verdict": DESCRIBED,
        }


def columns_of(found: pd.DataFrame, metric: str, names: Sequence[str]) -> pd.DataFrame:
    """Return seeds x architectures of one metric, of the architectures that have every seed."""
    wide = found.pivot_table(index="seed", columns="architecture", values=metric)
    return wide[[name for name in names if name in wide]].dropna(axis=1)


def interval_of_mean(values: np.ndarray, rng: np.random.Generator, alpha: float) -> Interval:
    """Return a BCa interval of the mean over runs, of a level expanded for few of them.

    No resample leaves the range of the runs: of three runs of a symmetric law even the whole range
    covers the mean 3 times in 4, of five 15 times in 16.
    """
    return bootstrap_interval(
        values, _mean, rng=rng, resamples=_RESAMPLES, alpha=expanded_level(alpha, len(values))
    )


def _mean(*samples: np.ndarray, axis: int) -> np.ndarray:
    return np.asarray(samples[0].mean(axis=axis))

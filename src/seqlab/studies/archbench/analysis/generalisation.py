"""Beyond the training condition: how accuracy holds, and the level at which half of it is gone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import curve_fit

from seqlab.stats.bootstrap import expanded_level
from seqlab.stats.contrast import paired_contrast
from seqlab.studies.archbench.analysis.frames import CORRECTED, Row
from seqlab.studies.archbench.analysis.means import DESCRIBED, interval_of_mean
from seqlab.studies.archbench.analysis.rows import contrast_row, correct_whole_family
from seqlab.studies.archbench.distances import ACCURACY, DISTANCE
from seqlab.studies.archbench.tasks_spec import TRAINED

_RESAMPLES = 2000
_HALF = 0.5
# Two points are on every curve of two parameters.
_LEVELS = 3
CENSORED = "censored"
FloatArray = NDArray[np.float64]


def transfer_rows(
    found: pd.DataFrame,
    references: Mapping[str, Mapping[str, str]],
    *,
    item: str,
    alpha: float,
    margin: float,
    learned: float,
) -> Iterator[Row]:
    """Yield accuracy under every other condition minus that of its reference, paired by seed.

    Of accuracies above the floor, as a share of what is above it: floors differ between conditions,
    and who has learned nothing loses nothing but the floor. All conditions of one architecture on
    one task are a family.

    Args:
        found: Runs.
        references: Task -> condition -> what it is held against; the training condition where it
            has none.
        item: Item of the rows.
        alpha: Level of the tests.
        margin: Equivalence margin of an accuracy.
        learned: Where the reference has less than this on average there is nothing to lose, and
            the row is not evaluable.
    """
    for (task, name, local), part in found.groupby(["task", "architecture", "local"], sort=False):
        wide = part.pivot_table(index="seed", columns="condition", values=CORRECTED)
        others = [condition for condition in wide.columns if condition != TRAINED]
        against = [references.get(str(task), {}).get(c, TRAINED) for c in others]
        contrasts = [
            paired_contrast(wide[c].to_numpy(), wide[r].to_numpy(), margin=margin, alpha=alpha)
            for c, r in zip(others, against, strict=True)
        ]
        corrected = correct_whole_family(contrasts)
        for condition, reference, contrast in zip(others, against, corrected, strict=True):
            row = contrast_row(
                contrast,
                item=item,
                contrast="transfer",
                task=task,
                condition=condition,
                model=name,
                treatment=f"{name}-{local}",
                control=reference,
                metric=CORRECTED,
                provenance="measured",
                device=part["device"].iloc[0],
            )
            yield row | unless_learned(float(wide[reference].mean()), learned)


def unless_learned(reached: float, learned: float) -> Row:
    """Return the verdict of a row about a task that was not learned; nothing where it was.

    Args:
        reached: Mean accuracy above the floor, as a share of what is above it.
        learned: Least of it that counts.
    """
    if reached >= learned:
        return {}
    return {
        "verdict": "not_evaluable",
        "reason": f"not learned: {reached:.2f} of what is above the floor, {learned:g} wanted",
    }


def distance_rows(
    found: pd.DataFrame,
    conditions: Mapping[str, Sequence[str]],
    *,
    item: str,
    alpha: float,
    margin: float,
    seed: int,
) -> Iterator[Row]:
    """Yield accuracy by distance, and on the farthest tenth of the queries minus on the nearest.

    The differences of all architectures under one condition are a family.

    Args:
        found: Runs, with the metrics of `distances`.
        conditions: Task -> conditions.
        item: Item of the rows.
        alpha: Level of the tests.
        margin: Equivalence margin of an accuracy.
        seed: Of the resamples.
    """
    rng = np.random.default_rng(seed)
    for task, condition in ((task, c) for task, names in conditions.items() for c in names):
        own = found[(found["task"] == task) & (found["condition"] == condition)]
        own = own.dropna(axis=1, how="all")
        names = sorted(name for name in own.columns if name.startswith(ACCURACY))
        if len(names) < 2:
            continue
        parts = dict([*own.groupby(["architecture", "local"], sort=False)])
        common = {
            "item": item,
            "task": task,
            "condition": condition,
            "metric": "accuracy",
            "provenance": "measured",
        }
        for (name, local), part in parts.items():
            for metric in names:
                interval = interval_of_mean(part[metric].to_numpy(), rng, alpha)
                yield common | {
                    "contrast": "at_distance",
                    "model": name,
                    "treatment": f"{name}-{local}",
                    "device": part["device"].iloc[0],
                    "n": len(part),
                    "distance": part[metric.replace(ACCURACY, DISTANCE)].iloc[0],
                    "estimate": part[metric].mean(),
                    "ci_low": interval.low,
                    "ci_high": interval.high,
                    "test": f"bootstrap, {interval.method}",
                    "verdict": DESCRIBED,
                }
        contrasts = [
            paired_contrast(part[names[-1]], part[names[0]], margin=margin, alpha=alpha)
            for part in parts.values()
        ]
        for ((name, local), part), contrast in zip(
            parts.items(), correct_whole_family(contrasts), strict=True
        ):
            yield contrast_row(
                contrast,
                **common,
                contrast="far_and_near",
                model=name,
                treatment=f"{name}-{local}",
                device=part["device"].iloc[0],
            )


def half_level_rows(
    found: pd.DataFrame,
    levels: Mapping[str, int],
    over: Literal["task", "condition"],
    *,
    contrast: str,
    task: str,
    item: str,
    seed: int,
    alpha: float,
) -> Iterator[Row]:
    """Yield the level at which half of the chance-corrected accuracy is left.

    The fit is a logistic curve of accuracy over log2 of the level; seeds are resampled whole, and
    a resample that does not cross one half within the levels lies beyond them on its side.

    Args:
        found: Runs.
        levels: Name of a task or a condition -> its level.
        over: Which of the two.
        contrast: Name of the rows.
        task: Their task.
        item: Their item.
        seed: Of the resamples.
        alpha: One minus the coverage.
    """
    rng = np.random.default_rng(seed)
    part = found[found[over].isin([*levels])]
    for name, own in part.groupby("architecture", sort=False):
        wide = own.pivot_table(index="seed", columns=over, values=CORRECTED).dropna()
        x = np.log2([levels[str(key)] for key in wide.columns])
        if len(wide) < 2:
            continue
        order = np.argsort(x)
        x, curves = x[order], wide.to_numpy()[:, order]
        row: Row = {
            "item": item,
            "contrast": contrast,
            "task": task,
            "condition": "all",
            "model": name,
            "treatment": name,
            "metric": CORRECTED,
            "provenance": "measured",
            "device": own["device"].iloc[0],
            "n": len(curves),
            "test": "logistic fit over log2 of the level",
        }
        if len(x) < _LEVELS:
            yield row | {
                "provenance": "not_run",
                "verdict": "not_run",
                "reason": f"{len(x)} levels: a curve needs {_LEVELS}",
            }
            continue
        index = rng.integers(0, len(curves), (_RESAMPLES, len(curves)))
        # Few seeds have few distinct resamples: of five there are 126.
        distinct, which = np.unique(np.sort(index, axis=1), axis=0, return_inverse=True)
        resampled = np.array([half_level(x, curves[i].mean(0)) for i in distinct])[which.ravel()]
        within = np.isfinite(resampled) & (resampled > 0)
        row["share"] = float(within.mean())
        estimate = half_level(x, curves.mean(0))
        if not 0 < estimate < math.inf:
            side = "above" if estimate == math.inf else "below"
            yield row | {"verdict": CENSORED, "reason": f"no falling curve: {side} one half"}
            continue
        # Ends that are numbers of resamples: between a level and infinity there is no mean.
        tails = expanded_level(alpha, len(curves))
        low, high = np.quantile(resampled, [tails / 2, 1 - tails / 2], method="inverted_cdf")
        yield row | {
            "estimate": estimate,
            "ci_low": low,
            "ci_high": high,
            "verdict": DESCRIBED,
            "reason": f"{within.sum()} of {_RESAMPLES} resamples cross one half within the levels",
        }


def half_level(x: ArrayLike, y: ArrayLike) -> float:
    """Return where a logistic curve of `y` over log2 levels `x` is one half.

    Infinity where more than half is left at every level, and as little as 0 where at none.
    """
    log2, values = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    beyond = math.inf if values.mean() > _HALF else 0.0
    if not values.max() > _HALF > values.min():
        return beyond
    try:
        (middle, slope), _ = curve_fit(
            falling, log2, values, p0=(float(log2.mean()), 1.0), maxfev=2000
        )
    except RuntimeError:
        return beyond
    # A rising curve has no level from which on more than half is lost.
    inside = slope > 0 and log2.min() - 1 <= middle <= log2.max() + 1
    return float(2**middle) if inside else beyond


def falling(at: FloatArray, middle: float, slope: float) -> FloatArray:
    """Return a logistic curve over log2 levels that is one half at `middle`."""
    return np.asarray(1 / (1 + np.exp(np.clip(slope * (at - middle), -50, 50))))

"""How the cost of a step grows with the length: times, and slopes of log time on log length."""

from __future__ import annotations

from collections.abc import Hashable, Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from seqlab.measure.noise import noise_floor
from seqlab.stats.contrast import correct_family, paired_contrast
from seqlab.studies.archbench.analysis.frames import Row, require_one_device
from seqlab.studies.archbench.analysis.rows import contrast_row, statistics
from seqlab.studies.archbench.architectures import AGAIN
from seqlab.studies.archbench.steps_spec import AnalyseSpec


def analyse(observations: pd.DataFrame, spec: AnalyseSpec) -> pd.DataFrame:
    """Return mean times, slopes and what identical models differ by, over processes.

    Raises:
        UserError: The runs were made on several devices.
    """
    require_one_device(observations)
    table = observations.assign(
        architecture=observations["condition"].str.split("/").str[0],
        length=observations["condition"].str.split("/T").str[-1].astype(int),
    )
    twin = table["architecture"] == AGAIN
    timed, again = table[~twin], table[twin]
    same = timed[timed["architecture"] == spec.again]
    return statistics(
        [*_times(timed, spec.alpha), *_noise(again, same), *_slopes(timed, again, spec)]
    )


def _times(table: pd.DataFrame, alpha: float) -> Iterator[Row]:
    for (name, length), part in table.groupby(["architecture", "length"], sort=False):
        logs = np.log(part["value"].to_numpy(dtype=float))
        half = np.nan
        if len(logs) > 1:
            half = stats.t.ppf(1 - alpha / 2, len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs))
        yield _labels(part, "time", name, f"T{length}") | {
            "n": len(logs),
            "estimate": float(np.exp(logs.mean())),
            "ci_low": float(np.exp(logs.mean() - half)),
            "ci_high": float(np.exp(logs.mean() + half)),
        }


def _noise(again: pd.DataFrame, same: pd.DataFrame) -> Iterator[Row]:
    """Yield the ratio of an architecture timed twice, and how far from 1 its mean can lie."""
    for length, part in same.groupby("length"):
        own = again[again["length"] == length].set_index("seed")["value"]
        both = pd.concat((own, part.set_index("seed")["value"]), axis=1, keys=["own", "same"])
        floor = noise_floor(both["own"], both["same"])
        yield _labels(part, "aa", AGAIN, f"T{length}") | {
            "control": part["architecture"].iloc[0],
            "n": len(both),
            "estimate": float(np.exp(floor.bias)),
            "noise_limit": float(np.expm1(floor.mean_limit)),
        }


def _slopes(table: pd.DataFrame, again: pd.DataFrame, spec: AnalyseSpec) -> Iterator[Row]:
    """Yield d log(step time) / d log(length) at a fixed number of tokens; 0 is linear cost.

    The slopes of all architectures are a family.
    """
    parts = dict([*table.groupby("architecture", sort=False)])
    slopes = {name: _slope(part) for name, part in parts.items()}
    # A slope is the log of what an e-fold of the length multiplies the time by.
    noise = noise_floor(np.exp(_slope(again)), np.exp(slopes[spec.again])).mean_limit
    contrasts = [
        paired_contrast(
            slope,
            np.zeros_like(slope),
            margin=spec.slope_margin,
            noise_limit=noise,
            alpha=spec.alpha,
        )
        for slope in slopes.values()
    ]
    for (name, part), contrast in zip(parts.items(), correct_family(contrasts), strict=True):
        yield contrast_row(contrast, **_labels(part, "slope", name, "all"))


def _slope(part: pd.DataFrame) -> NDArray[np.float64]:
    """Return the slope of every process."""
    wide = np.log(part.pivot_table(index="seed", columns="length", values="value"))
    x = np.log(wide.columns.to_numpy(dtype=float))
    return np.asarray(np.polynomial.polynomial.polyfit(x, wide.to_numpy().T, 1)[1])


def _labels(part: pd.DataFrame, contrast: str, name: Hashable, condition: str) -> Row:
    return {
        "item": "archbench_fig13",
        "contrast": contrast,
        "task": "speed",
        "condition": condition,
        "model": name,
        "treatment": name,
        "metric": "step_ms",
        "provenance": "measured",
        "device": part["device"].iloc[0],
    }

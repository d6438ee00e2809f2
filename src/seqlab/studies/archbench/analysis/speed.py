"""How the cost of a step grows with the length: times, and slopes of log time on log length."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy import stats

from seqlab.stats.contrast import correct_family, paired_contrast
from seqlab.studies.archbench.analysis.frames import Row, contrast_row, statistics
from seqlab.studies.archbench.spec import AnalyseSpec

# Slopes closer to 0 than this are linear cost: over the lengths tested it is a tenth in time.
_MARGIN = 0.03


def analyse(observations: pd.DataFrame, spec: AnalyseSpec) -> pd.DataFrame:
    """Return mean times and slopes, over processes."""
    table = observations.assign(
        architecture=observations["condition"].str.split("/").str[0],
        length=observations["condition"].str.split("/T").str[-1].astype(int),
    )
    return statistics([*_times(table), *_slopes(table, spec)])


def _times(table: pd.DataFrame) -> Iterator[Row]:
    for (name, length), part in table.groupby(["architecture", "length"], sort=False):
        logs = np.log(part["value"].to_numpy(dtype=float))
        half = np.nan
        if len(logs) > 1:
            half = stats.t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs))
        yield {
            "item": "archbench_fig13",
            "contrast": "time",
            "task": "speed",
            "condition": f"T{length}",
            "model": name,
            "treatment": name,
            "metric": "step_ms",
            "provenance": "measured",
            "device": part["device"].iloc[0],
            "n": len(logs),
            "estimate": float(np.exp(logs.mean())),
            "ci_low": float(np.exp(logs.mean() - half)),
            "ci_high": float(np.exp(logs.mean() + half)),
        }


def _slopes(table: pd.DataFrame, spec: AnalyseSpec) -> Iterator[Row]:
    """Yield d log(step time) / d log(length) at a fixed number of tokens; 0 is linear cost.

    The slopes of all architectures are a family.
    """
    parts = dict([*table.groupby("architecture", sort=False)])
    contrasts = []
    for part in parts.values():
        wide = np.log(part.pivot_table(index="seed", columns="length", values="value"))
        x = np.log(wide.columns.to_numpy(dtype=float))
        slopes = np.polynomial.polynomial.polyfit(x, wide.to_numpy().T, 1)[1]
        contrasts.append(
            paired_contrast(slopes, np.zeros_like(slopes), margin=_MARGIN, alpha=spec.alpha)
        )
    for (name, part), contrast in zip(parts.items(), correct_family(contrasts), strict=True):
        yield contrast_row(
            contrast,
            item="archbench_fig13",
            contrast="slope",
            task="speed",
            condition="all",
            model=name,
            treatment=name,
            metric="step_ms",
            provenance="measured",
            device=part["device"].iloc[0],
        )

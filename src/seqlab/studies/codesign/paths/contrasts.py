"""Statistics of path dependence: contrasts at equal density and quality, and P7.

A contrast at equal quality is made only where every run found a match within the margin; else its
row is `not_evaluable` and says how far off the runs were. Leaving out single runs would keep those
in which the arms happen to be alike.

`tiles_slope` (P7) is, per run, the least-squares slope of log latency on log non-empty tiles over
all arms and densities, both over those of the dense model among the same arms; `tiles_slope_vs_1`
holds it against 1.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from seqlab.stats.contrast import LOWER_HIGHER, paired_contrast
from seqlab.studies.codesign.comparisons import STATISTICS, Comparison, compare
from seqlab.studies.codesign.paths.names import PRUNE_RANDOM, quality_level
from seqlab.studies.codesign.paths.spec import PathsAnalyseSpec
from seqlab.studies.codesign.workbench import names as arms

AA = (arms.DENSE_AA, arms.DENSE)
METRICS = ("latency_ms", "site_latency_ms", "tiles", "bits_per_byte")
COMPARISONS = (
    Comparison("iterative_vs_linear_PT", arms.ITERATIVE, arms.LINEAR_PT, METRICS),
    Comparison("iterative_vs_linear_TP", arms.ITERATIVE, arms.LINEAR_TP, METRICS),
    Comparison("linear_PT_vs_linear_TP", arms.LINEAR_PT, arms.LINEAR_TP, METRICS),
    Comparison("linear_PT_vs_algo_only", arms.LINEAR_PT, arms.ALGO_ONLY, METRICS),
    Comparison("linear_TP_vs_algo_only", arms.LINEAR_TP, arms.ALGO_ONLY, METRICS),
    Comparison("prune_random_vs_algo_only", PRUNE_RANDOM, arms.ALGO_ONLY, METRICS),
    Comparison("algo_only_vs_dense", arms.ALGO_ONLY, arms.DENSE, METRICS),
    Comparison("iterative_vs_dense", arms.ITERATIVE, arms.DENSE, METRICS),
    Comparison("aa", *AA, METRICS[:2]),
)
MATCHED = (
    "iterative_vs_linear_PT",
    "iterative_vs_linear_TP",
    "linear_PT_vs_linear_TP",
)
_SLOPE_POINTS = 2


def analyse(observations: pd.DataFrame, spec: PathsAnalyseSpec) -> pd.DataFrame:
    """Return all rows of the statistics.

    Args:
        observations: Rows of `collect_records`.
        spec: Level and margins.
    """
    matched = quality_level(spec.match.sparsity)
    faults = {
        (device, cell): _unmatched(part, spec)
        for (device, cell), part in observations.groupby(["device", "cell"], sort=False)
    }
    at_fault = [
        bool(faults[key]) for key in zip(observations["device"], observations["cell"], strict=True)
    ]
    refused = (observations["level"] == matched) & np.array(at_fault, dtype=bool)
    compared = compare(observations[~refused], COMPARISONS, spec, item="e20", aa=AA)
    rows: list[dict[str, object]] = []
    for (device, cell), part in observations.groupby(["device", "cell"], sort=False):
        place = {
            "item": "e20",
            "cell": cell,
            "model": part["model"].iloc[0],
            "kernel": part["kernel"].iloc[0],
            "provenance": "measured",
            "device": device,
        }
        if faults[device, cell]:
            rows += [place | row for row in _not_evaluable(matched, faults[device, cell], part)]
        rows += [place | row for row in _slopes(part[part["level"] != matched], spec)]
    return pd.concat([compared, pd.DataFrame(rows, columns=STATISTICS)], ignore_index=True)


def _unmatched(part: pd.DataFrame, spec: PathsAnalyseSpec) -> str:
    """Return why there is no comparison at equal quality, or an empty string."""
    gaps = part[part["metric"] == "quality_gap"].groupby("seed")["value"].max()
    far = gaps[~(gaps <= spec.match.margin)]
    if gaps.empty:
        return "no run searched for equal quality"
    if far.empty:
        return ""
    return (
        f"{len(far)} of {len(gaps)} runs found no sparsity of equal quality: the nearest is off by "
        f"up to {far.max():.4g} bits/byte, the margin is {spec.match.margin:g}"
    )


def _not_evaluable(level: str, reason: str, part: pd.DataFrame) -> Iterator[dict[str, object]]:
    for comparison in COMPARISONS:
        if comparison.name in MATCHED:
            for metric in METRICS:
                yield {
                    "contrast": comparison.name,
                    "level": level,
                    "treatment": comparison.treatment,
                    "control": comparison.control,
                    "metric": metric,
                    "n": part["seed"].nunique(),
                    "verdict": "not_evaluable",
                    "reason": reason,
                }


def _slopes(part: pd.DataFrame, spec: PathsAnalyseSpec) -> Iterator[dict[str, object]]:
    tiles = _over_dense(part, "tiles")
    for metric in METRICS[:2]:
        both = pd.concat({"x": tiles, "y": _over_dense(part, metric)}, axis=1).dropna()
        slopes = [
            _slope(rows["x"].to_numpy(), rows["y"].to_numpy())
            for _, rows in both.groupby(level="seed", sort=True)
            if rows["x"].nunique() >= _SLOPE_POINTS
        ]
        if not slopes:
            continue
        for name, against, margin in (
            ("tiles_slope", 0.0, spec.slope_margin),
            ("tiles_slope_vs_1", 1.0, spec.slope_margin),
        ):
            found = paired_contrast(
                slopes,
                np.full(len(slopes), against),
                margin=margin,
                alpha=spec.alpha,
                labels=LOWER_HIGHER,
            )
            yield {
                "contrast": name,
                "level": "all",
                "treatment": "all arms",
                "control": arms.DENSE,
                "metric": metric,
                **found.row(),
                "test": "paired t on the log-log slopes of runs",
            }


def _over_dense(part: pd.DataFrame, metric: str) -> pd.Series:
    """Return log of a metric over that of the dense arm, by seed, level and arm."""
    wide = part[part["metric"] == metric].pivot_table(
        index=["seed", "level"], columns="arm", values="value"
    )
    if wide.empty:
        return pd.Series(dtype=float, index=pd.MultiIndex.from_arrays([[], [], []], names=_INDEX))
    ratios = np.log(wide.div(wide[arms.DENSE], axis=0)).drop(columns=list(AA))
    return ratios.stack().rename_axis(_INDEX)


_INDEX = ["seed", "level", "arm"]


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    """Return the least-squares slope of y on x."""
    centred = x - x.mean()
    return float((centred * y).sum() / (centred**2).sum())

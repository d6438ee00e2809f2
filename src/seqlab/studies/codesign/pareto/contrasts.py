"""Statistics of the trade-off: contrasts per sparsity, predictions P2 and P3, front, hypervolume.

A point is a method at a sparsity: its latency over that of the dense products timed among the same
arms, and the bits per byte it adds to the dense model on the same windows. Both are per run, so
what a run shares cancels.

- `<arm>_vs_reference`: the coordinates of the points; `reference` is the dense model under dense
  products.
- `gain_by_affinity_change` (P3): slope, over the sparsities of a run, of the log ratio of the
  latencies of the iterative arm and of P-then-T on the change of affinity; a gain that grows has a
  negative slope. Level `pruned` leaves sparsity 0 out: there the affinity is of activations, else
  of the pruned weights, and the two differ in scale. The change therefore jumps from 0 and falls
  as more is pruned, because a dense pattern has all features in common.
- `gain_by_layout_worth`: the same on what the last permutation is worth, the Q_frac in excess of
  a random order that the iterative arm has over P-then-T, which has no such scale.
  A slope is equivalent to none where, over the range of its regressor, it changes the ratio by less
  than the margin.
- `on_front`: share of resamples of the runs in which no point dominates this one.
- `hypervolume`: area that the points of a method dominate below the bounds of the settings, over
  the area that the dense reference dominates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqlab.stats.bootstrap import bootstrap_interval
from seqlab.stats.contrast import LOWER_HIGHER, Contrast, correct_family, paired_contrast
from seqlab.stats.paired import paired_t
from seqlab.stats.pareto import hypervolume, non_dominated
from seqlab.studies.codesign.comparisons import STATISTICS, Comparison, compare
from seqlab.studies.codesign.pareto.names import (
    KERNEL,
    LEARNED,
    LEARNED_LEVEL,
    LEARNED_TP,
    level_of,
)
from seqlab.studies.codesign.pareto.spec import ParetoAnalyseSpec
from seqlab.studies.codesign.workbench import names as arms
from seqlab.studies.codesign.workbench.names import DENSE_KERNEL

REFERENCE = "reference"
LATENCY, QUALITY = "latency_ms", "bits_per_byte"
AA = (arms.DENSE_AA, arms.DENSE)
METHODS = (
    arms.ALGO_ONLY,
    arms.LINEAR_PT,
    arms.LINEAR_TP,
    arms.ITERATIVE,
    LEARNED,
    LEARNED_TP,
)
# Methods that no sparsity changes: one point each.
FIXED = (arms.DENSE, arms.PERMUTE_ONLY)
_BOTH = (LATENCY, QUALITY)
COMPARISONS = (
    Comparison(
        "iterative_vs_linear_TP", arms.ITERATIVE, arms.LINEAR_TP, (*_BOTH, "similarity_to_TP")
    ),
    Comparison("iterative_vs_linear_PT", arms.ITERATIVE, arms.LINEAR_PT, _BOTH),
    Comparison("linear_TP_vs_linear_PT", arms.LINEAR_TP, arms.LINEAR_PT, _BOTH),
    Comparison("iterative_vs_algo_only", arms.ITERATIVE, arms.ALGO_ONLY, _BOTH),
    Comparison("linear_PT_vs_algo_only", arms.LINEAR_PT, arms.ALGO_ONLY, _BOTH),
    Comparison("algo_only_vs_dense", arms.ALGO_ONLY, arms.DENSE, _BOTH),
    Comparison("permute_only_vs_dense", arms.PERMUTE_ONLY, arms.DENSE, _BOTH),
    Comparison("learned_TP_vs_learned", LEARNED_TP, LEARNED, _BOTH),
    *(Comparison(f"{arm}_vs_reference", arm, REFERENCE, _BOTH) for arm in (*FIXED, *METHODS)),
    Comparison("aa", *AA, (LATENCY,)),
)
_HYPERVOLUMES = (
    (arms.ITERATIVE, arms.LINEAR_PT),
    (arms.ITERATIVE, arms.LINEAR_TP),
    (arms.ITERATIVE, arms.ALGO_ONLY),
    (arms.LINEAR_PT, arms.ALGO_ONLY),
    (arms.ITERATIVE, REFERENCE),
)
_SEED = 17
_SLOPE_POINTS = 2

Values = NDArray[np.float64]
Row = dict[str, object]


def analyse(observations: pd.DataFrame, spec: ParetoAnalyseSpec) -> pd.DataFrame:
    """Return all rows of the statistics.

    Args:
        observations: Rows of `collect_records`.
        spec: Level, margins, bounds and resamples.
    """
    table = with_reference(observations)
    compared = compare(table, COMPARISONS, spec, item="fig6", aa=AA)
    rows: list[Row] = []
    for (device, cell), part in table.groupby(["device", "cell"], sort=False):
        place = {
            "item": "fig6",
            "cell": cell,
            "model": part["model"].iloc[0],
            "kernel": KERNEL,
            "provenance": "measured",
            "device": device,
        }
        points = points_of(part)
        rows += [
            place | row
            for row in (
                *_affinity_slopes(part, spec),
                *_front(points, spec),
                *_hypervolumes(points, spec),
            )
        ]
    return pd.concat([compared, pd.DataFrame(rows, columns=STATISTICS)], ignore_index=True)


def with_reference(observations: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with the dense products of each level as one more arm of the sparse ones."""
    dense = observations["kernel"] == DENSE_KERNEL
    return pd.concat(
        [observations[~dense], observations[dense].assign(kernel=KERNEL, arm=REFERENCE)],
        ignore_index=True,
    )


def points_of(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one row per point and run: method, level, seed, x (latency ratio), y (bits added).

    Args:
        rows: Observations of one device and cell, with the reference.
    """
    wide = rows[rows["metric"].isin(_BOTH)].pivot_table(
        index=["level", "arm", "seed"], columns="metric", values="value", sort=False
    )
    table = wide.dropna().reset_index()
    reference = table[table["arm"] == REFERENCE].set_index(["level", "seed"])
    at = pd.MultiIndex.from_frame(table[["level", "seed"]])
    table["x"] = table[LATENCY].to_numpy() / reference[LATENCY].reindex(at).to_numpy()
    table["y"] = table[QUALITY].to_numpy() - reference[QUALITY].reindex(at).to_numpy()
    lowest = min({*table["level"]} - {LEARNED_LEVEL}, key=_percent, default="")
    once = table["arm"].isin([*FIXED, REFERENCE]) & (table["level"] == lowest)
    kept = table["arm"].isin(METHODS) | once
    return table.loc[kept, ["arm", "level", "seed", "x", "y"]].reset_index(drop=True)


def _percent(level: str) -> int:
    return int(level.removeprefix("s"))


# ----------------------------------------------------------------------------- P3


def _affinity_slopes(part: pd.DataFrame, spec: ParetoAnalyseSpec) -> Iterator[Row]:
    table = part[part["metric"].isin([LATENCY, "affinity_change", "q_excess"])].pivot_table(
        index=["seed", "level"], columns=["metric", "arm"], values="value"
    )
    sparsities = [level for level in table.index.unique("level") if level != LEARNED_LEVEL]
    for name, levels in (
        ("all", sparsities),
        ("pruned", [level for level in sparsities if level != level_of(0)]),
    ):
        runs = [
            rows.droplevel("seed").loc[levels] for _, rows in table.groupby(level="seed", sort=True)
        ]
        if len(levels) < _SLOPE_POINTS or not runs:
            continue
        for contrast, regressor in _REGRESSORS.items():
            yield {
                "contrast": contrast,
                "level": name,
                "treatment": arms.ITERATIVE,
                "control": arms.LINEAR_PT,
                "metric": LATENCY,
                **_slope_row(runs, regressor, spec),
                "test": f"paired t on the slopes of runs over {len(levels)} sparsities",
            }


def _slope_row(
    runs: list[pd.DataFrame], regressor: Callable[[pd.DataFrame], Values], spec: ParetoAnalyseSpec
) -> Row:
    x = [regressor(rows) for rows in runs]
    if min(np.ptp(at) for at in x) == 0:
        reason = "the regressor does not vary over the sparsities of a run"
        return {"n": len(runs), "verdict": "not_evaluable", "reason": reason}
    pair, aa = (arms.ITERATIVE, arms.LINEAR_PT), AA
    slopes = [_slope(at, _log_ratio(rows, pair)) for at, rows in zip(x, runs, strict=True)]
    noise = [_slope(at, _log_ratio(rows, aa)) for at, rows in zip(x, runs, strict=True)]
    contrast = paired_contrast(
        slopes,
        np.zeros(len(slopes)),
        margin=math.log1p(spec.margin) / float(np.mean([np.ptp(at) for at in x])),
        noise_limit=_mean_limit(noise, spec.alpha),
        alpha=spec.alpha,
        labels=LOWER_HIGHER,
    )
    return dict(contrast.row())


def _mean_limit(slopes: list[float], alpha: float) -> float:
    """Return how far from 0 the mean slope of identical arms can lie."""
    found = paired_t(slopes, np.zeros(len(slopes)), alpha)
    ends = (found.estimate, found.ci_low, found.ci_high)
    return max(abs(end) for end in ends if math.isfinite(end))


def _affinity_change(rows: pd.DataFrame) -> Values:
    return np.asarray(rows["affinity_change"][arms.ITERATIVE], dtype=np.float64)


def _layout_worth(rows: pd.DataFrame) -> Values:
    excess = rows["q_excess"]
    return np.asarray(excess[arms.ITERATIVE] - excess[arms.LINEAR_PT], dtype=np.float64)


_REGRESSORS: dict[str, Callable[[pd.DataFrame], Values]] = {
    "gain_by_affinity_change": _affinity_change,
    "gain_by_layout_worth": _layout_worth,
}


def _log_ratio(rows: pd.DataFrame, pair: tuple[str, str]) -> Values:
    """Return the log ratio of the latencies of a pair of arms at each sparsity."""
    latency = rows[LATENCY]
    return np.log(latency[pair[0]].to_numpy() / latency[pair[1]].to_numpy())


def _slope(x: Values, y: Values) -> float:
    """Return the least-squares slope of y on x."""
    centred = x - x.mean()
    return float((centred * y).sum() / (centred**2).sum())


# ----------------------------------------------------------------------------- front


def _front(points: pd.DataFrame, spec: ParetoAnalyseSpec) -> Iterator[Row]:
    keys, values = _stacked(points)
    if not keys:
        return
    means = values.mean(axis=0)
    draws = np.random.default_rng(_SEED).integers(0, len(values), (spec.resamples, len(values)))
    share = non_dominated(values[draws].mean(axis=1)).mean(axis=0)
    at_means = non_dominated(means)
    for index, (arm, level) in enumerate(keys):
        better = [
            keys[other]
            for other in range(len(keys))
            if (means[other] <= means[index]).all() and (means[other] < means[index]).any()
        ]
        yield {
            "contrast": "on_front",
            "level": level,
            "treatment": arm,
            "metric": "on_front",
            "n": len(values),
            "estimate": share[index],
            "test": f"share of {spec.resamples} bootstrap resamples of runs",
            "reason": "not dominated at the means"
            if at_means[index]
            else f"dominated at the means by {better[0][0]} at {better[0][1]}",
        }


def _stacked(points: pd.DataFrame) -> tuple[list[tuple[str, str]], Values]:
    """Return the names of the points and (runs, points, 2): log of x, y; runs that have all."""
    if points.empty:
        return [], np.empty((0, 0, 2))
    wide = points.pivot(index="seed", columns=["arm", "level"], values=["x", "y"]).dropna()
    keys = [(str(arm), str(level)) for arm, level in wide["x"].columns]
    x, y = np.log(wide["x"].to_numpy()), wide["y"][wide["x"].columns].to_numpy()
    return keys, np.stack([x, y], axis=-1)


# ----------------------------------------------------------------------------- hypervolume


def _hypervolumes(points: pd.DataFrame, spec: ParetoAnalyseSpec) -> Iterator[Row]:
    volumes = _relative_volumes(points, spec.reference)
    for arm in volumes:
        found = bootstrap_interval(
            volumes[arm].to_numpy(),
            _mean,
            rng=np.random.default_rng(_SEED),
            resamples=spec.resamples,
            alpha=spec.alpha,
        )
        yield {
            "contrast": "hypervolume",
            "level": "all",
            "treatment": arm,
            "metric": "hypervolume",
            "n": found.n,
            "estimate": found.estimate,
            "ci_low": found.low,
            "ci_high": found.high,
            "test": f"bootstrap over runs ({found.method}, {found.resamples} resamples)",
            "reason": found.fallback,
        }
    pairs = [pair for pair in _HYPERVOLUMES if {*pair} <= {*volumes.columns}]
    contrasts: list[Contrast] = [
        paired_contrast(
            volumes[treatment].to_numpy(),
            volumes[control].to_numpy(),
            margin=spec.margin,
            alpha=spec.alpha,
        )
        for treatment, control in pairs
    ]
    for (treatment, control), contrast in zip(pairs, correct_family(contrasts), strict=True):
        yield {
            "contrast": f"hypervolume_{treatment}_vs_{control}",
            "level": "all",
            "treatment": treatment,
            "control": control,
            "metric": "hypervolume",
            **contrast.row(),
        }


def _mean(*samples: Values, axis: int) -> Values:
    return np.asarray(samples[0].mean(axis))


def _relative_volumes(points: pd.DataFrame, bounds: tuple[float, float]) -> pd.DataFrame:
    """Return (runs, methods): area dominated by a method over that of the dense reference."""
    dense = (bounds[0] - 1.0) * bounds[1]
    found: dict[str, dict[int, float]] = {}
    for (arm, seed), rows in points.groupby(["arm", "seed"], sort=False):
        area = hypervolume(rows[["x", "y"]].to_numpy(), bounds)
        found.setdefault(str(arm), {})[int(seed)] = area / dense
    return pd.DataFrame(found).dropna()

"""Statistics of the sweeps: contrasts at every level, and the shapes of the curves over levels.

Contrasts are paired t tests over runs, one family per contrast and metric. Primary, stated before
the data: `ours_vs_random` (Figure 1), `iterative_vs_linear_PT` (Figure 4 and the bandwidth),
`clustered_vs_random` (Figure 7b). Shapes are of the mean curve over runs, with percentile intervals
from runs resampled whole:

| contrast | estimate |
|---|---|
| `mean` | geometric mean over runs, BCa |
| `spread_of_gain` | standard deviation over batch sizes of the gain, in points |
| `growth` | rise of the gain beyond the breakpoint, points per octave of width |
| `breakpoint` | width up to which the gain is level |
| `breakpoint_vs_L2` | octaves from where the operand outgrows the second cache to there |
| `boundary` | that width itself, for each cache |
| `power_law` | exponent a of gain ~ width^a |

The gain is 100 (1 - ratio of geometric means of latencies), in points.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqlab.stats.bootstrap import Interval, bootstrap_interval
from seqlab.stats.contrast import EQUIVALENT, INCONCLUSIVE, LOWER_HIGHER
from seqlab.stats.curves import curve_interval, fit_hinge, fit_power
from seqlab.studies.codesign.comparisons import STATISTICS, Comparison, compare
from seqlab.studies.codesign.sweeps.spec import (
    BANDWIDTH,
    BATCH,
    LAYER,
    WIDTH,
    SweepsAnalyseSpec,
)

Row = dict[str, Any]
Floats = NDArray[np.float64]

LATENCY, SITE_LATENCY = "latency_ms", "site_latency_ms"
ITEMS = {LAYER: "fig1", BATCH: "fig4", BANDWIDTH: "fig_bandwidth", WIDTH: "fig7b"}
PRIMARY = {
    LAYER: "ours_vs_random",
    BATCH: "iterative_vs_linear_PT",
    BANDWIDTH: "iterative_vs_linear_PT",
    WIDTH: "clustered_vs_random",
}
AA = {
    LAYER: ("original_aa", "original"),
    BATCH: ("dense_aa", "dense"),
    BANDWIDTH: ("dense_aa", "dense"),
    WIDTH: ("random_aa", "random"),
}
_TIMES = (LATENCY, SITE_LATENCY)
_MODEL_ARMS = (
    Comparison("iterative_vs_linear_PT", "iterative_1", "linear_PT", (*_TIMES, "dram_bytes")),
    Comparison("iterative_vs_dense", "iterative_1", "dense", _TIMES),
    Comparison("linear_PT_vs_dense", "linear_PT", "dense", _TIMES),
    Comparison("aa", *AA[BATCH], _TIMES),
)
PEAK_SHARE = "peak_bandwidth_share"
_PEAK = Comparison("peak_share", "iterative_1", "linear_PT", (PEAK_SHARE,))
_COMPARISONS = {
    LAYER: (
        Comparison("ours_vs_random", "ours", "random", _TIMES),
        Comparison("ours_vs_original", "ours", "original", _TIMES),
        Comparison("random_vs_original", "random", "original", _TIMES),
        Comparison("aa", *AA[LAYER], _TIMES),
    ),
    BATCH: _MODEL_ARMS,
    BANDWIDTH: _MODEL_ARMS,
    WIDTH: (
        Comparison("clustered_vs_random", "clustered", "random", _TIMES),
        Comparison("aa", *AA[WIDTH], _TIMES),
    ),
}
# Reported as means beside the latencies.
_MEANS = (*_TIMES, "gflop_per_s", "intensity", "bandwidth_share", "peak_gflop_per_s",
          "stream_gb_per_s", "ridge", "operand_bytes")  # fmt: skip
# Metrics of the product `clustered` of the sweep of widths that say what the widths are.
_OPERAND, _SOLVED_ARM = "operand_bytes", "clustered"
_NOT_RUN = "laptop budget; an overlay that adds the level to the settings of the sweep runs it"
_NO_GROWTH = "the gain does not rise with the width: there is no threshold"


def analyse(observations: pd.DataFrame, spec: SweepsAnalyseSpec) -> pd.DataFrame:
    """Return one row per contrast, place and metric, and the shapes of the curves."""
    observations = observations.assign(level=observations["level"].astype(str))
    tables: list[pd.DataFrame] = []
    rows: list[Row] = []
    for cell, item in ITEMS.items():
        part = observations[observations["cell"] == cell]
        if part.empty:
            continue
        table = part
        if cell == BANDWIDTH:
            table = pd.concat([part, _by_regime(part), _peak_shares(part)], ignore_index=True)
        tables.append(compare(table, _COMPARISONS[cell], spec, item=item, aa=AA[cell]))
        if cell == BANDWIDTH:
            peaks = pd.concat([_peak_shares(part), _peak_noise(part)], ignore_index=True)
            tables.append(compare(peaks, [_PEAK], spec, item=item, aa=AA[cell]))
        rows += _means(table, spec, item)
        for device, of_device in part.groupby("device", sort=False):
            base = {"item": item, "cell": cell, "device": device, "model": _model(of_device)}
            rows += [base | row for row in _not_run(of_device, spec)]
            if cell == BATCH:
                rows += [base | row for row in _spread_of_gain(of_device, spec)]
            if cell == WIDTH:
                rows += [base | row for row in _width_shapes(of_device, spec)]
    extra = pd.DataFrame(rows, columns=STATISTICS)
    return pd.concat([*tables, extra], ignore_index=True)[STATISTICS]


def _model(rows: pd.DataFrame) -> Any:
    return rows["model"].iloc[0]


def _means(table: pd.DataFrame, spec: SweepsAnalyseSpec, item: str) -> Iterator[Row]:
    """Yield the geometric mean over runs of what is drawn as it is."""
    wanted = table[table["metric"].isin((*_MEANS, PEAK_SHARE))].dropna(subset=["value"])
    keys = ["device", "cell", "kernel", "level", "arm", "metric"]
    for key, part in wanted.groupby(keys, sort=False):
        labels = dict(zip(keys, map(str, key), strict=True))
        values = part["value"].to_numpy(dtype=float)
        if (values <= 0).any():
            continue
        row = labels | {
            "item": item,
            "contrast": "mean",
            "model": _model(part),
            "treatment": labels["arm"],
            "provenance": part["provenance"].iloc[0],
            "n": len(values),
            "estimate": math.exp(np.log(values).mean()),
            "test": "BCa bootstrap of the geometric mean over runs",
        }
        del row["arm"]
        if len(values) > 1 and np.ptp(values) > 0:
            found = bootstrap_interval(
                np.log(values),
                np.mean,  # type: ignore[arg-type]
                rng=_rng(spec, "/".join(labels.values())),
                resamples=spec.resamples,
                alpha=spec.alpha,
            )
            row |= {"ci_low": math.exp(found.low), "ci_high": math.exp(found.high)}
            row["reason"] = found.fallback
        yield row


def _not_run(rows: pd.DataFrame, spec: SweepsAnalyseSpec) -> Iterator[Row]:
    """Yield a row for every level that was not run, under every kernel of the cell."""
    cell = str(rows["cell"].iloc[0])
    timed = rows[rows["metric"] == LATENCY]
    treatment, control = next(
        (c.treatment, c.control) for c in _COMPARISONS[cell] if c.name == PRIMARY[cell]
    )
    for kernel, part in timed.groupby("kernel", sort=False):
        present = set(part["level"])
        for level in spec.wanted[cell]:
            if level not in present:
                yield {
                    "contrast": PRIMARY[cell],
                    "kernel": kernel,
                    "level": level,
                    "treatment": treatment,
                    "control": control,
                    "metric": LATENCY,
                    "provenance": "not_run",
                    "n": 0,
                    "verdict": "not_run",
                    "reason": _NOT_RUN,
                }


def _spread_of_gain(rows: pd.DataFrame, spec: SweepsAnalyseSpec) -> Iterator[Row]:
    """Yield how much the gain differs between batch sizes."""
    for kernel, part in rows[rows["metric"] == LATENCY].groupby("kernel", sort=False):
        levels, curves = _log_ratios(part, "iterative_1", "linear_PT")
        if len(levels) < 2 or len(curves) < 2:
            continue
        found = curve_interval(
            curves,
            lambda logs: _points(logs).std(-1, ddof=1),
            rng=_rng(spec, f"spread/{kernel}"),
            resamples=spec.resamples,
            alpha=spec.alpha,
        )
        yield _shape("spread_of_gain", str(kernel), "all", found) | {
            "treatment": "iterative_1",
            "control": "linear_PT",
            "reason": "includes what noise of a run alone spreads",
        }


def _by_regime(rows: pd.DataFrame) -> pd.DataFrame:
    """Return latencies of every arm and run, geometric means over the levels of a regime.

    The regime of a level is that of its linear arm in most runs.
    """
    bound = rows[(rows["metric"] == "memory_bound") & (rows["arm"] == "linear_PT")]
    share = bound.dropna(subset=["value"]).groupby(["device", "level"])["value"].mean()
    timed = rows[rows["metric"].isin(_TIMES)]
    regime = share.gt(0.5).map({True: "memory_bound", False: "compute_bound"})
    keys = pd.MultiIndex.from_frame(timed[["device", "level"]])
    timed = timed.assign(level=regime.reindex(keys).to_numpy()).dropna(subset=["level"])
    return _reduced(timed, lambda values: float(np.exp(np.log(values).mean())))


def _peak_shares(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the largest share of the measured bandwidth that an arm reached in a run."""
    shares = rows[rows["metric"] == "bandwidth_share"].dropna(subset=["value"])
    return _reduced(shares.assign(level="all", metric=PEAK_SHARE), max)


def _peak_noise(rows: pd.DataFrame) -> pd.DataFrame:
    """Return what stands for the peak shares of the identical arms, whose bytes are not simulated.

    Equal bytes cancel in the ratio of two shares, and one over the time is left: at the level where
    the linear arm has its peak in that run.
    """
    run = ["device", "kernel", "seed"]
    shares = rows[(rows["metric"] == "bandwidth_share") & (rows["arm"] == _PEAK.control)]
    at = shares.dropna(subset=["value"]).sort_values("value").drop_duplicates(run, keep="last")
    times = rows[(rows["metric"] == SITE_LATENCY) & rows["arm"].isin(AA[BANDWIDTH])]
    times = times.merge(at[[*run, "level"]], on=[*run, "level"])
    return times.assign(level="all", metric=PEAK_SHARE, value=1 / times["value"])


def _reduced(rows: pd.DataFrame, how: Callable[[Any], float]) -> pd.DataFrame:
    """Return one row per device, kernel, level, arm, run and metric."""
    others = [name for name in rows.columns if name != "value"]
    if rows.empty:
        return rows
    return rows.groupby(others, sort=False, dropna=False)["value"].agg(how).reset_index()


def _width_shapes(rows: pd.DataFrame, spec: SweepsAnalyseSpec) -> Iterator[Row]:
    """Yield boundaries, breakpoint and power law of every kernel."""
    caches = rows[rows["kernel"] == "machine"].groupby("metric")["value"].median()
    timed = rows[rows["metric"] == LATENCY]
    for kernel, part in timed.groupby("kernel", sort=False):
        levels, curves = _log_ratios(part, "clustered", "random")
        operand = rows[
            (rows["kernel"] == kernel) & (rows["metric"] == _OPERAND) & (rows["arm"] == _SOLVED_ARM)
        ]
        sizes = operand.groupby("level")["value"].median()
        octaves = np.log2([float(level) for level in levels])
        boundaries = {}
        for name, size in caches.dropna().items():
            cache = str(name).removesuffix("_bytes")
            at = _where(octaves, np.log2(sizes[levels].to_numpy(dtype=float)), math.log2(size))
            boundaries[cache] = at
            yield {
                "contrast": "boundary",
                "kernel": kernel,
                "level": "all",
                "treatment": cache,
                "metric": "width",
                "provenance": "counted",
                "n": len(curves),
                "estimate": 2**at,
                "test": "width at which the operand is as large as the cache",
            }
        if len(levels) >= 4 and len(curves) >= 2:
            arms = {"treatment": "clustered", "control": "random"}
            shapes = _fits(octaves, curves, str(kernel), boundaries.get("L2"), spec)
            yield from (arms | row for row in shapes)


def _fits(
    octaves: Floats, logs: Floats, kernel: str, l2: float | None, spec: SweepsAnalyseSpec
) -> Iterator[Row]:
    """Yield the shapes of the gain of one kernel, from log ratios (runs, widths)."""

    def interval(purpose: str, statistic: Callable[[Floats], Floats]) -> Interval:
        return curve_interval(
            logs,
            lambda mean: statistic(_points(mean)),
            rng=_rng(spec, f"{purpose}/{kernel}"),
            resamples=spec.resamples,
            alpha=spec.alpha,
        )

    # One stream for all of a hinge: the same resamples.
    growth = interval("hinge", lambda y: fit_hinge(octaves, y).slope)
    level = interval("hinge", lambda y: fit_hinge(octaves, y).level)
    place = interval("hinge", lambda y: fit_hinge(octaves, y).place)
    rises = growth.low > 0
    yield _shape("growth", kernel, "all", growth) | _sign(growth)
    yield _shape("gain_below", kernel, "all", level) | _sign(level)
    yield _shape("breakpoint", kernel, "all", place, lambda at: float(2**at)) | _if(
        rises, {"verdict": "", "reason": ""}
    )
    if l2 is not None:
        row = _shape("breakpoint_vs_L2", kernel, "all", place, lambda at: at - l2)
        row["tost_margin"] = spec.breakpoint_margin
        yield row | _if(rises, _within(row, spec.breakpoint_margin))
    power = interval("power", lambda y: fit_power(2**octaves, y)[0])
    scale = interval("power", lambda y: fit_power(2**octaves, y)[1])
    yield _shape("power_law", kernel, "all", power) | _if(
        scale.low > 0, _sign(power), "the gain is not above zero: it has no power law"
    )


def _if(defined: bool, row: Row, reason: str = _NO_GROWTH) -> Row:
    """Return a row's verdict, or that there is nothing to be judged: no interval, and why."""
    if defined:
        return row
    return {
        "ci_low": math.nan,
        "ci_high": math.nan,
        "verdict": INCONCLUSIVE,
        "reason": reason,
    }


def _shape(
    contrast: str,
    kernel: str,
    level: str,
    found: Interval,
    scale: Callable[[float], float] = float,
) -> Row:
    return {
        "contrast": contrast,
        "kernel": kernel,
        "level": level,
        "metric": "gain",
        "provenance": "measured",
        "n": found.n,
        "estimate": scale(found.estimate),
        "ci_low": scale(found.low),
        "ci_high": scale(found.high),
        "test": f"{found.method} bootstrap of {found.n} runs",
        "verdict": "",
        "reason": "",
    }


def _sign(found: Interval) -> Row:
    """Return the verdict of an interval against zero."""
    words = f"interval [{found.low:.3g}, {found.high:.3g}] against 0"
    if found.low > 0 or found.high < 0:
        return {"verdict": LOWER_HIGHER[int(found.low > 0)], "reason": words}
    return {"verdict": INCONCLUSIVE, "reason": words}


def _within(row: Row, margin: float) -> Row:
    """Return the verdict of an interval against zero and a margin around it."""
    low, high = float(row["ci_low"]), float(row["ci_high"])
    words = f"interval [{low:.2f}, {high:.2f}] octaves, margin {margin:g}"
    if -margin < low and high < margin:
        return {"verdict": EQUIVALENT, "reason": words}
    if low > 0 or high < 0:
        return {"verdict": LOWER_HIGHER[int(low > 0)], "reason": words}
    return {"verdict": INCONCLUSIVE, "reason": words}


def _where(x: Floats, y: Floats, value: float) -> float:
    """Return the x at which rising y is a value, by lines through neighbours and beyond the ends.

    Where y stays what it is, as rows of a weight do at their limit, the first such x is taken.
    """
    at = int(np.clip(np.searchsorted(y, value), 1, len(y) - 1))
    slope = (y[at] - y[at - 1]) / (x[at] - x[at - 1])
    return float(x[at] + (value - y[at]) / slope) if slope > 0 else float(x[at])


def _log_ratios(timed: pd.DataFrame, treatment: str, control: str) -> tuple[list[str], Floats]:
    """Return levels in ascending order and (runs, levels) log ratios of runs that have them all."""
    logs = np.log(timed.pivot_table(index=["seed"], columns=["arm", "level"], values="value"))
    levels = [str(level) for level in sorted({*timed["level"]} - {"all"}, key=float)]
    curves = logs[treatment][levels].to_numpy() - logs[control][levels].to_numpy()
    return levels, curves[np.isfinite(curves).all(1)]


def _points(logs: Floats) -> Floats:
    """Return gains in points from log ratios of latencies."""
    return 100.0 * -np.expm1(logs)


def _rng(spec: SweepsAnalyseSpec, purpose: str) -> np.random.Generator:
    return np.random.default_rng([spec.seed, *purpose.encode()])

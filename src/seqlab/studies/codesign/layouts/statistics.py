"""Statistics over layouts: correlations, and how much of an effect goes through the hit rate.

The unit is a layout. Those of a model are the same in every run, and a layout's latency is the mean
over runs of its log ratio to the run's mean. Each run of the graph cell has a graph and layouts of
its own: everything is centred by graph, correlations are averaged over graphs, and the bootstrap of
the mediation resamples graphs.

The hit rate of the second cache is that of what misses the first one, as counters report it: it can
fall while fewer lines come from further away, so its misses are looked at beside it.

Primary, stated before the data: rank correlation of modularity and of the simulated hit rate of the
second cache with latency, and the indirect effect (ACME) of modularity on latency through that hit
rate. Pearson's correlations, `q_frac` in place of Newman's modularity, and the mediation through
what both first caches serve are secondary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from seqlab.measure.noise import noise_floor
from seqlab.stats.bootstrap import bootstrap_interval
from seqlab.stats.contrast import DEGENERATE, INCONCLUSIVE
from seqlab.stats.mediation import Mediation, mediate
from seqlab.stats.multiplicity import adjust
from seqlab.studies.codesign.comparisons import STATISTICS
from seqlab.studies.codesign.layouts.names import AGAIN, HITS, LAYOUT, MEDIATORS, SERVED
from seqlab.studies.codesign.layouts.spec import GRAPH_CELL, LayoutsAnalyseSpec

LATENCY, MISSES = "site_latency_ms", "L2_misses"
# Correlation -> (first, second) of a pair.
PAIRS = {
    "q_newman_hits": ("q_newman", HITS),
    "q_frac_hits": ("q_frac", HITS),
    "q_newman_misses": ("q_newman", MISSES),
    "misses_latency": (MISSES, LATENCY),
    "hits_latency": (HITS, LATENCY),
    "q_frac_served": ("q_frac", SERVED),
    "served_latency": (SERVED, LATENCY),
    "q_newman_latency": ("q_newman", LATENCY),
    "q_frac_latency": ("q_frac", LATENCY),
}
# What differs by less between layouts is the same: rates of a few lookups in a million are not what
# a latency could follow.
_FIXED = 1e-6
_QUANTITIES = ("q_newman", "q_frac", HITS, SERVED, MISSES, LATENCY)
# Share of resamples that may be left out.
_FEW = 0.01


def analyse(observations: pd.DataFrame, spec: LayoutsAnalyseSpec) -> pd.DataFrame:
    """Return correlations and mediation of every cell, and the noise of identical layouts."""
    rows: list[dict[str, Any]] = []
    for (device, cell), part in observations.groupby(["device", "cell"], sort=False):
        labels = {
            "device": device,
            "cell": cell,
            "model": part["model"].iloc[0],
            "kernel": part["kernel"].iloc[0],
            "level": "all",
        }
        table = layout_table(part)
        rows += [labels | row for row in _noise(part)]
        correlations = [labels | row for row in _correlations(table, str(cell), spec)]
        corrected = adjust([row["p_raw"] for row in correlations], "holm")
        for row, p in zip(correlations, corrected, strict=True):
            rows.append(_decided(row, float(p), spec.alpha))
        for item, mediator in MEDIATORS.items():
            found = _mediation(table, mediator, str(cell), spec)
            rows += [labels | {"item": item, "treatment": mediator} | row for row in found]
    return pd.DataFrame(rows).reindex(columns=STATISTICS)


def _decided(row: dict[str, Any], p_holm: float, alpha: float) -> dict[str, Any]:
    """Return a correlation with its corrected p, which a direction needs to be small too."""
    row = row | {"p_holm": p_holm}
    if row["verdict"] not in (DEGENERATE, INCONCLUSIVE) and not p_holm <= alpha:
        reason = f"{row['reason']}, but p is {p_holm:.3f} after Holm over the cell"
        return row | {"verdict": INCONCLUSIVE, "reason": reason}
    return row


def layout_table(part: pd.DataFrame) -> pd.DataFrame:
    """Return one row per layout of a cell: worth, hit rate, and latency as a log ratio.

    Columns: graph (the run's seed, 0 for the layouts of a model), level, q_newman, q_frac,
    L2_hit_rate (NaN where nothing reached the second cache), site_latency_ms (log ratio), runs.
    """
    rows = part[part["arm"] == LAYOUT]
    wide = rows.pivot_table(index=["seed", "level"], columns="metric", values="value")
    for column in _QUANTITIES:
        if column not in wide:
            wide[column] = math.nan
    wide = wide.reset_index()
    logs = np.log(wide[LATENCY])
    wide[LATENCY] = logs - logs.groupby(wide["seed"]).transform("mean")
    per_graph = str(part["cell"].iloc[0]) == GRAPH_CELL
    wide["graph"] = wide["seed"] if per_graph else 0
    wide["runs"] = 1
    means = {name: "mean" for name in _QUANTITIES}
    table = wide.groupby(["graph", "level"], sort=True).agg({**means, "runs": "sum"}).reset_index()
    return table


def _noise(part: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield how far the two identical layouts of each run are apart."""
    timed = part[part["metric"] == LATENCY].pivot_table(index="seed", columns="arm", values="value")
    if AGAIN not in timed:
        return
    first = part[(part["metric"] == LATENCY) & (part["arm"] == AGAIN)]
    same = part[
        (part["metric"] == LATENCY)
        & (part["arm"] == LAYOUT)
        & part["level"].isin(first["level"].unique())
    ]
    pair = first.set_index("seed")["value"], same.set_index("seed")["value"]
    both = pd.concat(pair, axis=1, keys=["again", "first"]).dropna()
    floor = noise_floor(both["again"], both["first"])
    # A layout of a model is a mean over runs, one of a graph is of one run.
    of_one = str(part["cell"].iloc[0]) == GRAPH_CELL
    limit = floor.limit if of_one else floor.mean_limit
    yield {
        "item": "mechanism",
        "contrast": "aa",
        "metric": LATENCY,
        "provenance": "measured",
        "n": len(both),
        "estimate": float(np.log(both["again"] / both["first"]).mean()),
        "noise_limit": math.expm1(limit),
        "test": f"prediction limit of {'one run' if of_one else 'the mean over runs'}",
    }


def _correlations(
    table: pd.DataFrame, cell: str, spec: LayoutsAnalyseSpec
) -> Iterator[dict[str, Any]]:
    for name, (x, y) in PAIRS.items():
        for kind, ranked in (("spearman", True), ("pearson", False)):
            rng = np.random.default_rng([spec.seed, *f"{cell}/{name}/{kind}".encode()])
            row = _correlation(table, x, y, ranked, spec, rng)
            yield {"item": "mechanism", "contrast": name, "metric": kind, **row}


def _correlation(
    table: pd.DataFrame,
    x: str,
    y: str,
    ranked: bool,
    spec: LayoutsAnalyseSpec,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Return one correlation with its interval, over layouts or averaged over graphs."""
    provenance = "simulated" if {HITS, SERVED, MISSES} & {x, y} else "measured"
    row: dict[str, Any] = {"provenance": provenance, "p_raw": math.nan}
    groups = [part[[x, y]].dropna().to_numpy() for _, part in table.groupby("graph")]
    flat = [g for g in groups if len(g) < 4 or np.ptp(g[:, 0]) < _FIXED or np.ptp(g[:, 1]) < _FIXED]
    if flat:
        reason = f"{x} and {y} are known of {len(flat[0])} layouts"
        if len(flat[0]) >= 4:
            fixed = next(c for k, c in ((0, x), (1, y)) if np.ptp(flat[0][:, k]) < _FIXED)
            reason = f"{fixed} is the same in every layout, within {_FIXED:g}"
        return row | {"n": len(flat[0]), "verdict": DEGENERATE, "reason": reason, "test": "none"}
    if len(groups) == 1:
        return row | _over_layouts(groups[0], ranked, spec, rng)
    return row | _over_graphs(groups, ranked, spec)


def _over_layouts(
    values: np.ndarray, ranked: bool, spec: LayoutsAnalyseSpec, rng: np.random.Generator
) -> dict[str, Any]:
    statistic: Callable[..., Any] = spearman if ranked else pearson
    interval = bootstrap_interval(
        (values[:, 0], values[:, 1]),
        statistic,
        rng=rng,
        resamples=spec.resamples,
        alpha=spec.alpha,
    )
    test = stats.spearmanr if ranked else stats.pearsonr
    p = float(test(values[:, 0], values[:, 1]).pvalue)
    verdict, reason = _sign(interval.low, interval.high)
    return {
        "n": len(values),
        "estimate": interval.estimate,
        "ci_low": interval.low,
        "ci_high": interval.high,
        "test": f"{test.__name__}, {interval.method} bootstrap over layouts",
        "p_raw": p,
        "verdict": verdict,
        "reason": interval.fallback or reason,
    }


def _over_graphs(
    groups: Sequence[np.ndarray], ranked: bool, spec: LayoutsAnalyseSpec
) -> dict[str, Any]:
    """Average over graphs; t interval over graphs.

    Of the correlations themselves: few layouts give a correlation of 1 in some graph, which has no
    place on Fisher's scale.
    """
    statistic: Callable[..., Any] = spearman if ranked else pearson
    values = np.array([float(statistic(g[:, 0], g[:, 1], axis=-1)) for g in groups])
    mean, error = float(values.mean()), float(stats.sem(values))
    half = float(stats.t.ppf(1 - spec.alpha / 2, len(values) - 1)) * error
    low, high = max(mean - half, -1.0), min(mean + half, 1.0)
    verdict, reason = _sign(low, high)
    if not error > 0:
        verdict, reason = DEGENERATE, "the same in every graph"
    return {
        "n": len(groups),
        "estimate": mean,
        "ci_low": low,
        "ci_high": high,
        "test": f"t over graphs of {'Spearman' if ranked else 'Pearson'}'s correlation",
        "p_raw": float(stats.ttest_1samp(values, 0.0).pvalue) if error > 0 else math.nan,
        "verdict": verdict,
        "reason": reason,
    }


def _sign(low: float, high: float) -> tuple[str, str]:
    if low > 0:
        return "higher", "the interval lies above 0"
    if high < 0:
        return "lower", "the interval lies below 0"
    return INCONCLUSIVE, "the interval holds 0"


def pearson(x: Any, y: Any, axis: int) -> Any:
    """Return Pearson's correlation along an axis, NaN where a sample does not vary."""
    x = x - x.mean(axis=axis, keepdims=True)
    y = y - y.mean(axis=axis, keepdims=True)
    spread = np.sqrt((x * x).sum(axis=axis) * (y * y).sum(axis=axis))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(spread > 0, (x * y).sum(axis=axis) / spread, np.nan)


def spearman(x: Any, y: Any, axis: int) -> Any:
    """Return Spearman's rank correlation along an axis; ties share their mean rank."""
    return pearson(stats.rankdata(x, axis=axis), stats.rankdata(y, axis=axis), axis)


def _mediation(
    table: pd.DataFrame, mediator: str, cell: str, spec: LayoutsAnalyseSpec
) -> Iterator[dict[str, Any]]:
    """Yield ACME, ADE, total and proportion with both intervals, or why there are none."""
    base = {"provenance": "simulated"}
    known = table.dropna(subset=["q_newman", mediator, LATENCY])
    found: Mediation | None = None
    if known.empty or np.ptp(known[mediator]) < _FIXED:
        reason = (
            f"{mediator} is the same in every layout, within {_FIXED:g}: nothing can go through it"
        )
    else:
        clusters = known["graph"].to_numpy() if known["graph"].nunique() > 1 else None
        # Centred by graph instead of dummies for graphs (Frisch and Waugh 1933): the same
        # estimates, and no column vanishes where a resample leaves a graph out.
        columns = known[["q_newman", mediator, LATENCY]]
        centred = columns - columns.groupby(known["graph"]).transform("mean")
        x = centred["q_newman"]
        try:
            found = mediate(
                (x / x.std()).to_numpy(),
                centred[mediator].to_numpy(),
                centred[LATENCY].to_numpy(),
                rng=np.random.default_rng([spec.seed, *cell.encode()]),
                clusters=clusters,
                resamples=spec.resamples,
                alpha=spec.alpha,
            )
            reason = ""
            if found.collinear > _FEW * found.resamples:
                found, reason = None, "too many resamples are collinear"
        except ValueError as error:
            reason = str(error)
    if found is None:
        for effect in ("acme", "ade", "total", "proportion"):
            yield base | {
                "contrast": effect,
                "metric": "percentile",
                "n": len(known),
                "verdict": DEGENERATE,
                "reason": reason,
                "test": "none",
            }
        return
    yield from (base | row for row in _effects(found))


def _effects(found: Mediation) -> Iterator[dict[str, Any]]:
    units = f"{found.clusters} graphs" if found.clusters < found.n else f"{found.n} layouts"
    for name in ("a", "b", "acme", "ade", "total"):
        effect = found.effects[name]
        for method, interval in (("bca", effect.bca), ("percentile", effect.percentile)):
            verdict, reason = _sign(interval.low, interval.high)
            yield {
                "contrast": name,
                "metric": method,
                "n": found.n,
                "estimate": effect.estimate,
                "ci_low": interval.low,
                "ci_high": interval.high,
                "test": f"{interval.method} bootstrap of {units}",
                "p_raw": effect.p,
                "verdict": verdict,
                "reason": f"{interval.fallback or reason}; {found.caveat}",
            }
    for name, value in found.standardised.items():
        yield {
            "contrast": name,
            "metric": "standardised",
            "n": found.n,
            "estimate": value,
            "test": "in standard deviations of X, M and Y",
            "verdict": "",
            "reason": found.caveat,
        }
    share = found.proportion
    yield {
        "contrast": "proportion",
        "metric": "percentile",
        "n": found.n,
        "estimate": math.nan if share is None else share.estimate,
        "ci_low": math.nan if share is None else share.low,
        "ci_high": math.nan if share is None else share.high,
        "test": f"percentile bootstrap of {units}",
        "verdict": DEGENERATE if share is None else _sign(share.low, share.high)[0],
        "reason": found.proportion_reason or found.caveat,
    }

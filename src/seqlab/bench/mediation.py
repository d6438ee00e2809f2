"""Mediation with 5,000 bootstrap resamples against pingouin, and the coverage of the clustered one.

Input: 240 rows with a true indirect effect. The peer refits three regressions per resample; ours
resamples second moments. Agreement means the same estimates, and limits of the intervals of the
indirect effect that differ by less than five Monte Carlo standard errors of a limit. A further row
says how often the 95 % interval of the clustered version covers the truth where rows of a cluster
share errors.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqlab.bench.harness import Plan, compare, unavailable
from seqlab.stats.mediation import mediate

ROWS = 240
RESAMPLES = 5000
TARGET = 50.0
CLUSTERS = 40
EXPERIMENTS = 2000
COVERAGE = (0.93, 0.97)

_NAME = "mediation"
_SEED = 17
_A, _B, _DIRECT = 0.6, 0.5, 0.2
_ALPHA = 0.05
# Standard error of a 2.5 % quantile of B normal draws, in their standard deviations: sqrt(p (1-p) /
# B) over the density there, 0.0584.
_QUANTILE_SE = np.sqrt(0.025 * 0.975) / 0.0584
_TOLERANCE_SE = 5.0

FloatArray = NDArray[np.float64]
Answer = dict[str, tuple[float, float, float]]


def run(quick: bool, budget_s: float) -> Iterator[dict[str, Any]]:
    """Yield the comparison, then the coverage.

    Args:
        quick: Few resamples and experiments, to test that the bench works.
        budget_s: Seconds the comparison may time for.
    """
    resamples = 200 if quick else RESAMPLES
    rng = np.random.default_rng(_SEED)
    x, m, y = _draw(rng, ROWS, ROWS)[:3]
    case = f"{ROWS} rows, {resamples} resamples"
    if importlib.util.find_spec("pingouin") is None:
        yield unavailable(_NAME, case, "pingouin", "pingouin is not installed")
    else:
        for row in compare(
            _NAME,
            case,
            lambda: _ours(x, m, y, resamples),
            {"pingouin": _pingouin(x, m, y, resamples)},
            agree=lambda ours, theirs: _agree(ours, theirs, resamples),
            plan=Plan.of(quick, budget_s / 4),
            rng=rng,
        ):
            yield row | {"target_ratio": TARGET, "within_target": row["ratio"] >= TARGET}
    yield _coverage(20 if quick else EXPERIMENTS, rng, judge=not quick)


def _draw(
    rng: np.random.Generator, rows: int, clusters: int
) -> tuple[FloatArray, FloatArray, FloatArray, NDArray[np.int64]]:
    """Return (x, m, y, cluster of each row); the clusters share half of the errors' variance."""
    cluster = np.arange(rows) % clusters

    def noise() -> FloatArray:
        shared = rng.standard_normal(clusters)[cluster]
        errors: FloatArray = np.sqrt(0.5) * (shared + rng.standard_normal(rows))
        return errors

    x = noise()
    m = _A * x + noise()
    y = _DIRECT * x + _B * m + noise()
    return x, m, y, cluster


def _ours(x: FloatArray, m: FloatArray, y: FloatArray, resamples: int) -> Answer:
    found = mediate(x, m, y, rng=np.random.default_rng(_SEED), resamples=resamples)
    return {
        name: (effect.estimate, effect.percentile.low, effect.percentile.high)
        for name, effect in found.effects.items()
        if name in ("acme", "ade", "total")
    }


def _pingouin(x: FloatArray, m: FloatArray, y: FloatArray, resamples: int) -> Callable[[], Answer]:
    import pandas as pd
    import pingouin

    frame = pd.DataFrame({"x": x, "m": m, "y": y})
    names = {"Indirect": "acme", "Direct": "ade", "Total": "total"}

    def call() -> Answer:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            table = pingouin.mediation_analysis(
                frame, x="x", m="m", y="y", n_boot=resamples, seed=_SEED
            )
        low, high = (column for column in table.columns if str(column).startswith("CI"))
        rows = table.set_index("path")
        return {
            ours: (
                float(rows.loc[theirs, "coef"]),
                float(rows.loc[theirs, low]),
                float(rows.loc[theirs, high]),
            )
            for theirs, ours in names.items()
        }

    return call


def _agree(ours: Answer, theirs: Answer, resamples: int) -> bool:
    """Tell whether estimates are equal and limits of the indirect effect within their error.

    The direct and total effects get parametric intervals from pingouin; those are not compared.
    """
    same = all(np.isclose(ours[name][0], theirs[name][0], rtol=1e-6) for name in theirs)
    _, low, high = ours["acme"]
    sd = (high - low) / 3.92
    allowed = _TOLERANCE_SE * np.sqrt(2) * _QUANTILE_SE * sd / np.sqrt(resamples)
    differences = np.subtract(ours["acme"][1:], theirs["acme"][1:])
    return bool(same and (np.abs(differences) <= allowed).all())


def _coverage(experiments: int, rng: np.random.Generator, judge: bool) -> dict[str, Any]:
    covered = {"percentile": 0, "bca": 0, "unclustered percentile": 0}
    for _ in range(experiments):
        x, m, y, cluster = _draw(rng, ROWS, CLUSTERS)
        clustered = mediate(x, m, y, rng=rng, clusters=cluster, resamples=1000).effects["acme"]
        plain = mediate(x, m, y, rng=rng, resamples=1000).effects["acme"]
        for name, interval in (
            ("percentile", clustered.percentile),
            ("bca", clustered.bca),
            ("unclustered percentile", plain.percentile),
        ):
            covered[name] += interval.low <= _A * _B <= interval.high
    rates = {name: count / experiments for name, count in covered.items()}
    within = COVERAGE[0] <= rates["percentile"] <= COVERAGE[1]
    return {
        "name": _NAME,
        "case": f"coverage, {CLUSTERS} clusters of {ROWS // CLUSTERS}",
        "peer": None,
        "experiments": experiments,
        "coverage": rates,
        "nominal": 1 - _ALPHA,
        "within_target": within if judge else None,
    }

"""Statistics of Table 1.

Primary, stated before the data: the iterative arm against the better of both linear ones, on
latency. Which one is better is read off the same runs, and that favours the linear side: the test
is conservative for the claim. Everything else is secondary.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from seqlab.studies.codesign.comparisons import STATISTICS, Comparison, compare, variance_rows
from seqlab.studies.codesign.experiment import AnalyseSpec
from seqlab.studies.codesign.workbench import names as arms

BEST_LINEAR = "best_linear"
AA = (arms.DENSE_AA, arms.DENSE)
COMPARISONS = (
    Comparison("iterative_vs_best_linear", arms.ITERATIVE, BEST_LINEAR),
    Comparison("iterative_vs_linear_PT", arms.ITERATIVE, arms.LINEAR_PT),
    Comparison("iterative_vs_linear_TP", arms.ITERATIVE, arms.LINEAR_TP),
    Comparison("linear_TP_vs_linear_PT", arms.LINEAR_TP, arms.LINEAR_PT),
    Comparison("iterative_vs_algo_only", arms.ITERATIVE, arms.ALGO_ONLY),
    Comparison("iterative_vs_dense", arms.ITERATIVE, arms.DENSE),
    Comparison("linear_PT_vs_algo_only", arms.LINEAR_PT, arms.ALGO_ONLY),
    Comparison("algo_only_vs_dense", arms.ALGO_ONLY, arms.DENSE),
    Comparison("permute_only_vs_dense", arms.PERMUTE_ONLY, arms.DENSE),
    Comparison("random_vs_dense", arms.RANDOM, arms.DENSE),
    Comparison("permute_only_vs_random", arms.PERMUTE_ONLY, arms.RANDOM),
    Comparison("aa", *AA),
)
# What describes an arm and is compared with nothing.
DESCRIPTIONS = ("similarity_to_dense", "similarity_to_TP", "affinity_change", "sparsity")
# The four arms of the published table.
_VARIED = (arms.DENSE, arms.ALGO_ONLY, BEST_LINEAR, arms.ITERATIVE)
# Latency that decides which linear arm is the better one.
_DECIDING = "latency_ms"


def analyse(observations: pd.DataFrame, spec: AnalyseSpec) -> pd.DataFrame:
    """Return one row per contrast, place, metric and device."""
    table = with_best_linear(observations)
    made = compare(table, COMPARISONS, spec, item="table1", aa=AA, skip=DESCRIPTIONS)
    return pd.concat([made, _variance(table, spec.alpha)], ignore_index=True)


def _variance(observations: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """Return the analysis of variance of latency by arm and architecture, per kernel and device.

    Whether architectures gain alike is its interaction (codesign.md 2.20).
    """
    rows = []
    timed = observations[
        (observations["metric"] == _DECIDING) & observations["arm"].isin(_VARIED)
    ].dropna(subset=["value"])
    for (device, kernel), part in timed.groupby(["device", "kernel"], sort=False):
        if part["cell"].nunique() < 2:
            continue
        common = {
            "item": "table1",
            "cell": "all",
            "model": "",
            "kernel": kernel,
            "level": "all",
            "metric": _DECIDING,
            "provenance": "measured",
            "device": device,
        }
        rows += [
            common | row
            for row in variance_rows(
                [*part["value"]],
                [*part["arm"]],
                [*part["cell"]],
                names=("arm", "architecture"),
                alpha=alpha,
            )
        ]
    return pd.DataFrame(rows, columns=STATISTICS)


def with_best_linear(observations: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with one more arm: the linear one of lower mean log latency at each place."""
    added = []
    for _, part in observations.groupby(["device", "cell", "kernel", "level"], sort=False):
        timed = part[part["metric"] == _DECIDING]
        means = np.log(timed["value"]).groupby(timed["arm"]).mean()
        linear = [arm for arm in (arms.LINEAR_PT, arms.LINEAR_TP) if arm in means.index]
        if linear:
            best = min(linear, key=lambda arm: float(means[arm]))
            added.append(part[part["arm"] == best].assign(arm=BEST_LINEAR))
    return pd.concat([observations, *added], ignore_index=True)

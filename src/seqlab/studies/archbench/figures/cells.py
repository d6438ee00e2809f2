"""Rows of statistics, observations and solvers under one condition, as figures draw them."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from seqlab.studies.archbench.tasks_spec import TRAINED


def run_rows(observations: pd.DataFrame, task: str) -> pd.DataFrame:
    """Return the accuracy of every run under the training condition, of `kind` run."""
    rows = observations[
        (observations["task"] == task)
        & (observations["condition"] == TRAINED)
        & (observations["metric"] == "accuracy")
    ]
    return rows[["task", "architecture", "local", "seed", "value"]].assign(kind="run")


def mean_rows(
    statistics: pd.DataFrame,
    task: str,
    *,
    metric: str = "accuracy",
    conditions: Sequence[str] = (TRAINED,),
) -> pd.DataFrame:
    """Return means with intervals, of `kind` mean."""
    rows = statistics[
        (statistics["contrast"] == "mean")
        & (statistics["task"] == task)
        & statistics["condition"].isin(conditions)
        & (statistics["metric"] == metric)
    ]
    named = rows.rename(columns={"model": "architecture", "estimate": "value"})
    columns = ["task", "condition", "architecture", "local", "n", "value", "ci_low", "ci_high"]
    return named.assign(local=rows["treatment"].str.split("-").str[-1])[columns].assign(kind="mean")


def level_rows(
    solvers: pd.DataFrame,
    task: str,
    *,
    kinds: Sequence[str] = ("floor",),
    conditions: Sequence[str] = (TRAINED,),
) -> pd.DataFrame:
    """Return what solvers without training reach; `kind` is their name."""
    rows = solvers[
        (solvers["task"] == task)
        & solvers["condition"].isin(conditions)
        & solvers["metric"].isin(kinds)
    ]
    return rows.rename(columns={"metric": "kind"})[["task", "condition", "value", "kind"]]


def cell_rows(
    statistics: pd.DataFrame,
    observations: pd.DataFrame,
    solvers: pd.DataFrame,
    tasks: Sequence[str],
    kinds: Sequence[str] = ("floor",),
) -> pd.DataFrame:
    """Return runs, means and what solvers reach under the training condition of every task."""
    parts = [
        part
        for task in tasks
        for part in (
            run_rows(observations, task),
            mean_rows(statistics, task),
            level_rows(solvers, task, kinds=kinds),
        )
    ]
    return pd.concat(parts, ignore_index=True)

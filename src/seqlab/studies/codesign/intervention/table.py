"""Table 4: both layouts in every state of the caches."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from seqlab.studies.codesign.intervention.spec import CONDITIONS, HIGH, LOW
from seqlab.studies.codesign.intervention.statistics import EFFECTS, LATENCY, SIMULATED
from seqlab.studies.codesign.wording import NOT_RUN, find, interval, mean_sd, verdict

_CONDITIONS = {
    "natural": "natural",
    "thrash": "caches evicted before each call",
    "warm": "operand fits the second cache",
}
_METRICS = (LATENCY, *SIMULATED)


def intervention(observations: pd.DataFrame, statistics: pd.DataFrame) -> pd.DataFrame:
    """Return one row per condition and metric, then interactions and the analysis of variance.

    Layouts are mean (sd) over runs in the unit of the row.
    """
    rows: list[dict[str, Any]] = []
    for device, part in observations.groupby("device", sort=False):
        there = statistics[statistics["device"] == device]
        rows += [row | {"device": device} for row in _contrasts(part, there)]
        rows += [row | {"device": device} for row in _tests(there)]
    return pd.DataFrame(rows)


def _contrasts(part: pd.DataFrame, statistics: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for level, there in part.groupby("level", sort=False):
        for metric in _METRICS:
            values = there[there["metric"] == metric]
            if values.empty:
                continue
            arms = {arm: values.loc[values["arm"] == arm, "value"] for arm in (LOW, HIGH)}
            found = find(statistics, contrast="layout", level=level, metric=metric)
            aa = find(statistics, contrast="aa", level=level, metric=metric)
            reasons = values["reason"].dropna()
            yield {
                "condition": condition_words(str(level)),
                "quantity": metric,
                "unit": values["unit"].iloc[0],
                "n": 0 if found is None else int(found["n"]),
                "low modularity": mean_sd(arms[LOW]),
                "high modularity": mean_sd(arms[HIGH]),
                "high against low": interval(found),
                "p_holm": math.nan if found is None else found["p_holm"],
                "A/A limit": "–" if aa is None else f"{100 * aa['noise_limit']:.1f} %",
                "provenance": values["provenance"].iloc[0] if found is not None else NOT_RUN,
                "verdict": verdict(found),
                "reason": reasons.iloc[0] if len(reasons) else "",
            }


def _tests(statistics: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield interactions, as ratios of ratios, and the factors of the analysis of variance."""
    for _, row in statistics[statistics["contrast"].isin(["interaction", *EFFECTS])].iterrows():
        interaction = row["contrast"] == "interaction"
        yield {
            "condition": f"{row['level']} against natural" if interaction else "all",
            "quantity": "interaction" if interaction else f"{row['contrast']}: {row['test']}",
            "unit": "ratio of ratios" if interaction else "partial eta squared",
            "n": int(row["n"]),
            "low modularity": "–",
            "high modularity": "–",
            "high against low": interval(row) if interaction else _share(row),
            "p_holm": row["p_holm"],
            "A/A limit": f"{100 * row['noise_limit']:.1f} %" if interaction else "–",
            "provenance": "measured",
            "verdict": verdict(row),
            "reason": row["reason"],
        }


def _share(row: pd.Series) -> str:
    return f"{row['estimate']:.3f}" if pd.notna(row["estimate"]) else "–"


def condition_words(level: str) -> str:
    """Return a level in words."""
    if level in CONDITIONS:
        return _CONDITIONS[level]
    return f"second cache scaled to a hit rate of {level.removeprefix('hit')} %"

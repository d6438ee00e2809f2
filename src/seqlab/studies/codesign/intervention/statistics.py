"""Statistics of the interventions on the caches.

Primary, stated before the data: the interaction, that is the log ratio of both layouts in a
condition less the one in the natural condition, paired over runs. If the hit rate carries the
effect of a layout, the ratios come closer to 1 where the hit rate is forced.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from seqlab.measure.noise import noise_floor
from seqlab.stats.contrast import Contrast, correct_family, paired_contrast
from seqlab.studies.codesign.comparisons import STATISTICS, Comparison, compare, variance_rows
from seqlab.studies.codesign.experiment import AnalyseSpec
from seqlab.studies.codesign.intervention.spec import (
    CONDITIONS,
    HIGH,
    LOW,
    LOW_AGAIN,
    NATURAL,
    THRASH,
    WARM,
)

LATENCY = "site_latency_ms"
SIMULATED = ("L1_hit_rate", "L2_hit_rate", "L3_hit_rate", "L1_L2_share", "L2_capacity_bytes")
ITEM = "table4"
EFFECTS = ("anova_layout", "anova_condition", "anova_layout_x_condition")
_COMPARISONS = (
    Comparison("layout", HIGH, LOW, (LATENCY, *SIMULATED)),
    Comparison("aa", LOW_AGAIN, LOW, (LATENCY,)),
)


def analyse(observations: pd.DataFrame, spec: AnalyseSpec) -> pd.DataFrame:
    """Return contrasts of the layouts by condition, interactions, and the analysis of variance."""
    rows: list[dict[str, Any]] = []
    timed = observations[observations["metric"] == LATENCY]
    for (device, cell), part in timed.groupby(["device", "cell"], sort=False):
        labels = {
            "item": ITEM,
            "cell": cell,
            "model": part["model"].iloc[0],
            "kernel": part["kernel"].iloc[0],
            "metric": LATENCY,
            "provenance": "measured",
            "device": device,
        }
        wide = part.pivot_table(index="seed", columns=["level", "arm"], values="value").dropna()
        rows += [labels | row for row in _interactions(wide, spec)]
        rows += [labels | row for row in _anova(part, spec)]
    tables = [compare(observations, _COMPARISONS, spec, item=ITEM, aa=(LOW_AGAIN, LOW))]
    if rows:
        tables.append(pd.DataFrame(rows).reindex(columns=STATISTICS))
    return pd.concat(tables, ignore_index=True)


def _interactions(wide: pd.DataFrame, spec: AnalyseSpec) -> Iterator[dict[str, Any]]:
    """Yield how the ratio of both layouts changes from the natural condition to each other one."""
    found: dict[str, Contrast] = {}
    for condition in (THRASH, WARM):
        treated, natural = (wide[level][HIGH] / wide[level][LOW] for level in (condition, NATURAL))
        noise = None
        if len(wide) > 1:
            again = [wide[level][LOW_AGAIN] / wide[level][LOW] for level in (condition, NATURAL)]
            noise = math.expm1(noise_floor(*again).mean_limit)
        found[condition] = paired_contrast(
            treated.to_numpy(),
            natural.to_numpy(),
            scale="log_ratio",
            margin=spec.margin,
            noise_limit=noise,
            alpha=spec.alpha,
        )
    for condition, contrast in zip(found, correct_family([*found.values()]), strict=True):
        yield {
            "contrast": "interaction",
            "level": condition,
            "treatment": f"{HIGH}/{LOW}, {condition}",
            "control": f"{HIGH}/{LOW}, {NATURAL}",
            **contrast.row(),
        }


def _anova(part: pd.DataFrame, spec: AnalyseSpec) -> Iterator[dict[str, Any]]:
    """Yield both factors and their interaction."""
    rows = part[part["arm"].isin([LOW, HIGH]) & part["level"].isin(CONDITIONS)]
    shared = {"level": "all", "treatment": HIGH, "control": LOW}
    for found in variance_rows(
        [*rows["value"]],
        [*rows["arm"]],
        [*rows["level"]],
        names=("layout", "condition"),
        alpha=spec.alpha,
    ):
        yield shared | found

"""Statistics of the interventions on the caches.

Primary, stated before the data: the interaction, that is the log ratio of both layouts in a
condition less the one in the natural condition, paired over runs. If the hit rate carries the
effect of a layout, the ratios come closer to 1 where the hit rate is forced.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from seqlab.measure.noise import noise_floor
from seqlab.stats.anova import two_way
from seqlab.stats.contrast import (
    DEGENERATE,
    INCONCLUSIVE,
    Contrast,
    correct_family,
    paired_contrast,
)
from seqlab.studies.codesign.comparisons import STATISTICS, Comparison, compare
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
EFFECTS = ("anova_layout", "anova_condition", "anova_interaction")
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
    """Yield both factors and their interaction; the estimate is the partial eta squared."""
    rows = part[part["arm"].isin([LOW, HIGH]) & part["level"].isin(CONDITIONS)]
    shared = {"level": "all", "treatment": HIGH, "control": LOW, "n": len(rows)}
    try:
        found = two_way(
            rows["value"], [*rows["arm"]], [*rows["level"]], names=("layout", "condition")
        )
    except ValueError as error:
        reason = {"verdict": DEGENERATE, "reason": str(error), "test": "none"}
        yield from ({"contrast": name} | shared | reason for name in EFFECTS)
        return
    for name, effect in zip(EFFECTS, found.effects, strict=True):
        significant = effect.p <= spec.alpha
        yield {
            "contrast": name,
            **shared,
            "estimate": effect.eta_sq_partial,
            "ci_low": np.nan,
            "ci_high": np.nan,
            "test": f"two-way ANOVA of log latency, F({effect.df}, {found.residual_df})",
            "statistic": effect.f,
            "p_raw": effect.p,
            # The three effects answer three questions; none is corrected for the others.
            "p_holm": effect.p,
            "verdict": "higher" if significant else INCONCLUSIVE,
            "reason": f"partial eta squared {effect.eta_sq_partial:.3f}"
            + ("" if significant else ", no significant effect"),
        }

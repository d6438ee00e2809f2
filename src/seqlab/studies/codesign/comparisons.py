"""Paired contrasts of the experiments on the workbench, one implementation for all of them.

Every contrast is a paired t test over the runs of one device: on log ratios for latencies, misses,
traffic, tiles, capacities and the bandwidth reached, on differences for everything else. The two
arms of an A/A pair give the noise limit of what is computed from a time. One contrast on one
metric, over all cells, kernels and levels of an item, makes one family, Holm-corrected; where a
cell holds many variants against one reference, all contrasts of the cell on one metric make one
family instead. What no kernel changes, such as quality, is one test however many kernels it is
listed under.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from seqlab.measure.noise import noise_floor
from seqlab.stats import multiplicity
from seqlab.stats.anova import two_way
from seqlab.stats.contrast import (
    CONTRAST_COLUMNS,
    DEGENERATE,
    FASTER_SLOWER,
    INCONCLUSIVE,
    LOWER_HIGHER,
    Contrast,
    correct_family,
    paired_contrast,
)
from seqlab.studies.codesign.experiment import AnalyseSpec

PLACE = ("cell", "kernel", "level")
STATISTICS = [
    *("item", "contrast", "cell", "model", "kernel", "level"),
    *("treatment", "control", "metric", "provenance", "device"),
    *CONTRAST_COLUMNS,
]
LATENCIES = ("latency_ms", "site_latency_ms")
# Compared as ratios; what is in neither list is compared as a difference.
RATIOS = (
    *LATENCIES,
    *("L1_misses", "L2_misses", "L3_misses", "dram_bytes", "dram_gb_per_s", "tiles"),
    *("L2_capacity_bytes", "peak_bandwidth_share"),
)
QUALITIES = ("bits_per_byte", "accuracy")
# Computed from a measured time: two identical arms differ in it as well.
_TIMED = (*LATENCIES, "dram_gb_per_s", "peak_bandwidth_share")
_NO_MARGIN = 1e-9
# Verdict of a test without a direction.
DIFFERENCE = "difference"
ANOVA_TEST = "two-way ANOVA (type II) on logs; estimate is the partial eta squared"


@dataclass(frozen=True)
class Comparison:
    """Which arms are compared, where both are.

    Attributes:
        name: Of the contrast.
        treatment: Arm.
        control: Arm it is held against.
        metrics: Metrics it is made on; None for all that both arms have.
    """

    name: str
    treatment: str
    control: str
    metrics: tuple[str, ...] | None = None


# A comparison at a place, with labels of the place.
_Member = tuple[Comparison, dict[str, str], Contrast]


def compare(
    observations: pd.DataFrame,
    comparisons: Sequence[Comparison],
    spec: AnalyseSpec,
    *,
    item: str,
    aa: tuple[str, str] | None,
    skip: Sequence[str] = (),
    family: Literal["contrast", "cell"] = "contrast",
) -> pd.DataFrame:
    """Return one row per comparison, place, metric and device.

    Args:
        observations: Rows of `collect_records`.
        comparisons: What is compared; a place without one of the arms has no row for it.
        spec: Level and margins.
        item: Name of the table or figure that the rows are of.
        aa: The two identical arms of each place, where there are any.
        skip: Metrics without a contrast.
        family: What is corrected together on one metric: a contrast at all its places, or all
            contrasts of a cell.
    """
    rows: list[dict[str, object]] = []
    wanted = observations[~observations["metric"].isin(list(skip))]
    for (device, metric), part in wanted.groupby(["device", "metric"], sort=False):
        provenance = part["provenance"].iloc[0]
        places = _places(part)
        families: dict[str, list[_Member]] = {}
        for comparison in comparisons:
            if comparison.metrics is not None and metric not in comparison.metrics:
                continue
            for place, contrast in _contrasts(places, str(metric), comparison, spec, aa):
                key = comparison.name if family == "contrast" else place["cell"]
                families.setdefault(key, []).append((comparison, place, contrast))
        for members in families.values():
            for (comparison, place, _), contrast in zip(members, _corrected(members), strict=True):
                rows.append(
                    {
                        "item": item,
                        "contrast": comparison.name,
                        **place,
                        "treatment": comparison.treatment,
                        "control": comparison.control,
                        "metric": metric,
                        "provenance": provenance,
                        "device": device,
                        **contrast.row(),
                    }
                )
    return pd.DataFrame(rows, columns=STATISTICS)


def _corrected(members: Sequence[_Member]) -> list[Contrast]:
    """Return the contrasts of one family, corrected; the same values count once, not per kernel."""
    keys = [
        (comparison.name, place["cell"], place["level"], contrast.estimate, contrast.statistic)
        for comparison, place, contrast in members
    ]
    distinct = dict(zip(keys, (contrast for *_, contrast in members), strict=True))
    corrected = dict(zip(distinct, correct_family(list(distinct.values())), strict=True))
    return [corrected[key] for key in keys]


def _places(rows: pd.DataFrame) -> list[tuple[dict[str, str], pd.DataFrame]]:
    """Return labels and values (seeds x arms) of each place, in order of appearance.

    Raises:
        ValueError: An arm has two values with one seed at one place.
    """
    wide = rows.set_index([*PLACE, "seed", "arm"])["value"].unstack("arm")
    models = rows.drop_duplicates(list(PLACE)).set_index(list(PLACE))["model"]
    return [
        (dict(zip(PLACE, map(str, place), strict=True)) | {"model": model}, wide.loc[place])
        for place, model in models.items()
    ]


def _contrasts(
    places: Sequence[tuple[dict[str, str], pd.DataFrame]],
    metric: str,
    comparison: Comparison,
    spec: AnalyseSpec,
    aa: tuple[str, str] | None,
) -> Iterator[tuple[dict[str, str], Contrast]]:
    """Yield a comparison, uncorrected, at each place that has both arms."""
    for labels, wide in places:
        both = _pairs(wide, comparison.treatment, comparison.control)
        if both.empty:
            continue
        noise = None
        if metric in _TIMED and aa is not None:
            same = _pairs(wide, *aa)
            if not same.empty:
                noise = math.expm1(noise_floor(same[aa[0]], same[aa[1]]).mean_limit)
        contrast = paired_contrast(
            both[comparison.treatment].to_numpy(),
            both[comparison.control].to_numpy(),
            scale="log_ratio" if metric in RATIOS else "difference",
            margin=margin_of(metric, spec),
            noise_limit=noise,
            alpha=spec.alpha,
            labels=FASTER_SLOWER if metric in LATENCIES else LOWER_HIGHER,
        )
        yield labels, contrast


def _pairs(wide: pd.DataFrame, treatment: str, control: str) -> pd.DataFrame:
    """Return the values of two arms with the seeds that have both."""
    return wide.reindex(columns=[treatment, control]).dropna()


def variance_rows(
    values: Sequence[float],
    first: Sequence[object],
    second: Sequence[object],
    *,
    names: tuple[str, str],
    alpha: float,
) -> Iterator[dict[str, object]]:
    """Yield both factors of log values and their interaction, Holm-corrected over the three.

    The estimate is the partial eta squared; a share of variance has no sign, so that the verdict
    is a difference.
    """
    try:
        found = two_way(values, first, second, names=names)
    except ValueError as error:
        for name in (*names, f"{names[0]}_x_{names[1]}"):
            yield {
                "contrast": f"anova_{name}",
                "n": len(values),
                "test": ANOVA_TEST,
                "verdict": DEGENERATE,
                "reason": str(error),
            }
        return
    corrected = multiplicity.adjust([effect.p for effect in found.effects], "holm")
    for effect, p in zip(found.effects, corrected, strict=True):
        significant = bool(p <= alpha)
        yield {
            "contrast": f"anova_{effect.name.replace(' ', '_')}",
            "n": len(values),
            "test": ANOVA_TEST,
            "estimate": effect.eta_sq_partial,
            "statistic": effect.f,
            "p_raw": effect.p,
            "p_holm": float(p),
            "verdict": DIFFERENCE if significant else INCONCLUSIVE,
            "reason": f"{'significant' if significant else 'no significant'} effect, "
            f"F({effect.df}, {found.residual_df}) = {effect.f:.3g}",
        }


def margin_of(metric: str, spec: AnalyseSpec) -> float:
    """Return the equivalence margin of a metric: relative for ratios, else in its own unit.

    Shares, modularities and similarities are counted, without noise and on scales of their own: no
    size of theirs stands for nothing in general, and the sign of their difference decides.
    """
    if metric in QUALITIES:
        return spec.quality_margin
    return spec.margin if metric in RATIOS else _NO_MARGIN

"""Paired contrasts of the experiments on the workbench, one implementation for all of them.

Every contrast is a paired t test over the runs of one device: on log ratios for latencies, misses
and traffic, on differences for everything else. The two arms of an A/A pair give the noise limit of
each latency. One contrast on one metric, over all cells, kernels and levels of an item, makes one
family, Holm-corrected; where a cell holds many variants against one reference, all contrasts of the
cell on one metric make one family instead.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from seqlab.measure.noise import noise_floor
from seqlab.stats.contrast import (
    CONTRAST_COLUMNS,
    FASTER_SLOWER,
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
    "L2_capacity_bytes",
)
QUALITIES = ("bits_per_byte", "accuracy")


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
        families: dict[str, list[tuple[Comparison, dict[str, str], Contrast]]] = {}
        for comparison in comparisons:
            if comparison.metrics is not None and metric not in comparison.metrics:
                continue
            for place, contrast in _contrasts(part, str(metric), comparison, spec, aa):
                key = comparison.name if family == "contrast" else place["cell"]
                families.setdefault(key, []).append((comparison, place, contrast))
        for members in families.values():
            corrected = correct_family([contrast for *_, contrast in members])
            for (comparison, place, _), contrast in zip(members, corrected, strict=True):
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


def _contrasts(
    rows: pd.DataFrame,
    metric: str,
    comparison: Comparison,
    spec: AnalyseSpec,
    aa: tuple[str, str] | None,
) -> Iterator[tuple[dict[str, str], Contrast]]:
    """Yield a comparison, uncorrected, at each place that has both arms."""
    for place, part in rows.groupby(list(PLACE), sort=False):
        wide = part.pivot_table(index="seed", columns="arm", values="value", dropna=False)
        arms = [comparison.treatment, comparison.control]
        if not {*arms} <= {*wide.columns} or wide[arms].dropna().empty:
            continue
        noise = None
        if metric in LATENCIES and aa is not None and {*aa} <= {*wide.columns}:
            pair = wide[list(aa)].dropna()
            noise = math.expm1(noise_floor(pair[aa[0]], pair[aa[1]]).mean_limit)
        both = wide[arms].dropna()
        contrast = paired_contrast(
            both[comparison.treatment].to_numpy(),
            both[comparison.control].to_numpy(),
            scale="log_ratio" if metric in RATIOS else "difference",
            margin=margin_of(metric, spec),
            noise_limit=noise,
            alpha=spec.alpha,
            labels=FASTER_SLOWER if metric in LATENCIES else LOWER_HIGHER,
        )
        labels = dict(zip(PLACE, map(str, place), strict=True))
        yield labels | {"model": part["model"].iloc[0]}, contrast


def margin_of(metric: str, spec: AnalyseSpec) -> float:
    """Return the equivalence margin of a metric: relative for ratios, else in its own unit."""
    if metric in QUALITIES:
        return spec.quality_margin
    return spec.margin

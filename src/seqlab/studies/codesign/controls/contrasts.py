"""Statistics of the layout controls: ratios of latencies and of simulated misses, paired by run.

Each contrast is a paired t test on log ratios over runs of one device, Holm within a metric over
all contrasts.
The two arms of a kernel's A/A pair give the noise limit of its latencies.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

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
from seqlab.studies.codesign.controls.names import (
    AGAIN,
    CLUSTERED,
    CLUSTERED_AGAIN,
    DENSE,
    ORIGINAL,
    RANDOM,
    SHUFFLED,
    SPARSE,
    SPECTRAL,
)
from seqlab.studies.codesign.controls.spec import AnalyseSpec

LATENCY = "latency_ms"
# contrast -> (kernel, treatment, control).
CONTRASTS = {
    "dense_random": (DENSE, RANDOM, ORIGINAL),
    "dense_spectral": (DENSE, SPECTRAL, ORIGINAL),
    "dense_aa": (DENSE, AGAIN, ORIGINAL),
    "sparse_shuffled": (SPARSE, SHUFFLED, CLUSTERED),
    "sparse_aa": (SPARSE, CLUSTERED_AGAIN, CLUSTERED),
}
STATISTICS = [
    *("item", "contrast", "kernel", "metric", "provenance", "device"),
    *CONTRAST_COLUMNS,
]


def analyse(observations: pd.DataFrame, spec: AnalyseSpec) -> pd.DataFrame:
    """Return one row per contrast, metric and device.

    Args:
        observations: Tidy run metrics with columns kernel, layout, seed, metric, value, device.
        spec: Level and margin.
    """
    rows = [
        row
        for _, part in observations.groupby(["device", "metric"], sort=False)
        for row in _metric_rows(part, spec)
    ]
    return pd.DataFrame(rows, columns=STATISTICS)


def _metric_rows(rows: pd.DataFrame, spec: AnalyseSpec) -> Iterator[dict[str, object]]:
    """Return the contrasts of one metric on one device."""
    metric = str(rows["metric"].iloc[0])
    wide = rows.pivot_table(index="seed", columns=["kernel", "layout"], values="value")
    contrasts = [
        _contrast(wide[kernel], treatment, control, metric, spec)
        for kernel, treatment, control in CONTRASTS.values()
    ]
    for (name, (kernel, _, _)), contrast in zip(
        CONTRASTS.items(), correct_family(contrasts), strict=True
    ):
        yield {
            "item": "fig_controls",
            "contrast": name,
            "kernel": kernel,
            "metric": metric,
            "provenance": rows["provenance"].iloc[0],
            "device": rows["device"].iloc[0],
            **contrast.row(),
        }


def _contrast(
    layouts: pd.DataFrame, treatment: str, control: str, metric: str, spec: AnalyseSpec
) -> Contrast:
    timed = metric == LATENCY
    pair = (AGAIN, ORIGINAL) if AGAIN in layouts else (CLUSTERED_AGAIN, CLUSTERED)
    noise = math.expm1(noise_floor(*(layouts[arm].to_numpy() for arm in pair)).mean_limit)
    return paired_contrast(
        layouts[treatment].to_numpy(),
        layouts[control].to_numpy(),
        scale="log_ratio",
        margin=spec.margin,
        noise_limit=noise if timed else None,
        alpha=spec.alpha,
        labels=FASTER_SLOWER if timed else LOWER_HIGHER,
    )

"""Statistics of Figure 2: which arms are compared on which metric, and the families of tests.

Primary tests, stated before the data: paired t over seeds, on the difference of bits per byte and
on the log ratio of median latencies, for the third strategy against the second and the second
against the first, Holm-corrected over all schemes and bits of each. Exact sign-flip and Wilcoxon
tests stand beside, with the smallest p that they can reach at this n.

Secondary, and stated before the data as well: each latency contrast over all schemes and bits of a
run together. A layout has no reason to act on one of them alone, and the geometric mean over ten
has a third of the noise of one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
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
from seqlab.studies.codesign.quantization import names
from seqlab.studies.codesign.quantization.spec import AnalyseSpec

Scale = Literal["difference", "log_ratio"]

CELL = ["model", "scheme", "bits"]
# Scheme and bits of the rows over all schemes of a run.
POOLED: tuple[str, int] = ("all", 0)
QUALITY = ("bits_per_byte",)
LATENCY = ("prefill_ms", "decode_ms")

# contrast -> (treatment, control, metrics). The first two are the primary ones.
CONTRASTS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "repermute_vs_permute_first": (names.REPERMUTE, names.PERMUTE_QUANTIZE, QUALITY + LATENCY),
    "permute_first_vs_quantize_first": (
        names.PERMUTE_QUANTIZE,
        names.QUANTIZE_PERMUTE,
        QUALITY + LATENCY,
    ),
    "repermute_vs_quantize_first": (names.REPERMUTE, names.QUANTIZE_PERMUTE, QUALITY + LATENCY),
    "quantize_first_vs_none": (names.QUANTIZE_PERMUTE, names.QUANTIZE_ONLY, QUALITY + LATENCY),
    "permute_first_vs_none": (names.PERMUTE_QUANTIZE, names.QUANTIZE_ONLY, QUALITY + LATENCY),
    "random_vs_none": (names.RANDOM_QUANTIZE, names.QUANTIZE_ONLY, QUALITY + LATENCY),
    "quantized_vs_dense": (names.QUANTIZE_ONLY, names.DENSE, QUALITY),
    "aa": (names.QUANTIZE_ONLY_AA, names.QUANTIZE_ONLY, QUALITY + LATENCY),
    "planted": (names.PLANTED, names.QUANTIZE_ONLY, LATENCY),
}


# What pooling keeps apart.
_RUN = ["model", "seed", "arm", "metric", "unit", "provenance", "device"]

# Columns of the statistics table, also where there is nothing to compare.
STATISTICS = [
    *("item", "subset", "contrast", *CELL, "device", "metric"),
    *CONTRAST_COLUMNS,
]


@dataclass(frozen=True)
class Family:
    """The cells of one contrast on one metric: one family of tests."""

    contrast: str
    metric: str
    treatment: str
    control: str

    @property
    def scale(self) -> Scale:
        """Latencies scale, so they are compared by ratio; bits per byte by difference."""
        return "log_ratio" if self.metric in LATENCY else "difference"


def analyse(observations: pd.DataFrame, spec: AnalyseSpec) -> pd.DataFrame:
    """Return one row per contrast, metric and cell, for all seeds and for the parity subset.

    Args:
        observations: Tidy run metrics with columns model, scheme, bits, seed, arm, metric, value.
        spec: Level and margins.
    """
    subsets = (
        ("all", observations),
        ("parity", observations[observations["seed"] < spec.parity_seeds]),
    )
    return pd.DataFrame(
        [
            {"item": "fig2", "subset": subset} | row
            for subset, rows in subsets
            for family in families()
            for cells in (rows, pooled(rows))
            for _, measured in cells.groupby("device", sort=False)
            for row in _family_rows(measured, family, spec)
        ],
        columns=STATISTICS,
    )


def pooled(observations: pd.DataFrame) -> pd.DataFrame:
    """Return each latency as its geometric mean over the schemes and bits of a run.

    Args:
        observations: See `analyse`.

    Returns:
        Rows with the same columns, scheme and bits those of `POOLED`.
    """
    scheme, bits = POOLED
    timed = observations[observations["metric"].isin(LATENCY)]
    values = np.log(timed["value"]).groupby([timed[name] for name in _RUN], sort=False).mean()
    pooled = np.exp(values).reset_index().assign(scheme=scheme, bits=bits)
    # What is pooled has a value in every run, and so no reason for having none.
    return pooled.reindex(columns=list(observations.columns))


def families() -> Iterator[Family]:
    """Yield every family of tests."""
    for name, (treatment, control, metrics) in CONTRASTS.items():
        for metric in metrics:
            yield Family(name, metric, treatment, control)


def _family_rows(
    observations: pd.DataFrame, family: Family, spec: AnalyseSpec
) -> Iterator[dict[str, object]]:
    wide = observations[observations["metric"] == family.metric].pivot_table(
        index=[*CELL, "seed"], columns="arm", values="value"
    )
    device = observations["device"].iloc[0]
    cells, contrasts = [], []
    for cell, rows in wide.groupby(level=CELL, sort=False):
        cells.append(cell)
        contrasts.append(_contrast(rows, family, spec))
    for cell, contrast in zip(cells, correct_family(contrasts, "holm"), strict=True):
        yield {
            "contrast": family.contrast,
            **dict(zip(CELL, cell, strict=True)),
            "device": device,
            "metric": family.metric,
            **contrast.row(),
        }


def _contrast(rows: pd.DataFrame, family: Family, spec: AnalyseSpec) -> Contrast:
    timed = family.metric in LATENCY
    return paired_contrast(
        rows[family.treatment].to_numpy(),
        rows[family.control].to_numpy(),
        scale=family.scale,
        margin=spec.margins.latency if timed else spec.margins.quality,
        noise_limit=_noise_limit(rows) if timed else None,
        alpha=spec.alpha,
        labels=FASTER_SLOWER if timed else LOWER_HIGHER,
    )


def _noise_limit(rows: pd.DataFrame) -> float:
    """Return what the mean of two identical arms can differ by at this n, as a relative change."""
    floor = noise_floor(
        rows[names.QUANTIZE_ONLY_AA].to_numpy(), rows[names.QUANTIZE_ONLY].to_numpy()
    )
    return math.expm1(floor.mean_limit)


def summarise(observations: pd.DataFrame, statistics: pd.DataFrame) -> pd.DataFrame:
    """Return the original study's summary: mean, sd and n of each strategy, and the extra gain.

    Its columns are strategy, mean, std, n; cell, metric and unit say of what, `improvement_pct` is
    the gain over permuting first, with the paired t test's p.
    """
    strategies = observations[observations["arm"].isin(names.STRATEGIES)]
    keys = [*CELL, "metric", "unit", "arm"]
    table = (
        strategies[strategies["metric"].isin(QUALITY + LATENCY)]
        .groupby(keys, sort=False)["value"]
        .agg(mean="mean", std="std", n="count")
        .reset_index()
        .rename(columns={"arm": "strategy"})
    )
    gain = statistics[
        (statistics["contrast"] == "repermute_vs_permute_first") & (statistics["subset"] == "all")
    ][[*CELL, "metric", "p_raw"]].rename(columns={"p_raw": "p_value"})
    table = table.merge(gain, on=[*CELL, "metric"], how="left")
    base = table[table["strategy"] == names.PERMUTE_QUANTIZE].set_index([*CELL, "metric"])["mean"]
    reference = table.set_index([*CELL, "metric"]).index.map(base)
    table["improvement_pct"] = 100 * (1 - table["mean"] / reference)
    table.loc[table["strategy"] != names.REPERMUTE, ["improvement_pct", "p_value"]] = float("nan")
    return table[
        ["strategy", "mean", "std", "n", *CELL, "metric", "unit", "improvement_pct", "p_value"]
    ]

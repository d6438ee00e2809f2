"""Statistics of the comparison with compilers.

Primary, stated before the data: for Table 2 the iterative arm without a compiler, by sparse
products, against the dense arm of each compiler; for Table 6 the interaction on log latency,
log(both) + log(base) - log(fusion) - log(layout), paired over runs. Base is the linear arm in
eager mode; below 0 fusion and layout add up to more than each by itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from seqlab.measure.noise import noise_floor
from seqlab.stats.contrast import Contrast, correct_family, paired_contrast
from seqlab.studies.codesign.backends.spec import (
    DENSE_KERNEL,
    EAGER,
    IDENTICAL,
    INDUCTOR,
    ITERATIVE_SPARSE,
)
from seqlab.studies.codesign.comparisons import STATISTICS, Comparison, compare
from seqlab.studies.codesign.experiment import AnalyseSpec
from seqlab.studies.codesign.workbench import names as arms

LATENCY = "latency_ms"
QUALITIES = ("bits_per_byte", "accuracy")
# What a compiled arm is held against: the arm in eager mode.
DENSE_EAGER, LINEAR_EAGER, ITERATIVE_EAGER = (
    f"{arm}@{EAGER}" for arm in (arms.DENSE, arms.LINEAR_PT, arms.ITERATIVE)
)
_COMPARISONS = (
    Comparison("layout", arms.ITERATIVE, arms.LINEAR_PT, (LATENCY, *QUALITIES)),
    Comparison("iterative_vs_dense", arms.ITERATIVE, arms.DENSE, (LATENCY, *QUALITIES)),
    Comparison("iterative_sparse_vs_dense", ITERATIVE_SPARSE, arms.DENSE, (LATENCY,)),
    Comparison("compiled_vs_eager", arms.DENSE, DENSE_EAGER, (LATENCY,)),
    Comparison("iterative_eager_vs_compiled_dense", ITERATIVE_EAGER, arms.DENSE, (LATENCY,)),
    Comparison(
        "iterative_sparse_vs_compiled_dense", f"{ITERATIVE_SPARSE}@{EAGER}", arms.DENSE, (LATENCY,)
    ),
    Comparison("fusion", arms.LINEAR_PT, LINEAR_EAGER, (LATENCY,)),
    Comparison("both", arms.ITERATIVE, LINEAR_EAGER, (LATENCY,)),
)


def analyse(observations: pd.DataFrame, spec: AnalyseSpec) -> pd.DataFrame:
    """Return contrasts of both tables and the interaction of layout and fusion."""
    tables = [pd.DataFrame(columns=STATISTICS)]
    for kernel, part in observations.groupby("kernel", sort=False):
        aa = IDENTICAL[str(kernel)]
        item = "table2" if kernel == DENSE_KERNEL else "table6"
        comparisons = (*_COMPARISONS, Comparison("aa", *aa, (LATENCY,)))
        tables.append(compare(with_eager(part), comparisons, spec, item=item, aa=aa))
    rows = list(_interactions(observations, spec))
    if rows:
        tables.append(pd.DataFrame(rows).reindex(columns=STATISTICS))
    return pd.concat([t for t in tables if len(t)] or tables, ignore_index=True)


def with_eager(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with the arms of eager mode beside those of every compiler."""
    timed = rows[rows["metric"] == LATENCY]
    eager = timed[timed["level"] == EAGER]
    added = []
    for level in timed["level"].unique():
        if level != EAGER:
            added.append(eager.assign(level=level, arm=eager["arm"] + f"@{EAGER}"))
    return pd.concat([rows, *added], ignore_index=True)


def _interactions(observations: pd.DataFrame, spec: AnalyseSpec) -> Iterator[dict[str, Any]]:
    """Yield the interaction of every cell and kernel; those of one device are one family."""
    timed = observations[observations["metric"] == LATENCY]
    for device, there in timed.groupby("device", sort=False):
        found: list[tuple[dict[str, Any], Contrast]] = []
        for (cell, kernel), part in there.groupby(["cell", "kernel"], sort=False):
            labels = {
                "item": "table6",
                "contrast": "interaction",
                "cell": cell,
                "model": part["model"].iloc[0],
                "kernel": kernel,
                "level": INDUCTOR,
                "treatment": f"{arms.ITERATIVE}/{arms.LINEAR_PT}, {INDUCTOR}",
                "control": f"{arms.ITERATIVE}/{arms.LINEAR_PT}, {EAGER}",
                "metric": LATENCY,
                "provenance": "measured",
                "device": device,
            }
            contrast = _interaction(part, IDENTICAL[str(kernel)], spec)
            if contrast is not None:
                found.append((labels, contrast))
        corrected = correct_family([contrast for _, contrast in found])
        for (labels, _), contrast in zip(found, corrected, strict=True):
            yield labels | contrast.row()


def _interaction(part: pd.DataFrame, aa: tuple[str, str], spec: AnalyseSpec) -> Contrast | None:
    """Return how the ratio of both layouts changes with fusion; None where nothing was fused."""
    used = part[part["level"].isin([EAGER, INDUCTOR])]
    wide = used.pivot_table(index="seed", columns=["level", "arm"], values="value").dropna()
    if wide.empty or INDUCTOR not in wide.columns.get_level_values("level"):
        return None
    fused, eager = (
        wide[level][arms.ITERATIVE] / wide[level][arms.LINEAR_PT] for level in (INDUCTOR, EAGER)
    )
    noise = None
    if len(wide) > 1:
        again = [wide[level][aa[0]] / wide[level][aa[1]] for level in (INDUCTOR, EAGER)]
        noise = math.expm1(noise_floor(*again).mean_limit)
    return paired_contrast(
        fused.to_numpy(),
        eager.to_numpy(),
        scale="log_ratio",
        margin=spec.margin,
        noise_limit=noise,
        alpha=spec.alpha,
    )

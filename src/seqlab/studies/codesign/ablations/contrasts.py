"""Statistics of the ablations.

Primary, stated before the data: latency of every variant against the reference of its cell, Holm
over all variants of the cell (so within an architecture for objectives). The reference is the
original order for objectives, the full method (`full`) for components and sensitivity, one
iteration with spectral clusters for the grid, and the reference number of clusters.

The grid is crossed: its marginals are ratios of geometric means over the other factor, its
interaction is the ratio of both effects together to their product, all paired by run, and a two-way
analysis of variance on log latency, which knows no pairs, stands beside them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from seqlab.studies.codesign.ablations.spec import (
    CLUSTERS,
    COMPONENTS,
    GRID,
    OBJECTIVES,
    SENSITIVITY,
    kind_of,
)
from seqlab.studies.codesign.ablations.variants import (
    AA_SUFFIX,
    ITERATED_RANDOM,
    ITERATED_SPECTRAL,
    ONCE_RANDOM,
    ONCE_SPECTRAL,
)
from seqlab.studies.codesign.comparisons import (
    LATENCIES,
    PLACE,
    QUALITIES,
    STATISTICS,
    Comparison,
    compare,
    variance_rows,
)
from seqlab.studies.codesign.experiment import AnalyseSpec

ITEMS = {
    OBJECTIVES: "table9",
    COMPONENTS: "table10",
    SENSITIVITY: "table11",
    GRID: "table13",
    CLUSTERS: "table16",
}
LATENCY = "latency_ms"
MISSES = ("L1_misses", "L2_misses", "L3_misses", "dram_bytes")
COMPARED = (*LATENCIES, *MISSES, *QUALITIES, "q_newman", "q_excess")
AA = "aa"
NOT_RUN = "not_run"
# Pairs without the reference that published statements are about.
_PAIRS = {
    OBJECTIVES: (
        ("spectral_balanced", "tsp"),
        ("spectral_balanced", "random"),
        ("louvain", "tsp"),
        ("tsp", "random"),
        ("multilevel", "random"),
    ),
    SENSITIVITY: (("sparsity_before", "sparsity_after"),),
}
# Marginals of the grid and both sides of its interaction, made from its four arms.
ITERATED, ONCE, SPECTRAL, RANDOM = "iterated", "once", "spectral", "random"
_TOGETHER, _APART = "effects_together", "effects_apart"
INTERACTION = "interaction"
GRID_CONTRASTS = (
    Comparison("iteration", ITERATED, ONCE, LATENCIES),
    Comparison("clustering", SPECTRAL, RANDOM, LATENCIES),
    Comparison("iteration_at_random", ITERATED_RANDOM, ONCE_RANDOM, COMPARED),
    Comparison("iteration_at_spectral", ITERATED_SPECTRAL, ONCE_SPECTRAL, COMPARED),
    Comparison("clustering_at_once", ONCE_SPECTRAL, ONCE_RANDOM, COMPARED),
    Comparison("clustering_at_iterated", ITERATED_SPECTRAL, ITERATED_RANDOM, COMPARED),
    Comparison(INTERACTION, _TOGETHER, _APART, LATENCIES),
)
GRID_ARMS = {
    ONCE_RANDOM: (ONCE, RANDOM),
    ONCE_SPECTRAL: (ONCE, SPECTRAL),
    ITERATED_RANDOM: (ITERATED, RANDOM),
    ITERATED_SPECTRAL: (ITERATED, SPECTRAL),
}


def reference_of(arms: Sequence[str]) -> str:
    """Return the arm that has an identical twin: the reference of a cell.

    Raises:
        StopIteration: No arm has one.
    """
    return next(a.removesuffix(AA_SUFFIX) for a in arms if a.endswith(AA_SUFFIX))


def analyse(observations: pd.DataFrame, spec: AnalyseSpec) -> pd.DataFrame:
    """Return one row per contrast, place, metric and device, and one per variant not run."""
    found = [
        table
        for cell, rows in observations.groupby("cell", sort=False)
        for table in _of_cell(kind_of(str(cell)), rows, spec)
        if not table.empty
    ]
    if not found:
        return pd.DataFrame(columns=STATISTICS)
    return pd.concat(found, ignore_index=True)[STATISTICS]


def _of_cell(kind: str, rows: pd.DataFrame, spec: AnalyseSpec) -> list[pd.DataFrame]:
    item, names = ITEMS[kind], list(rows["arm"].unique())
    reference = reference_of(names)
    pair = (f"{reference}{AA_SUFFIX}", reference)
    if kind == GRID:
        rows = with_marginals(rows)
        comparisons: tuple[Comparison, ...] = GRID_CONTRASTS
    else:
        pairs = [(name, reference) for name in names if name not in pair]
        pairs += [p for p in _PAIRS.get(kind, ()) if p not in pairs]
        comparisons = tuple(Comparison(f"{a}_vs_{b}", a, b, COMPARED) for a, b in pairs)
    made = compare(rows, comparisons, spec, item=item, aa=pair, family="cell")
    # `lower`: the effects are more than their product; no latency is faster.
    crossed = made["contrast"] == INTERACTION
    words = {"faster": "lower", "slower": "higher"}
    made.loc[crossed, "verdict"] = made.loc[crossed, "verdict"].replace(words)
    identical = compare(rows, [Comparison(AA, *pair, LATENCIES)], spec, item=item, aa=pair)
    tables = [made, identical, _not_run(rows, item, reference)]
    if kind == GRID:
        tables.append(_variance(rows, item, spec.alpha))
    return tables


def with_marginals(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the grid with its marginals, and products for its interaction."""
    added = []
    keys = ["device", "metric", "model", *PLACE, "seed", "unit", "provenance"]
    timed = rows[rows["metric"].isin(LATENCIES) & rows["arm"].isin(list(GRID_ARMS))]
    for key, part in timed.groupby(keys, sort=False, dropna=False):
        ms = part.set_index("arm")["value"]
        if not {*GRID_ARMS} <= {*ms.index}:
            continue
        sides = {
            side: float(np.sqrt(np.prod([ms[arm] for arm, on in GRID_ARMS.items() if side in on])))
            for side in (ITERATED, ONCE, SPECTRAL, RANDOM)
        }
        sides[_TOGETHER] = float(ms[ITERATED_SPECTRAL] * ms[ONCE_RANDOM])
        sides[_APART] = float(ms[ITERATED_RANDOM] * ms[ONCE_SPECTRAL])
        common = dict(zip(keys, key, strict=True))
        added += [common | {"arm": side, "value": value} for side, value in sides.items()]
    return pd.concat([rows, pd.DataFrame(added)], ignore_index=True) if added else rows


def _not_run(rows: pd.DataFrame, item: str, reference: str) -> pd.DataFrame:
    """Return one row per variant that has no latency, with the reason."""
    timed = rows[rows["metric"] == LATENCY]
    absent = [
        {
            "item": item,
            "contrast": f"{arm}_vs_{reference}",
            **dict(zip(PLACE, map(str, place), strict=True)),
            "model": part["model"].iloc[0],
            "treatment": arm,
            "control": reference,
            "metric": LATENCY,
            "provenance": "measured",
            "device": device,
            "n": 0,
            "verdict": NOT_RUN,
            "reason": str(part["reason"].dropna().iloc[0]),
        }
        for (device, *place, arm), part in timed.groupby(["device", *PLACE, "arm"], sort=False)
        if part["value"].isna().all()
    ]
    return pd.DataFrame(absent, columns=STATISTICS)


def _variance(rows: pd.DataFrame, item: str, alpha: float) -> pd.DataFrame:
    """Return the two-way analysis of variance of the grid's latencies, Holm over its effects."""
    found = []
    timed = rows[(rows["metric"] == LATENCY) & rows["arm"].isin(list(GRID_ARMS))]
    for (device, *place), part in timed.groupby(["device", *PLACE], sort=False):
        factors = [GRID_ARMS[arm] for arm in part["arm"]]
        common = {
            "item": item,
            **dict(zip(PLACE, map(str, place), strict=True)),
            "model": part["model"].iloc[0],
            "metric": LATENCY,
            "provenance": "measured",
            "device": device,
        }
        found += [
            common | row
            for row in variance_rows(
                [*part["value"]],
                [first for first, _ in factors],
                [second for _, second in factors],
                names=("iteration", "clustering"),
                alpha=alpha,
            )
        ]
    return pd.DataFrame(found, columns=STATISTICS)

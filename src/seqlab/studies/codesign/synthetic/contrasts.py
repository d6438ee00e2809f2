"""Statistics of Figure 3: where the hit rate follows the layout, and where it does not.

Contrasts, each over seeds (a seed draws graph, shuffles and walk), with Holm over all its cells:

- `truth_vs_random`: hit rate of the order of communities less that of a random order;
- `monotone`: Spearman correlation of hit rate and Q_frac over the shuffled fractions, less 0; a
  seed whose hit rate never changes has none; `monotone_newman` is the same with Newman's Q;
- `hit_vs_q_frac`: for caches of one line, hit rate less Q_frac, each averaged over the fractions.

The rows of facet `smaller` (the cache holds less than the array) and `fits` (it holds all of it)
average a seed's values over their cells first; each is one test, not corrected.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from seqlab.stats.contrast import CONTRAST_COLUMNS, Contrast, correct_family, paired_contrast
from seqlab.studies.codesign.synthetic.spec import AnalyseSpec

CELL = ["graph", "nodes", "communities", "block", "capacity"]
STATISTICS = [
    *("item", "facet", "contrast", *CELL, "lines", "fits", "n_cells"),
    *CONTRAST_COLUMNS,
]
FACETS = {"smaller": False, "fits": True}

Values = NDArray[np.float64]


def analyse(observations: pd.DataFrame, spec: AnalyseSpec) -> pd.DataFrame:
    """Return one row per contrast and cell, and one per contrast and facet.

    Args:
        observations: Rows of one layout each, with columns seed, fraction, q_frac, hit_rate and
            those of `CELL`.
        spec: Level and margin.
    """
    per_seed = _per_seed(observations)
    rows = [row for name in _CONTRASTS for row in _contrast_rows(per_seed, name, spec)]
    return pd.DataFrame(rows, columns=STATISTICS)


# contrast -> columns of treatment and control in the table of `_per_seed`.
_CONTRASTS = {
    "truth_vs_random": ("hit_truth", "hit_random"),
    "monotone": ("spearman", "zero"),
    "monotone_newman": ("spearman_newman", "zero"),
    "hit_vs_q_frac": ("hit_mean", "q_frac_mean"),
}


def _per_seed(observations: pd.DataFrame) -> pd.DataFrame:
    """Return one row per cell and seed: what the contrasts compare."""
    rows = []
    for key, layouts in observations.groupby([*CELL, "seed"], sort=False):
        ordered = layouts.sort_values("fraction")
        hit, q_frac = ordered["hit_rate"].to_numpy(), ordered["q_frac"].to_numpy()
        rows.append(
            {
                **dict(zip([*CELL, "seed"], key, strict=True)),
                "hit_truth": hit[0],
                "hit_random": hit[-1],
                "spearman": spearman(q_frac, hit),
                "spearman_newman": spearman(ordered["q_newman"].to_numpy(), hit),
                "zero": 0.0,
                "hit_mean": hit.mean(),
                "q_frac_mean": q_frac.mean(),
            }
        )
    table = pd.DataFrame(rows)
    table["lines"] = -(-table["nodes"] // table["block"])
    table["fits"] = table["capacity"] >= table["lines"]
    return table


def spearman(x: Values, y: Values) -> float:
    """Return the rank correlation of two series, NaN if one of them is constant."""
    ranks = [rankdata(values) for values in (x, y)]
    if any(np.ptp(rank) == 0 for rank in ranks):
        return float("nan")
    return float(np.corrcoef(*ranks)[0, 1])


def _contrast_rows(
    per_seed: pd.DataFrame, name: str, spec: AnalyseSpec
) -> Iterator[dict[str, object]]:
    rows = per_seed[per_seed["capacity"] == 1] if name == "hit_vs_q_frac" else per_seed
    treatment, control = _CONTRASTS[name]
    cells, contrasts = [], []
    for key, seeds in rows.groupby([*CELL, "lines", "fits"], sort=False):
        defined = seeds.dropna(subset=[treatment])
        if len(defined):
            cells.append(dict(zip([*CELL, "lines", "fits"], key, strict=True)))
            contrasts.append(_contrast(defined, treatment, control, spec))
    for cell, contrast in zip(cells, correct_family(contrasts), strict=True):
        yield {"item": "fig3", "facet": "cell", "contrast": name, "n_cells": 1, **cell} | (
            contrast.row()
        )
    for facet, fits in FACETS.items():
        part = rows[rows["fits"] == fits].dropna(subset=[treatment])
        if part.empty:
            continue
        means = part.groupby("seed")[[treatment, control]].mean()
        yield {
            "item": "fig3",
            "facet": facet,
            "contrast": name,
            "fits": fits,
            "n_cells": len(part[CELL].drop_duplicates()),
        } | _contrast(means, treatment, control, spec).row()


def _contrast(seeds: pd.DataFrame, treatment: str, control: str, spec: AnalyseSpec) -> Contrast:
    return paired_contrast(
        seeds[treatment].to_numpy(),
        seeds[control].to_numpy(),
        margin=spec.margin,
        alpha=spec.alpha,
    )

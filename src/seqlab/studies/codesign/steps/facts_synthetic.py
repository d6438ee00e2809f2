"""Step: the facts that the caption of Figure 3 states."""

from __future__ import annotations

import pandas as pd

from seqlab.provenance.atomic import write_json
from seqlab.spec import In, Out
from seqlab.studies.codesign.synthetic.spec import FactsSpec


def facts_synthetic(spec: FactsSpec, *, statistics: In, facts: Out) -> None:
    """Write what the caption names: grid, n, and how far theory and simulation are apart."""
    rows = pd.read_csv(statistics)
    write_json(
        facts,
        {
            "scale": spec.scale,
            "n": spec.seeds,
            "steps": f"{spec.steps:,}",
            "graphs": spec.graphs,
            "shown": spec.shown.model_dump(),
            "margin": f"{spec.margin:g}",
            "monotone": _effect(rows, "monotone", "smaller"),
            "gain_smaller": _effect(rows, "truth_vs_random", "smaller"),
            "gain_fits": _effect(rows, "truth_vs_random", "fits"),
            "theory": _effect(rows, "hit_vs_q_frac", "smaller"),
        },
    )


def _effect(rows: pd.DataFrame, contrast: str, facet: str) -> str:
    found = rows[(rows["contrast"] == contrast) & (rows["facet"] == facet)]
    if found.empty:
        return "undefined"
    row = found.iloc[0]
    if pd.isna(row["ci_low"]):
        return f"{row['estimate']:.3f} ({row['reason']})"
    return f"{row['estimate']:.3f} [{row['ci_low']:.3f}, {row['ci_high']:.3f}], {row['verdict']}"

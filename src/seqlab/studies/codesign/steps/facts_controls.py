"""Step: the facts that the caption of the layout controls states."""

from __future__ import annotations

import pandas as pd

from seqlab.provenance.atomic import write_json
from seqlab.spec import In, Out
from seqlab.studies.codesign.controls.spec import FactsSpec

_MIB = 1 << 20


def facts_controls(spec: FactsSpec, *, statistics: In, facts: Out) -> None:
    """Write what the caption names: sizes, caches, n and the noise of identical arms."""
    rows = pd.read_csv(statistics)
    timed = rows[rows["metric"] == "latency_ms"].groupby("contrast")["noise_limit"].max()
    dense, sparse = spec.dense, spec.sparse
    write_json(
        facts,
        {
            "scale": spec.scale,
            "n": spec.seeds,
            "threads": spec.threads,
            "placements": spec.placements,
            "dense": f"{dense.rows:,} x {dense.columns:,}, {dense.width:,} columns",
            "sparse": f"{sparse.nodes:,} nodes, {sparse.width:,} columns",
            "operand": f"{sparse.nodes * sparse.width * 4 / _MIB:.1f} MiB",
            "caches": ", ".join(f"{c.name} {c.size // 1024:,} KiB" for c in spec.caches),
            "margin": f"{100 * spec.margin:g} %",
            "noise": {
                kernel: f"{100 * timed[f'{kernel}_aa']:.1f} %" for kernel in ("dense", "sparse")
            },
            "devices": "; ".join(sorted(rows["device"].unique())),
        },
    )

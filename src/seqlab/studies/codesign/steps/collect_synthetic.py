"""Step: one tidy table of all run records of Figure 3."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from seqlab.provenance.atomic import write_text
from seqlab.provenance.record import Record, read_record
from seqlab.spec import InFolder, Out
from seqlab.studies.codesign.synthetic.spec import CollectSpec, GraphSpec


def collect_synthetic(spec: CollectSpec, *, runs: InFolder, table: Out) -> None:
    """Read every run below `runs` and write one row per graph, layout and cache.

    Raises:
        UserError: A record is missing or damaged, or its samples are not those it names.
    """
    tables = []
    for member in spec.members("runs"):
        path = runs / member
        if path.name == "record.json":
            tables.append(_rows(path, read_record(path, samples=True)))
    write_text(table, pd.concat(tables, ignore_index=True).to_csv(index=False))


def _rows(path: Path, record: Record) -> pd.DataFrame:
    """Return the rows of one run."""
    settings = record.environment["spec"]
    blocks, capacities = settings["blocks"], settings["capacities"]
    fractions = np.linspace(0.0, 1.0, settings["fractions"])
    cells = pd.MultiIndex.from_product(
        [blocks, capacities, fractions], names=["block", "capacity", "fraction"]
    ).to_frame(index=False)
    tables = []
    with np.load(path.parent / "samples.npz") as samples:
        for graph in map(GraphSpec.model_validate, settings["graphs"]):
            hit_rate = samples[f"{graph.name}/hit_rate"]
            broadcast = {
                key: np.broadcast_to(samples[f"{graph.name}/{key}"][:, None], hit_rate.shape)
                for key in ("q_frac", "q_newman")
            }
            tables.append(
                cells.assign(
                    graph=graph.name,
                    nodes=graph.nodes,
                    communities=graph.communities,
                    seed=record.seed,
                    q_frac=broadcast["q_frac"].ravel(),
                    q_newman=broadcast["q_newman"].ravel(),
                    hit_rate=hit_rate.ravel(),
                    provenance="simulated",
                )
            )
    return pd.concat(tables, ignore_index=True)

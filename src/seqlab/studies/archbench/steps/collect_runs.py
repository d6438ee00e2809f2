"""Step: tidy tables of runs, of what they reached and of their validation curves."""

from __future__ import annotations

import csv
import io

import pandas as pd

from seqlab.provenance.atomic import write_text
from seqlab.provenance.observations import observations
from seqlab.provenance.record import read_record, read_samples
from seqlab.spec import InFolder, Out
from seqlab.studies.archbench.distances import distance_rows, tenths_of_tests
from seqlab.studies.archbench.places import COLUMNS, place
from seqlab.studies.archbench.problems.base import unpack
from seqlab.studies.archbench.steps_spec import CollectRunsSpec


def collect_runs(
    spec: CollectRunsSpec, *, runs: InFolder, tests: InFolder, table: Out, curves: Out
) -> None:
    """Write one row per condition and metric, and one per evaluation while training.

    Accuracies over distances come from every answer, which only samples have.

    Raises:
        UserError: A record, its samples or the stored sets are missing or damaged.
    """
    paths = [runs / run / "record.json" for run in spec.runs]
    known = {task: tenths_of_tests(unpack(tests / task / "sets.npz")) for task in spec.tasks}
    distances, parts = io.StringIO(), []
    for path in paths:
        record, samples = read_record(path), read_samples(path.with_name("samples.npz"))
        rows = distance_rows(record, samples, known[str(record.cell["task"])])
        csv.writer(distances, lineterminator="\n").writerows(rows)
        parts.append(
            pd.DataFrame(
                {
                    "task": record.cell["task"],
                    "architecture": record.cell["architecture"],
                    "local": record.cell["local"],
                    "seed": record.seed,
                    **{
                        name: samples[f"evaluations/{name}"]
                        for name in ("step", "accuracy", "loss")
                    },
                }
            )
        )
    write_text(table, observations(paths, COLUMNS, place) + distances.getvalue())
    write_text(curves, pd.concat(parts, ignore_index=True).to_csv(index=False))

"""Step: the table and plots of the original's benchmark script, of the runs that were asked for."""

from __future__ import annotations

import math

import pandas as pd

from seqlab.plots.save import save_figure
from seqlab.provenance.atomic import atomic_folder, write_text
from seqlab.provenance.record import Record, read_record
from seqlab.spec import InFolder, Out
from seqlab.studies.archbench.figures.benchmark import SHOWN, draw
from seqlab.studies.archbench.steps_spec import ExportSpec
from seqlab.studies.archbench.tasks_spec import TRAINED


def export_benchmark(spec: ExportSpec, *, runs: InFolder, table: Out, plots: Out) -> None:
    """Write one row per run, and a plot of each metric by architecture and task.

    Raises:
        UserError: A record is missing, damaged or of another schema.
    """
    records = [read_record(runs / member) for member in spec.members("runs")]
    rows = pd.DataFrame([_row(record) for record in records])
    write_text(table, rows.to_csv(index=False))
    with atomic_folder(plots) as folder:
        for metric, label in SHOWN.items():
            figure = draw(rows, metric, label, scale=spec.scale)
            save_figure(figure, folder / f"{metric}.pdf", folder / f"{metric}.png")


def _row(record: Record) -> dict[str, object]:
    task = str(record.cell["task"])
    reached, took = record.arms[TRAINED].metrics, record.arms["training"].metrics
    nll = reached["nll"].value
    return {
        "architecture": record.cell["architecture"],
        "task": task,
        "seed": record.seed,
        "accuracy": reached["accuracy"].value,
        "perplexity": math.nan if nll is None else math.exp(nll),
        "training_time_s": took["compute_s"].value,
        "parameters": took["parameters"].value,
        "steps": took["steps"].value,
        "rehearsal": record.rehearsal,
    }

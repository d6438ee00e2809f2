"""Step: the figure of accuracy of every architecture on every task."""

from __future__ import annotations

from seqlab.plots.save import save_drawn_data, save_figure
from seqlab.spec import In, Out
from seqlab.studies.archbench.analysis.frames import read_table
from seqlab.studies.archbench.figures.accuracy import draw
from seqlab.studies.archbench.figures.cells import cell_rows
from seqlab.studies.archbench.steps_spec import DrawSpec


def draw_accuracy(
    spec: DrawSpec,
    *,
    statistics: In,
    observations: In,
    curves: In,
    solvers: In,
    pdf: Out,
    png: Out,
    csv: Out,
) -> None:
    """Draw the figure, and write exactly what is drawn."""
    tables = (read_table(statistics), read_table(observations), read_table(solvers))
    data = cell_rows(*tables, spec.tasks, ("floor", "greedy"))
    save_figure(draw(data, scale=spec.scale), pdf, png)
    save_drawn_data(data, csv)

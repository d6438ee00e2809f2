"""Step: the figure of glitches of flip-flop reads."""

from __future__ import annotations

from seqlab.plots.save import save_drawn_data, save_figure
from seqlab.spec import In, Out
from seqlab.studies.archbench.analysis.frames import read_table
from seqlab.studies.archbench.figures.glitches import draw, drawn
from seqlab.studies.archbench.steps_spec import DrawSpec


def draw_glitches(
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
    data = drawn(read_table(observations), spec.labels["flip_flop"])
    save_figure(draw(data, scale=spec.scale), pdf, png)
    save_drawn_data(data, csv)

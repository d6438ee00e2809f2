"""Step: Figure 6."""

from __future__ import annotations

import pandas as pd

from seqlab.plots.save import save_drawn_data, save_figure
from seqlab.spec import In, Out
from seqlab.studies.codesign.experiment import DrawSpec
from seqlab.studies.codesign.pareto.figure import draw, drawn


def draw_pareto(
    spec: DrawSpec, *, statistics: In, observations: In, pdf: Out, png: Out, csv: Out
) -> None:
    """Draw the figure, and write exactly the rows that are drawn."""
    data = drawn(pd.read_csv(statistics))
    save_figure(draw(data, scale=spec.scale, margin=spec.margin), pdf, png)
    save_drawn_data(data, csv)

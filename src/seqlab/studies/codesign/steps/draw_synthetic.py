"""Step: Figure 3."""

from __future__ import annotations

import pandas as pd

from seqlab.plots.save import save_drawn_data, save_figure
from seqlab.spec import In, Out
from seqlab.studies.codesign.synthetic.figure import draw, drawn
from seqlab.studies.codesign.synthetic.spec import DrawSpec


def draw_synthetic(
    spec: DrawSpec, *, table: In, statistics: In, pdf: Out, png: Out, csv: Out
) -> None:
    """Draw the figure, and write exactly the rows that are drawn."""
    data = drawn(pd.read_csv(table), pd.read_csv(statistics), spec.shown)
    save_figure(draw(data, scale=spec.scale, shown=spec.shown), pdf, png)
    save_drawn_data(data, csv)

"""Step: Figure 4."""

from __future__ import annotations

import pandas as pd

from seqlab.plots.save import save_drawn_data, save_figure
from seqlab.spec import In, Out
from seqlab.studies.codesign.experiment import DrawSpec
from seqlab.studies.codesign.sweeps.grid_figures import batch_data, batch_figure


def draw_batch_sensitivity(
    spec: DrawSpec, *, statistics: In, observations: In, pdf: Out, png: Out, csv: Out
) -> None:
    """Draw the figure, and write exactly what is drawn."""
    data = batch_data(pd.read_csv(statistics))
    save_figure(batch_figure(data, scale=spec.scale), pdf, png)
    save_drawn_data(data, csv)

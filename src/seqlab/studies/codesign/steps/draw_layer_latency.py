"""Step: Figure 1."""

from __future__ import annotations

import pandas as pd

from seqlab.plots.save import save_drawn_data, save_figure
from seqlab.spec import In, Out
from seqlab.studies.codesign.experiment import DrawSpec
from seqlab.studies.codesign.sweeps.layer_figure import layer_data, layer_figure


def draw_layer_latency(
    spec: DrawSpec, *, statistics: In, observations: In, pdf: Out, png: Out, csv: Out
) -> None:
    """Draw the figure, and write exactly what is drawn."""
    data = layer_data(pd.read_csv(statistics))
    save_figure(layer_figure(data, scale=spec.scale), pdf, png)
    save_drawn_data(data, csv)

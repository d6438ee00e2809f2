"""Step: the figure of the mediation."""

from __future__ import annotations

import pandas as pd

from seqlab.plots.save import save_drawn_data, save_figure
from seqlab.spec import In, Out
from seqlab.studies.codesign.experiment import DrawSpec
from seqlab.studies.codesign.layouts.figures import mediation_data, mediation_figure


def draw_mediation(
    spec: DrawSpec, *, statistics: In, observations: In, pdf: Out, png: Out, csv: Out
) -> None:
    """Draw the figure, and write exactly what is drawn."""
    data = mediation_data(pd.read_csv(statistics))
    save_figure(mediation_figure(data, scale=spec.scale), pdf, png)
    save_drawn_data(data, csv)

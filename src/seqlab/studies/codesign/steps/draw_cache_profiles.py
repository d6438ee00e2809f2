"""Step: Figure 5."""

from __future__ import annotations

import pandas as pd

from seqlab.plots.save import save_drawn_data, save_figure
from seqlab.spec import In, Out
from seqlab.studies.codesign.profiles.figure import draw, drawn
from seqlab.studies.codesign.profiles.spec import ProfilesDrawSpec


def draw_cache_profiles(
    spec: ProfilesDrawSpec, *, statistics: In, observations: In, pdf: Out, png: Out, csv: Out
) -> None:
    """Draw the figure, and write exactly what is drawn."""
    data = drawn(pd.read_csv(observations), pd.read_csv(statistics), dict(spec.labels))
    save_figure(draw(data, scale=spec.scale), pdf, png)
    save_drawn_data(data, csv)

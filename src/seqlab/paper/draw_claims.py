"""Step: the figure of all claims and their verdicts."""

from __future__ import annotations

import pandas as pd

from seqlab.paper.spec import PlainSpec
from seqlab.plots.claims_figure import draw_claims as draw
from seqlab.plots.save import save_drawn_data, save_figure
from seqlab.spec import In, Out


def draw_claims(spec: PlainSpec, *, table: In, pdf: Out, png: Out, csv: Out) -> None:
    """Draw one mark per claim, one row per item."""
    verdicts = pd.read_csv(table)
    save_figure(draw(verdicts), pdf, png)
    save_drawn_data(verdicts, csv)

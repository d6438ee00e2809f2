"""Step: all figures on one page, to look at."""

from __future__ import annotations

from seqlab.paper.spec import PlainSpec
from seqlab.plots.contact_sheet import draw_contact_sheet as draw
from seqlab.plots.save import save_figure
from seqlab.spec import Ins, Out


def draw_contact_sheet(spec: PlainSpec, *, figures: Ins, pdf: Out, png: Out) -> None:
    """Place the previews of all figures on one page."""
    save_figure(draw(figures), pdf, png)

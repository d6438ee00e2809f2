"""All previews on one page, to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib.image
from matplotlib.figure import Figure

from seqlab.errors import UserError
from seqlab.plots.style import PAGE_IN, new_figure, style

_CELL_IN = 2.4


def draw_contact_sheet(previews: Sequence[Path], columns: int = 3) -> Figure:
    """Draw PNG previews in reading order with their names; save it with `save_figure`.

    Raises:
        UserError: There is no preview, or one cannot be read.
    """
    if not previews:
        raise UserError("a contact sheet needs at least one figure", fix="make a figure first")
    columns = min(columns, len(previews))
    rows = -(-len(previews) // columns)
    with style():
        fig = new_figure(PAGE_IN, _CELL_IN * rows)
        panels = fig.subplots(rows, columns, squeeze=False).ravel()
        for panel in panels:
            panel.set_axis_off()
        for panel, path in zip(panels, previews, strict=False):
            panel.imshow(_read(path), interpolation="antialiased")
            panel.set_title(path.stem, fontsize=7, loc="left")
    return fig


def _read(path: Path) -> object:
    try:
        return matplotlib.image.imread(path)
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(
            f"cannot read preview: {error}", where=str(path), fix="draw the figure again"
        ) from None

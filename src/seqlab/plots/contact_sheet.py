"""All previews on one page, to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib.image
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from seqlab.errors import UserError
from seqlab.plots.style import PAGE_IN, new_figure, style

_TITLE_IN = 0.2


def draw_contact_sheet(previews: Sequence[Path], columns: int = 2) -> Figure:
    """Draw PNG previews in reading order with their names; save it with `save_figure`.

    A row is as high as the highest of its previews at the width of a column.

    Raises:
        UserError: There is no preview, or one cannot be read.
    """
    if not previews:
        raise UserError("a contact sheet needs at least one figure", fix="make a figure first")
    columns = min(columns, len(previews))
    images = [_read(path) for path in previews]
    width = PAGE_IN / columns
    heights = [
        _TITLE_IN
        + max(width * image.shape[0] / image.shape[1] for image in images[k : k + columns])
        for k in range(0, len(images), columns)
    ]
    with style():
        fig = new_figure(PAGE_IN, sum(heights))
        grid = fig.subplots(len(heights), columns, squeeze=False, height_ratios=heights)
        panels = grid.ravel()
        for panel in panels:
            panel.set_axis_off()
        for panel, path, image in zip(panels, previews, images, strict=False):
            panel.imshow(image, interpolation="antialiased")
            panel.set_anchor("NW")
            panel.set_title(path.stem, fontsize=7, loc="left")
    return fig


def _read(path: Path) -> npt.NDArray[np.floating]:
    try:
        return np.asarray(matplotlib.image.imread(path))
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(
            f"cannot read preview: {error}", where=str(path), fix="draw the figure again"
        ) from None

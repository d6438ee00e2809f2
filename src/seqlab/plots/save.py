"""Save figures so that the same data give the same bytes: fixed metadata and no dates."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from seqlab.plots.legibility import pdf_text_sizes
from seqlab.plots.style import SMALLEST_TEXT_PT, style
from seqlab.provenance.atomic import write_bytes, write_text

if TYPE_CHECKING:
    import pandas as pd

_NO_DATE = {"CreationDate": None, "Creator": "seqlab", "Producer": "matplotlib"}
# Sizes of rotated text are read back through rounded matrices.
_ROUNDING_PT = 1e-3


def save_figure(fig: Figure, pdf_path: str | Path, png_path: str | Path | None = None) -> None:
    """Write a figure as PDF, and as PNG preview of the same layout.

    The figure keeps its size (no tight bounding box): text is printed at the size it was drawn at.

    Args:
        fig: Figure drawn inside `style()`.
        pdf_path: Vector output.
        png_path: Preview; None for none.

    Raises:
        ValueError: A text is printed below 6 pt, as read from the PDF.
        UserError: A path cannot be written.
    """
    with style():
        pdf = _bytes(fig, "pdf")
        smallest = min(pdf_text_sizes(pdf), default=SMALLEST_TEXT_PT)
        if smallest < SMALLEST_TEXT_PT - _ROUNDING_PT:
            raise ValueError(
                f"text of {smallest:.2f} pt is below {SMALLEST_TEXT_PT:g} pt (superscripts count)"
            )
        write_bytes(Path(pdf_path), pdf)
        # The preview has the layout of the page; solving it again takes a second.
        fig.set_layout_engine("none")
        if png_path is not None:
            write_bytes(Path(png_path), _bytes(fig, "png"))


def save_drawn_data(data: pd.DataFrame, csv_path: str | Path) -> None:
    """Write exactly the rows that a figure draws, at full precision.

    Raises:
        UserError: The path cannot be written.
    """
    write_text(Path(csv_path), data.to_csv(index=False, lineterminator="\n"))


def _bytes(fig: Figure, kind: str) -> bytes:
    buffer = io.BytesIO()
    metadata = _NO_DATE if kind == "pdf" else {"Software": "matplotlib"}
    fig.savefig(buffer, format=kind, metadata=metadata)
    return buffer.getvalue()

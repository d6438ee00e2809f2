"""How small is the smallest text: of a figure about to be saved, and of a PDF that was."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.text import Text

# `1 0 0 1 x y cm` moves, `a 0 0 a x y cm` scales; `/F1 6.5 Tf` sets a font and its size.
_NUMBER = rb"[-+]?\d*\.?\d+"
_OPERATOR = re.compile(
    rb"(?P<push>\bq\b)|(?P<pop>\bQ\b)"
    rb"|(?P<cm>(?:" + _NUMBER + rb"\s+){6}cm\b)"
    rb"|/\S+\s+(?P<size>" + _NUMBER + rb")\s+Tf\b"
    rb"|(?P<show>[\])>]\s*T[Jj]\b)"
)
_STRING = re.compile(rb"\((?:\\.|[^\\()])*\)", re.DOTALL)


def smallest_text_pt(fig: Figure, printed_width_in: float | None = None) -> float:
    """Return the smallest size of visible text in points as printed; infinity without any text.

    Args:
        fig: A figure whose layout is done (it has been drawn or saved once).
        printed_width_in: Width on the page in inches; the figure's own if None.
    """
    scale = 1.0 if printed_width_in is None else printed_width_in / fig.get_figwidth()
    sizes = [
        float(text.get_fontsize()) * scale
        for text in fig.findobj(Text)
        if text.get_visible() and text.get_text().strip()
    ]
    return min(sizes, default=float("inf"))


def pdf_text_sizes(pdf: bytes | str | Path) -> list[float]:
    """Return the size in points of every text shown on the pages of a PDF made by matplotlib.

    Sizes are those after scaling by the transformations in force; superscripts count as printed.

    Args:
        pdf: The file, or its bytes.
    """
    data = pdf if isinstance(pdf, bytes) else Path(pdf).read_bytes()
    sizes: list[float] = []
    for stream in _page_streams(data):
        sizes += _shown_sizes(stream)
    return sizes


def _page_streams(pdf: bytes) -> list[bytes]:
    """Return the decoded content streams that begin a page (they hold no dictionary type)."""
    streams = []
    for match in re.finditer(rb"<<(?P<head>[^>]*)>>\s*stream\r?\n", pdf):
        head = match["head"]
        if b"/FlateDecode" not in head or b"/Type" in head or b"/Length1" in head:
            continue
        data = zlib.decompressobj().decompress(pdf[match.end() :])
        if re.search(rb"\bBT\b", data):
            streams.append(data)
    return streams


def _shown_sizes(stream: bytes) -> list[float]:
    scale, size = 1.0, 0.0
    stack: list[float] = []
    sizes: list[float] = []
    # Operators are looked for outside strings only: a text may well be "Q".
    for found in _OPERATOR.finditer(_STRING.sub(b"()", stream)):
        if found["push"]:
            stack.append(scale)
        elif found["pop"]:
            scale = stack.pop()
        elif found["cm"]:
            a, b, *_ = (float(number) for number in found["cm"].split()[:6])
            scale *= (a * a + b * b) ** 0.5
        elif found["size"]:
            size = float(found["size"])
        elif found["show"]:
            sizes.append(size * scale)
    return sizes

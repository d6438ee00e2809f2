"""The figure of claims: what was published, what we found, the verdict in words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextToPath

from seqlab.plots.style import PAGE_IN, SMALLEST_TEXT_PT, VERDICTS, new_figure, style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

# Left edge and width of each column as fractions of the drawing's width.
_COLUMNS = (
    ("item", 0.0, 0.05),
    ("claim", 0.06, 0.28),
    ("published", 0.36, 0.17),
    ("ours", 0.545, 0.14),
    ("verdict", 0.70, 0.11),
    ("reason", 0.815, 0.185),
)
_INNER = 0.98
_POINTS_PER_INCH = 72
_LINE_IN = 0.115
_GAP_IN = 0.09
_FONT = FontProperties(family="DejaVu Sans", size=SMALLEST_TEXT_PT)
_METRICS = TextToPath()


def draw_claims(verdicts: pd.DataFrame) -> Figure:
    """Draw one row per claim; analogues stand indented below the claim that they stand in for.

    Args:
        verdicts: Columns item, id, statement, published, verdict, reason, estimate, low, high,
            unit, n, analogue_of, one row per claim.
    """
    rows = [_cells(row) for _, row in verdicts.iterrows()]
    heights = [_LINE_IN * max(len(lines) for lines in cells) + _GAP_IN for cells, _ in rows]
    total = sum(heights) + 2 * _LINE_IN + _GAP_IN
    with style():
        fig = new_figure(PAGE_IN, total)
        fig.set_layout_engine("none")
        ax = fig.add_axes(((1 - _INNER) / 2, 0.0, _INNER, 1.0))
        ax.set_axis_off()
        ax.set_xlim(0, 1)
        ax.set_ylim(total, 0)
        for name, left, _ in _COLUMNS:
            ax.text(left, _LINE_IN, name, va="center", fontweight="bold", fontsize=7)
        top = 2 * _LINE_IN
        for (cells, verdict), height in zip(rows, heights, strict=True):
            ax.axhline(top, color="#BFBFBF", linewidth=0.4)
            _draw_row(ax, cells, verdict, top + _GAP_IN / 2)
            top += height
    return fig


def _draw_row(ax: Axes, cells: list[list[str]], verdict: str, top: float) -> None:
    color, marker, _ = VERDICTS[verdict]
    for (name, left, _), lines in zip(_COLUMNS, cells, strict=True):
        inset = 0.017 if name == "verdict" else 0.0
        ax.text(
            left + inset,
            top,
            "\n".join(lines),
            va="top",
            linespacing=1.15,
            fontsize=SMALLEST_TEXT_PT,
            color=color if name == "verdict" else "black",
        )
        if name == "verdict":
            ax.plot(left + 0.006, top + _LINE_IN / 2, marker=marker, color=color, markersize=3.5)


def _cells(row: pd.Series) -> tuple[list[list[str]], str]:
    verdict = str(row["verdict"])
    analogue = bool(_text(row["analogue_of"]))
    texts = {
        "item": _text(row["item"]),
        "claim": ("↳ " if analogue else "") + _text(row["statement"]),
        "published": _text(row["published"]) or "–",
        "ours": _ours(row),
        "verdict": VERDICTS[verdict][2],
        "reason": _text(row["reason"]),
    }
    return [_wrapped(texts[name], width) for name, _, width in _COLUMNS], verdict


def _wrapped(text: str, width: float) -> list[str]:
    """Break a text into lines that fit a column, by the widths of the font's characters."""
    room = width * _INNER * PAGE_IN * _POINTS_PER_INCH
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and _METRICS.get_text_width_height_descent(longer, _FONT, False)[0] > room:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _ours(row: pd.Series) -> str:
    estimate, low, high = (float(row[name]) for name in ("estimate", "low", "high"))
    if math.isnan(estimate):
        return "–"
    interval = "" if math.isnan(low) else f" [{low:.4g}, {high:.4g}]"
    return f"{estimate:.4g}{interval} {_text(row['unit'])}, n = {int(row['n'])}"


def _text(value: object) -> str:
    """Text of a cell; an empty cell read back from CSV is NaN."""
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else str(value)

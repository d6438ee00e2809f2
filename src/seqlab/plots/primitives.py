"""Primitives of the figures: each draws given numbers on given axes and computes no statistic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from seqlab.plots.style import (
    NOISE,
    REFERENCE,
    SIMULATED_HATCH,
    SMALLEST_TEXT_PT,
    VERDICTS,
    hatch,
    look,
    marker_face,
)

if TYPE_CHECKING:
    import pandas as pd

Corner = Literal["upper left", "upper right", "lower left", "lower right"]

_CAP = 1.5
_NOTE_PAD_PT = 10
_DECADE = 10


def forest(
    ax: Axes,
    data: pd.DataFrame,
    *,
    label: str = "label",
    estimate: str = "estimate",
    low: str = "ci_low",
    high: str = "ci_high",
    verdict: str | None = "verdict",
    reference: float = 0.0,
    band: tuple[float, float] | None = None,
    words: bool = True,
) -> None:
    """Draw one line per row, top to bottom: estimate, interval, verdict in colour, mark and word.

    A row without an interval is drawn as its mark alone; one without an estimate as its word.

    Args:
        ax: Axes to draw on.
        data: One row per line; a `provenance` column leaves simulated marks hollow.
        label: Column of the text at the left.
        estimate: Column of the estimate.
        low: Column of the lower end.
        high: Column of the upper end.
        verdict: Column of the verdict; None for none.
        reference: Where no effect is.
        band: Equivalence margin or noise, drawn behind.
        words: Whether to write the verdict at the right.
    """
    if band is not None:
        noise_band(ax, band, axis="x")
    ax.axvline(reference, color=REFERENCE, linewidth=0.6, zorder=1)
    positions = np.arange(len(data))[::-1]
    for y, (_, row) in zip(positions, data.iterrows(), strict=True):
        state = str(row[verdict]) if verdict is not None else "inconclusive"
        color, marker, word = VERDICTS[state]
        if verdict is None:
            color = look(0)["color"]
        if np.isfinite(row[low]) and np.isfinite(row[high]):
            ax.plot([row[low], row[high]], [y, y], color=color, solid_capstyle="butt", zorder=2)
        face = marker_face(str(row.get("provenance", "measured")), color)
        ax.plot(row[estimate], y, marker=marker, color=color, markerfacecolor=face, zorder=3)
        if words and verdict is not None:
            ax.annotate(
                word,
                (1.02, y),
                xycoords=ax.get_yaxis_transform(),
                va="center",
                color=color,
                annotation_clip=False,
            )
    ax.set_yticks(positions, [str(text) for text in data[label]])
    ax.set_ylim(-0.6, len(data) - 0.4)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)


def dot_interval(
    ax: Axes,
    data: pd.DataFrame,
    *,
    x: str,
    estimate: str = "estimate",
    low: str = "ci_low",
    high: str = "ci_high",
    series: str | None = None,
    join: bool = False,
    spread: float = 0.5,
) -> None:
    """Draw a dot with its interval at each x, series side by side or joined by lines.

    Args:
        ax: Axes to draw on.
        data: One row per dot; a `provenance` column leaves simulated dots hollow.
        x: Column of the positions; texts become categories in order of appearance.
        estimate: Column of the dots.
        low: Column of the lower ends.
        high: Column of the upper ends.
        series: Column that tells the series apart; None for one series.
        join: Join the dots of a series (numeric x).
        spread: Width shared by the series of one category.
    """
    names = ["" if series is None else name for name in (data[series] if series else [""])]
    order = list(dict.fromkeys(names))
    numeric = data[x].dtype.kind in "iuf"
    categories = None if numeric else list(dict.fromkeys(data[x]))
    for k, name in enumerate(order):
        rows = data if series is None else data[data[series] == name]
        at = rows[x].to_numpy()
        if categories is not None:
            shift = spread * ((k + 0.5) / len(order) - 0.5)
            at = np.array([categories.index(value) + shift for value in at])
        given = look(k + 1)
        color = given["color"]
        ax.vlines(at, rows[low], rows[high], color=color, linewidth=1.0, zorder=2)
        if join:
            ax.plot(at, rows[estimate], color=color, linestyle=given["linestyle"], zorder=2)
        kinds = rows["provenance"] if "provenance" in rows else ["measured"] * len(rows)
        for place, value, kind in zip(at, rows[estimate], kinds, strict=True):
            face = marker_face(str(kind), color)
            ax.plot(place, value, given["marker"], color=color, markerfacecolor=face, zorder=3)
        if name:
            ax.plot([], [], color=color, marker=given["marker"], linestyle="", label=str(name))
    if categories is not None:
        ax.set_xticks(range(len(categories)), [str(value) for value in categories])
        ax.set_xlim(-0.5, len(categories) - 0.5)


def bar_interval(
    ax: Axes,
    data: pd.DataFrame,
    *,
    x: str,
    estimate: str = "estimate",
    low: str = "ci_low",
    high: str = "ci_high",
) -> None:
    """Draw one bar per row with its interval; bars of simulated values are hatched."""
    for k, (_, row) in enumerate(data.iterrows()):
        strokes = hatch(str(row.get("provenance", "measured")))
        face = "white" if strokes else look(k + 1)["color"]
        edge = look(k + 1)["color"]
        ax.bar(k, row[estimate], width=0.7, facecolor=face, edgecolor=edge, hatch=strokes)
        if np.isfinite(row[low]) and np.isfinite(row[high]):
            ax.errorbar(
                k,
                row[estimate],
                yerr=[[row[estimate] - row[low]], [row[high] - row[estimate]]],
                color="black",
                linewidth=0.8,
                capsize=_CAP,
            )
    ax.set_xticks(range(len(data)), [str(value) for value in data[x]])


def noise_band(
    ax: Axes, band: tuple[float, float], *, axis: Literal["x", "y"] = "y", label: str | None = None
) -> None:
    """Shade what two identical arms show, behind everything else."""
    span = ax.axvspan if axis == "x" else ax.axhspan
    span(*band, facecolor=NOISE, edgecolor="none", zorder=0, label=label)


def pareto(
    ax: Axes,
    data: pd.DataFrame,
    *,
    x: str,
    y: str,
    series: str,
    on_front: str = "on_front",
) -> None:
    """Draw points by series and a step line through those marked as on the front.

    Args:
        ax: Axes to draw on.
        data: One row per point, `provenance` optional.
        x: Column of the horizontal value.
        y: Column of the vertical value.
        series: Column that tells the methods apart.
        on_front: Boolean column: the point is not dominated.
    """
    front = data[data[on_front].astype(bool)].sort_values(x, kind="stable")
    ax.plot(front[x], front[y], color=REFERENCE, drawstyle="steps-post", linewidth=0.8, zorder=1)
    for k, name in enumerate(dict.fromkeys(data[series])):
        given = look(k + 1)
        for _, row in data[data[series] == name].iterrows():
            face = marker_face(str(row.get("provenance", "measured")), given["color"])
            ax.plot(row[x], row[y], given["marker"], color=given["color"], markerfacecolor=face)
        ax.plot([], [], given["marker"], color=given["color"], label=str(name))


def small_multiples(
    fig: Figure, titles: Sequence[str], *, columns: int, share_x: bool = True, share_y: bool = True
) -> list[Axes]:
    """Return one panel per title in reading order, axes shared, unused places left out."""
    rows = -(-len(titles) // columns)
    grid = fig.subplots(
        rows, min(columns, len(titles)), sharex=share_x, sharey=share_y, squeeze=False
    )
    panels = list(grid.ravel())
    for unused in panels[len(titles) :]:
        unused.remove()
    for panel, title in zip(panels, titles, strict=False):
        panel.set_title(title, loc="left")
        if share_x and share_y:
            panel.label_outer()
    return panels[: len(titles)]


def panel_note(ax: Axes, *, n: int | str, interval: str, scale: str) -> None:
    """State between title and axes what every panel must: n, kind of interval, scale of the run."""
    ax.set_title(ax.get_title(loc="left"), loc="left", pad=_NOTE_PAD_PT)
    ax.annotate(
        f"n = {n}, {interval}, {scale} scale",
        (0.0, 1.0),
        xytext=(0, 2),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=SMALLEST_TEXT_PT,
        color="#404040",
    )


def plain_log_axis(axis: Axis, each: Sequence[float] = (1.0, 2.0, 5.0)) -> None:
    """Label a logarithmic axis (`ax.xaxis`) with plain numbers: exponents would be below 6 pt.

    Args:
        axis: The axis.
        each: Multiples of powers of ten that are labelled, where it spans more than one.
    """
    low, high = axis.get_view_interval()
    within_a_decade = high < _DECADE * low
    axis.set_major_locator(MaxNLocator(5) if within_a_decade else LogLocator(subs=tuple(each)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def provenance_legend(
    ax: Axes, kinds: Sequence[str], *, bars: bool = False, loc: Corner = "lower right"
) -> None:
    """Explain hollow or hatched marks where both measured and simulated values are drawn."""
    handles: list[Patch | Line2D] = []
    for kind in dict.fromkeys(kinds):
        if bars:
            strokes = SIMULATED_HATCH if kind == "simulated" else ""
            face = "white" if strokes else REFERENCE
            handles.append(Patch(facecolor=face, edgecolor=REFERENCE, hatch=strokes, label=kind))
        else:
            face = marker_face(kind, REFERENCE)
            handles.append(
                Line2D([], [], marker="o", color=REFERENCE, markerfacecolor=face, ls="", label=kind)
            )
    series = ax.get_legend()
    ax.legend(handles=handles, loc=loc)
    if series is not None:
        ax.add_artist(series)

"""The figure of claims: per figure and table, what became of each claim."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from seqlab.plots.style import PAGE_IN, VERDICTS, new_figure, style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

# In this order in the legend.
_OUTCOMES = ("supported", "refuted", "inconclusive", "not_evaluable", "not_run")
_PANELS = {
    "published": "published claims,\nat their own scale",
    "analogue": "their analogues\nat this scale",
    "prediction": "predictions",
    "replication": "replications\nof pilots",
}
# Columns that a title is as wide as.
_TITLE = 4
_ROW_IN = 0.165
_TITLE_LINE_IN = 0.14
_REST_IN = 0.65


def draw_claims(verdicts: pd.DataFrame) -> Figure:
    """Draw one mark per claim, one row per item; an analogue stands in the column of its claim.

    The words of the claims and the numbers that decided are in the table of the same name: printed
    here they would take a page per study.

    Args:
        verdicts: Columns study, item, id, kind, verdict, analogue_of, one row per claim.
    """
    rows = _rows(verdicts)
    with style():
        panels = _panel_of(verdicts)
        shown = [name for name in _PANELS if (panels == name).any()]
        titles = {name: _titled(name, verdicts[panels == name]) for name in shown}
        lines = 1 + max(title.count("\n") for title in titles.values())
        fig = new_figure(PAGE_IN, _REST_IN + _TITLE_LINE_IN * lines + _ROW_IN * len(rows))
        columns = _column_of(verdicts, panels)
        widths = [2 + max(_TITLE, columns[panels == name].max()) for name in shown]
        axes = fig.subplots(1, len(shown), sharey=True, squeeze=False, width_ratios=widths)[0]
        for ax, name in zip(axes, shown, strict=True):
            part = verdicts[panels == name]
            _draw_panel(ax, part, columns[part.index], rows)
            ax.set_title(titles[name], loc="left")
        axes[0].set_yticks(range(len(rows)), [_label(row, rows) for row in rows])
        axes[0].set_ylim(len(rows) - 0.5, -0.5)
        fig.legend(
            handles=[_handle(name) for name in _OUTCOMES if (verdicts["verdict"] == name).any()],
            loc="outside lower center",
            ncols=len(_OUTCOMES),
        )
    return fig


def _draw_panel(
    ax: Axes, part: pd.DataFrame, columns: pd.Series, rows: list[tuple[str, str]]
) -> None:
    for row in range(len(rows)):
        ax.axhline(row, color="#E5E5E5", linewidth=0.5, zorder=0)
    for verdict, claims in part.groupby("verdict"):
        color, marker, _ = VERDICTS[str(verdict)]
        heights = [
            rows.index((study, item))
            for study, item in zip(claims["study"], claims["item"], strict=True)
        ]
        ax.plot(columns[claims.index] + 1, heights, marker, color=color, clip_on=False)
    ax.set_xlim(0.3, columns.max() + 1.7)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("claim of the item")
    ax.tick_params(axis="y", length=0)


def _rows(verdicts: pd.DataFrame) -> list[tuple[str, str]]:
    """Return (study, item): studies in order of appearance, items by kind and number."""
    studies = list(dict.fromkeys(verdicts["study"]))
    found = set(zip(verdicts["study"], verdicts["item"], strict=True))
    return sorted(found, key=lambda row: (studies.index(row[0]), _natural(row[1])))


def _natural(item: str) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", item)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def _panel_of(verdicts: pd.DataFrame) -> pd.Series:
    """Return the panel that each claim stands in."""
    analogue = verdicts["analogue_of"].notna() & (verdicts["analogue_of"] != "")
    return verdicts["kind"].mask(analogue, "analogue")


def _column_of(verdicts: pd.DataFrame, panels: pd.Series) -> pd.Series:
    """Return the place of each claim in its row; of an analogue, that of its claim."""
    columns = verdicts.groupby([verdicts["study"], verdicts["item"], panels]).cumcount()
    place = dict(zip(verdicts["id"], columns, strict=True))
    analogue = panels == "analogue"
    columns[analogue] = verdicts.loc[analogue, "analogue_of"].map(place)
    return columns.astype(int)


def _titled(name: str, part: pd.DataFrame) -> str:
    """Return the title of a panel with its counts in words."""
    counts = part["verdict"].value_counts()
    words = [f"{counts[v]} {VERDICTS[v][2]}" for v in _OUTCOMES if v in counts]
    return f"{_PANELS[name]}\n" + ",\n".join(words)


def _label(row: tuple[str, str], rows: list[tuple[str, str]]) -> str:
    study, item = row[0], row[1].removeprefix(f"{row[0]}_")
    several = len({study for study, _ in rows}) > 1
    return f"{study} {item}" if several else item


def _handle(verdict: str) -> Line2D:
    color, marker, word = VERDICTS[verdict]
    return Line2D([], [], linestyle="", color=color, marker=marker, label=word)

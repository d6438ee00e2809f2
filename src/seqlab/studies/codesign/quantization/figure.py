"""Figure 2, drawn from its statistics; no statistic is computed here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from seqlab.plots.primitives import panel_note
from seqlab.plots.style import NOISE, PAGE_IN, REFERENCE, VERDICTS, look, new_figure, style
from seqlab.studies.codesign.quantization.contrasts import CELL, POOLED
from seqlab.studies.codesign.quantization.spec import group_size

# Contrasts of a panel -> what the legend calls them, and their look.
QUALITY_SERIES = {
    "quantize_first_vs_none": ("quantise, permute", 1),
    "permute_first_vs_none": ("permute, quantise", 2),
    "random_vs_none": ("random order, quantise (control)", 3),
}
LATENCY_SERIES = {
    "permute_first_vs_quantize_first": ("second vs first strategy", 4),
    "repermute_vs_permute_first": ("third vs second strategy", 5),
    "planted": ("planted slow-down (control)", 6),
    "aa": ("A/A (control)", 0),
}
_METRICS = {"prefill_ms": "prefill", "decode_ms": "decode"}


def drawn(statistics: pd.DataFrame) -> pd.DataFrame:
    """Return exactly the rows that the figure draws, with the panel of each."""
    rows = statistics[statistics["subset"] == "all"]
    panels = [
        ("quality", rows["contrast"].isin(QUALITY_SERIES) & (rows["metric"] == "bits_per_byte")),
        ("latency", rows["contrast"].isin(LATENCY_SERIES) & rows["metric"].isin(_METRICS)),
        ("control", (rows["contrast"] == "quantized_vs_dense")),
    ]
    return pd.concat([rows[keep].assign(panel=name) for name, keep in panels], ignore_index=True)


def draw(data: pd.DataFrame, *, scale: str) -> Figure:
    """Return the figure: quality, latency and controls, one row per cell of the grid.

    Args:
        data: Rows of `drawn`.
        scale: Scale of the run, stated in every panel.
    """
    with style():
        if data.empty:
            return _not_run(scale)
        cells = sorted(set(zip(*(data[name] for name in CELL), strict=True)), key=_order)
        fig = new_figure(PAGE_IN, 1.5 + 0.36 * len(cells))
        grid = fig.add_gridspec(1, 4, width_ratios=(1.25, 1.0, 1.0, 0.8))
        axes = [fig.add_subplot(grid[0])]
        axes += [fig.add_subplot(grid[i], sharey=axes[0]) for i in (1, 2, 3)]
        n = int(data["n"].max())
        _quality(axes[0], data[data["panel"] == "quality"], cells)
        for ax, (metric, title) in zip(axes[1:3], _METRICS.items(), strict=True):
            rows = data[(data["panel"] == "latency") & (data["metric"] == metric)]
            _latency(ax, rows, cells, title)
        _control(axes[3], data[data["panel"] == "control"], cells)
        for ax, letter in zip(axes, "abcd", strict=True):
            ax.set_title(f"{letter}", loc="left", fontweight="bold")
            panel_note(ax, n=n, interval="95 % CI", scale=scale)
        _label_cells(axes[0], cells)
        for ax in axes[1:]:
            ax.tick_params(labelleft=False)
        handles, labels = _legend(axes)
        fig.legend(handles, labels, loc="outside lower center", ncols=4)
    return fig


def _quality(ax: Axes, rows: pd.DataFrame, cells: Sequence[tuple[object, ...]]) -> None:
    _series(ax, rows, cells, QUALITY_SERIES, "estimate", "ci_low", "ci_high")
    margin = float(rows["tost_margin"].max())
    _reference(ax, 0.0, (-margin, margin))
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.set_xlabel("change of bits per byte\nagainst no permutation")


def _latency(ax: Axes, rows: pd.DataFrame, cells: Sequence[tuple[object, ...]], title: str) -> None:
    _series(ax, rows, cells, LATENCY_SERIES, "ratio", "ratio_low", "ratio_high")
    margin = float(rows["tost_margin"].max())
    for cell, y in _positions(cells):
        row = _row(rows, cell)
        if row is not None:
            noise = 1 + float(row["noise_limit"])
            ax.fill_betweenx([y - 0.42, y + 0.42], 1 / noise, noise, color=NOISE, lw=0, zorder=0)
    _reference(ax, 1.0, (1 / (1 + margin), 1 + margin))
    ax.set_xlabel(f"{title} latency ratio")


def _control(ax: Axes, rows: pd.DataFrame, cells: Sequence[tuple[object, ...]]) -> None:
    for cell, y in _positions(cells):
        row = _row(rows, cell)
        if row is None:
            continue
        color, marker, word = VERDICTS[str(row["verdict"])]
        ax.plot([row["ci_low"], row["ci_high"]], [y, y], color=color)
        ax.plot(row["estimate"], y, marker=marker, color=color, linestyle="", label=f"d: {word}")
    _reference(ax, 0.0, None)
    ax.set_xscale("symlog", linthresh=0.01)
    ax.set_xlim(-0.002, max(0.02, 1.5 * float(rows["ci_high"].max())))
    # Exponents would be set below 6 pt.
    ax.xaxis.set_major_locator(FixedLocator([0.0, 0.01, 0.1, 1.0]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.set_xlabel("bits per byte added by\nquantising (control;\nlogarithmic beyond 0.01)")


def _series(
    ax: Axes,
    rows: pd.DataFrame,
    cells: Sequence[tuple[object, ...]],
    names: dict[str, tuple[str, int]],
    estimate: str,
    low: str,
    high: str,
) -> None:
    for index, (contrast, (label, number)) in enumerate(names.items()):
        series = rows[rows["contrast"] == contrast]
        appearance = look(number)
        offset = 0.55 * (0.5 - (index + 0.5) / len(names))
        for cell, y in _positions(cells):
            row = _row(series, cell)
            if row is None:
                continue
            at = y + offset
            if np.isfinite(row[low]):
                ax.plot([row[low], row[high]], [at, at], color=appearance["color"])
            # Without variance there is no interval: a hollow mark says so.
            face = "white" if row["verdict"] == "degenerate" else appearance["color"]
            ax.plot(
                row[estimate],
                at,
                marker=appearance["marker"],
                color=appearance["color"],
                markerfacecolor=face,
                linestyle="",
                label=label,
            )


def _reference(ax: Axes, value: float, margin: tuple[float, float] | None) -> None:
    ax.axvline(value, color=REFERENCE, linewidth=0.6, zorder=0)
    for edge in margin or ():
        ax.axvline(edge, color=REFERENCE, linewidth=0.6, linestyle="--", zorder=0)


def _order(cell: tuple[object, ...]) -> tuple[object, ...]:
    """Coarse scales before fine ones, many bits before few, all schemes together last."""
    model, scheme, bits = cell
    ranks = ("per_tensor", "per_channel")
    rank = ranks.index(scheme) if scheme in ranks else len(ranks)
    return model, cell[1:] == POOLED, rank, group_size(str(scheme)) or 0, -int(str(bits))


def _positions(cells: Sequence[tuple[object, ...]]) -> list[tuple[tuple[object, ...], int]]:
    return [(cell, len(cells) - 1 - index) for index, cell in enumerate(cells)]


def _row(rows: pd.DataFrame, cell: tuple[object, ...]) -> pd.Series | None:
    """Return the row of a cell; quality has none over all schemes."""
    keep = np.logical_and.reduce(
        [rows[name] == value for name, value in zip(CELL, cell, strict=True)]
    )
    return rows[keep].iloc[0] if keep.any() else None


def _label_cells(ax: Axes, cells: Sequence[tuple[object, ...]]) -> None:
    several = len({cell[0] for cell in cells}) > 1
    words = [
        f"{cell[0]}: " * several
        + ("all schemes" if cell[1:] == POOLED else f"{cell[1]}, {cell[2]} bit".replace("_", " "))
        for cell in cells
    ]
    ax.set_yticks([y for _, y in _positions(cells)], words)
    ax.set_ylim(-0.6, len(cells) - 0.4)


def _legend(axes: Sequence[Axes]) -> tuple[list[Artist], list[str]]:
    seen: dict[str, Artist] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            # A filled mark stands for the series, though the first one drawn may be hollow.
            if label not in seen or not _hollow(handle):
                seen[label] = handle
    return list(seen.values()), list(seen)


def _hollow(handle: Artist) -> bool:
    return isinstance(handle, Line2D) and handle.get_markerfacecolor() == "white"


def _not_run(scale: str) -> Figure:
    fig = new_figure(PAGE_IN, 1.2)
    fig.text(0.5, 0.5, f"not run: no measured run at {scale} scale", ha="center", va="center")
    return fig

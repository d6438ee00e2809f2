"""Figure 1: latency of one block against length, by order; no statistic is computed here."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqlab.plots.primitives import dot_interval, panel_note, plain_log_axis
from seqlab.plots.style import PAGE_IN, new_figure, style
from seqlab.studies.codesign.sweeps.lines import (
    at_levels,
    level_axis,
    means,
    noise_ribbon,
    ratio_axis,
    ratios,
    runs,
    titled,
    without_runs,
)
from seqlab.studies.codesign.sweeps.spec import LAYER

_ORDERS = {"original": "original order", "random": "random", "ours": "solved"}
_RATIOS = {"random_vs_original": "random", "ours_vs_original": "solved"}
_KERNELS = {"dense": "whole block, dense products", "block_scan": "scan that skips empty blocks"}


def layer_data(statistics: pd.DataFrame) -> pd.DataFrame:
    """Return exactly what is drawn."""
    parts = [means(statistics, LAYER, _ORDERS), ratios(statistics, LAYER, _RATIOS)]
    return pd.concat(parts, ignore_index=True)


def layer_figure(data: pd.DataFrame, *, scale: str) -> Figure:
    """Return the figure: a column per kernel; latencies above, ratios to the original order below.

    Devices follow each other from top to bottom.
    """
    devices, order = list(dict.fromkeys(data["device"])), list(_ORDERS.values())
    with style():
        if not devices:
            return without_runs()
        fig = new_figure(PAGE_IN, 3.9 * len(devices))
        axes = fig.subplots(2 * len(devices), len(_KERNELS), squeeze=False, sharex=True)
        for row, device in enumerate(devices):
            for column, (kernel, words) in enumerate(_KERNELS.items()):
                part = data[(data["device"] == device) & (data["kernel"] == kernel)]
                top, bottom = axes[2 * row][column], axes[2 * row + 1][column]
                top.set_title(titled(words, device, len(devices) > 1), loc="left")
                _latencies(top, at_levels(part[part["panel"] == "latency"], order))
                _ratios(bottom, at_levels(part[part["panel"] == "ratio"], order))
                panel_note(top, n=runs(part), interval="95 % BCa", scale=scale)
                panel_note(bottom, n=runs(part), interval="95 % CI", scale=scale)
        handles, labels = axes[0][0].get_legend_handles_labels()
        fig.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return fig


def _latencies(ax: Axes, rows: pd.DataFrame) -> None:
    original = rows[rows["series"] == _ORDERS["original"]]
    noise_ribbon(ax, original, original["estimate"].tolist())
    dot_interval(ax, rows, x="x", low="low", high="high", series="series", join=True)
    ax.set_yscale("log")
    plain_log_axis(ax.yaxis)
    ax.set_ylabel("latency (ms)")


def _ratios(ax: Axes, rows: pd.DataFrame) -> None:
    drawn = rows.dropna(subset=["estimate"])
    noise_ribbon(ax, drawn.drop_duplicates("x"))
    dot_interval(ax, rows, x="x", low="low", high="high", series="series", join=True)
    ratio_axis(ax, "latency / original order")
    level_axis(ax, sorted(set(rows["x"])), "length (tokens)")

"""Figure 7b: gain of a clustered order against width; no statistic is computed here."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqlab.plots.primitives import dot_interval, panel_note
from seqlab.plots.style import (
    NOISE,
    PAGE_IN,
    REFERENCE,
    SMALLEST_TEXT_PT,
    look,
    new_figure,
    style,
)
from seqlab.studies.codesign.sweeps.lines import (
    DRAWN,
    at_levels,
    level_axis,
    ratios,
    runs,
    titled,
    without_runs,
)
from seqlab.studies.codesign.sweeps.spec import WIDTH

_KERNELS = {
    "csr": "sparse weight (K1)",
    "gather": "active neurons (K3)",
    "dense": "dense weight (K0)",
}
_SERIES = "clustered / random"
_SHAPES = ("growth", "gain_below", "breakpoint", "power_law", "boundary")


def width_data(statistics: pd.DataFrame) -> pd.DataFrame:
    """Return exactly what is drawn: gains in points, the fitted hinge, boundaries of caches."""
    gain = ratios(statistics, WIDTH, {"clustered_vs_random": _SERIES})
    gain = gain.assign(
        panel="gain",
        estimate=100 * (1 - gain["estimate"]),
        low=100 * (1 - gain["high"]),
        high=100 * (1 - gain["low"]),
    )
    rows = statistics[(statistics["cell"] == WIDTH) & statistics["contrast"].isin(_SHAPES)]
    series = rows["treatment"].where(rows["contrast"] == "boundary", "")
    shapes = rows.assign(
        panel=rows["contrast"], series=series, low=rows["ci_low"], high=rows["ci_high"]
    )
    return pd.concat([gain, shapes.reindex(columns=DRAWN)], ignore_index=True)


def width_figure(data: pd.DataFrame, *, scale: str) -> Figure:
    """Return the figure: one panel per kernel, a row per device."""
    devices = list(dict.fromkeys(data["device"]))
    with style():
        if not devices:
            return without_runs()
        fig = new_figure(PAGE_IN, 2.5 * len(devices))
        axes = fig.subplots(len(devices), len(_KERNELS), squeeze=False)
        for row, device in zip(axes, devices, strict=True):
            for ax, (kernel, words) in zip(row, _KERNELS.items(), strict=True):
                part = data[(data["device"] == device) & (data["kernel"] == kernel)]
                ax.set_title(titled(words, device, len(devices) > 1), loc="left")
                _gains(ax, part)
                panel_note(ax, n=runs(part), interval="95 % CI", scale=scale)
            row[0].set_ylabel("gain of the clustered order (points)")
    return fig


def _gains(ax: Axes, part: pd.DataFrame) -> None:
    """Draw gains, the noise of identical arms, the hinge where there is one, and the caches."""
    gain = at_levels(part[part["panel"] == "gain"], [_SERIES])
    slowest = 1 + gain["noise_limit"]
    ends = (100 * (1 - slowest), 100 * (1 - 1 / slowest))
    ax.fill_between(gain["x"], *ends, facecolor=NOISE, edgecolor="none", zorder=0)
    ax.axhline(0.0, color=REFERENCE, linewidth=0.6, zorder=1)
    dot_interval(ax, gain, x="x", low="low", high="high")
    shapes = part[~part["panel"].isin(["gain", "boundary"])].set_index("panel")
    if "breakpoint" in shapes.index and np.isfinite(shapes.loc["breakpoint", "low"]):
        _hinge(ax, gain["x"], shapes)
    elif "breakpoint" in shapes.index:
        ax.text(
            0.02, 0.02, "no rise with the width", transform=ax.transAxes, fontsize=SMALLEST_TEXT_PT
        )
    low, high = float(gain["x"].min()), float(gain["x"].max())
    for _, row in part[part["panel"] == "boundary"].iterrows():
        if low <= row["estimate"] <= high:
            ax.axvline(row["estimate"], color=REFERENCE, linewidth=0.7, linestyle="--", zorder=1)
            ax.annotate(
                f"= {row['series']}",
                (row["estimate"], 1.0),
                xycoords=ax.get_xaxis_transform(),
                xytext=(2, -1),
                textcoords="offset points",
                va="top",
                fontsize=SMALLEST_TEXT_PT,
            )
    level_axis(ax, sorted(set(gain["x"])), "width D")
    ax.tick_params(axis="x", rotation=60)


def _hinge(ax: Axes, widths: pd.Series, shapes: pd.DataFrame) -> None:
    """Draw the fitted hinge, and the interval of its place along the bottom."""
    color = look(2)["color"]
    estimate, found = shapes["estimate"], shapes.loc["breakpoint"]
    place, level = float(estimate["breakpoint"]), float(estimate["gain_below"])
    last = float(widths.max())
    top = level + float(estimate["growth"]) * np.log2(last / place)
    ax.plot([float(widths.min()), place, last], [level, level, top], color=color, zorder=2)
    ax.plot(
        [found["low"], found["high"]],
        [0.03, 0.03],
        color=color,
        linewidth=2.0,
        solid_capstyle="butt",
        transform=ax.get_xaxis_transform(),
    )

"""Figure 6, drawn from its statistics; no statistic is computed here."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from seqlab.plots.primitives import noise_band, panel_note
from seqlab.plots.style import NOISE, PAGE_IN, REFERENCE, look, new_figure, style
from seqlab.studies.codesign.pareto import contrasts
from seqlab.studies.codesign.pareto.names import LEARNED, LEARNED_TP
from seqlab.studies.codesign.workbench import names as arms

# Method -> legend and index of its look.
METHODS = {
    contrasts.REFERENCE: ("dense, dense product", 0),
    arms.DENSE: ("dense, sparse product", 1),
    arms.PERMUTE_ONLY: ("P", 0),
    arms.ALGO_ONLY: ("T", 3),
    arms.LINEAR_PT: ("P, T", 4),
    arms.LINEAR_TP: ("T, P", 5),
    arms.ITERATIVE: ("P, T, P", 2),
    LEARNED: ("learned masks", 6),
    LEARNED_TP: ("learned masks, P", 6),
}
_PAIRS = {
    "iterative_vs_linear_PT": ("P, T, P over P, T", 4),
    "iterative_vs_linear_TP": ("P, T, P over T, P", 5),
}
_COLUMNS = ["panel", "method", "contrast", "level", "sparsity", "n"]


def drawn(statistics: pd.DataFrame) -> pd.DataFrame:
    """Return exactly what the figure draws, with the panel of each row."""
    parts = [_points(statistics), _ratios(statistics), _volumes(statistics)]
    kept = [part for part in parts if not part.empty]
    return pd.concat(kept, ignore_index=True) if kept else pd.DataFrame(columns=_COLUMNS)


def _points(statistics: pd.DataFrame) -> pd.DataFrame:
    """Return the points with intervals in both coordinates; the reference is (1, 0)."""
    fronts = statistics[statistics["contrast"] == "on_front"]
    rows = []
    for _, front in fronts.iterrows():
        method, level = front["treatment"], front["level"]
        point: dict[str, object] = {
            "panel": "points",
            "method": method,
            "level": level,
            "sparsity": _percent(level),
            "n": front["n"],
            "on_front": str(front["reason"]).startswith("not dominated"),
            "share_on_front": front["estimate"],
        }
        own = statistics[
            (statistics["contrast"] == f"{method}_vs_reference") & (statistics["level"] == level)
        ].set_index("metric")
        if method == contrasts.REFERENCE:
            point |= {"x": 1.0, "y": 0.0}
        else:
            x, y = own.loc[contrasts.LATENCY], own.loc[contrasts.QUALITY]
            point |= {
                **{"x": x["ratio"], "x_low": x["ratio_low"], "x_high": x["ratio_high"]},
                **{"y": y["estimate"], "y_low": y["ci_low"], "y_high": y["ci_high"]},
                "noise_limit": x["noise_limit"],
            }
        rows.append(point)
    return pd.DataFrame(rows)


def _ratios(statistics: pd.DataFrame) -> pd.DataFrame:
    rows = statistics[
        statistics["contrast"].isin(_PAIRS) & (statistics["metric"] == contrasts.LATENCY)
    ]
    kept = ["contrast", "level", "n", "ratio", "ratio_low", "ratio_high", "noise_limit", "verdict"]
    return rows[kept].assign(panel="ratios", sparsity=rows["level"].map(_percent))


def _volumes(statistics: pd.DataFrame) -> pd.DataFrame:
    rows = statistics[statistics["contrast"] == "hypervolume"]
    return (
        rows[["treatment", "n", "estimate", "ci_low", "ci_high"]]
        .rename(columns={"treatment": "method"})
        .assign(panel="volumes")
    )


def _percent(level: object) -> float:
    """Return the sparsity of a level in percent; NaN for that of learned masks."""
    text = str(level)
    return float(text[1:]) if text[1:].isdigit() else np.nan


def draw(data: pd.DataFrame, *, scale: str, margin: float) -> Figure:
    """Return the figure: the points, the ratios by sparsity, the hypervolumes.

    Args:
        data: Rows of `drawn`.
        scale: Scale of the run, stated in every panel.
        margin: Equivalence margin of a ratio, drawn as dashed lines.
    """
    with style():
        if data.empty:
            fig = new_figure(PAGE_IN, 1.2)
            fig.text(0.5, 0.5, f"not run: no measured run at {scale} scale", ha="center")
            return fig
        fig = new_figure(PAGE_IN, 2.9)
        axes = fig.subplots(1, 3, width_ratios=(1.5, 1.0, 1.0))
        panels = ("points", "ratios", "volumes")
        drawers = (_draw_points, _draw_ratios, _draw_volumes)
        for ax, letter, panel, drawer in zip(axes, "abc", panels, drawers, strict=True):
            rows = data[data["panel"] == panel]
            drawer(ax, rows)
            ax.set_title(letter, loc="left", fontweight="bold")
            panel_note(ax, n=int(rows["n"].max()), interval="95 % CI", scale=scale)
        for bound in (1 / (1 + margin), 1 + margin):
            axes[1].axhline(bound, color=REFERENCE, linewidth=0.6, linestyle="--", zorder=1)
        handles, labels = [], []
        for ax in axes[:2]:
            for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
                handles.append(handle)
                labels.append(label)
        fig.legend(handles, labels, loc="outside lower center", ncols=6)
    return fig


def _look(method: str, index: int) -> tuple[str, str]:
    """Return colour and marker; methods that share a colour differ in the marker."""
    if method == arms.PERMUTE_ONLY:
        return REFERENCE, "*"
    given = look(index)
    return given["color"], "*" if method == LEARNED_TP else given["marker"]


def _draw_points(ax: Axes, rows: pd.DataFrame) -> None:
    limit = float(rows["noise_limit"].max())
    if np.isfinite(limit):
        noise_band(ax, (1 / (1 + limit), 1 + limit), axis="x")
    front = rows[rows["on_front"].astype(bool)].sort_values("x")
    ax.plot(
        front["x"], front["y"], color=REFERENCE, drawstyle="steps-post", linewidth=0.8, zorder=1
    )
    for method, (label, index) in METHODS.items():
        part = rows[rows["method"] == method]
        if part.empty:
            continue
        color, marker = _look(method, index)
        known = part.dropna(subset=["x_low"])
        ax.hlines(known["y"], known["x_low"], known["x_high"], color=color, linewidth=0.8)
        known = part.dropna(subset=["y_low"])
        ax.vlines(known["x"], known["y_low"], known["y_high"], color=color, linewidth=0.8)
        ax.plot(part["x"], part["y"], marker, color=color, label=label, markersize=3.6)
    ax.set_yscale("symlog", linthresh=0.1)
    ticks = [0.0, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0]
    ax.yaxis.set_major_locator(FixedLocator(ticks))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.set_ylim(-0.02, max(0.2, 1.3 * float(rows["y"].max())))
    # Around the points: what a loaded machine makes of an interval must not set the scale.
    ax.set_xlim(0.9 * float(rows["x"].min()), 1.1 * float(rows["x"].max()))
    ax.set_xlabel("latency over that of\nthe dense products")
    ax.set_ylabel("bits per byte added")


def _draw_ratios(ax: Axes, rows: pd.DataFrame) -> None:
    offsets = np.linspace(-1.5, 1.5, len(_PAIRS))
    for offset, (contrast, (label, index)) in zip(offsets, _PAIRS.items(), strict=True):
        part = rows[rows["contrast"] == contrast]
        given = look(index)
        at = part["sparsity"] + offset
        ax.vlines(at, part["ratio_low"], part["ratio_high"], color=given["color"])
        ax.plot(at, part["ratio"], given["marker"], color=given["color"], label=f"b: {label}")
    for sparsity, part in rows.groupby("sparsity"):
        limit = float(part["noise_limit"].max())
        if np.isfinite(limit):
            ends = (1 / (1 + limit), 1 + limit)
            ax.fill_between([sparsity - 4, sparsity + 4], *ends, color=NOISE, linewidth=0, zorder=0)
    ax.axhline(1.0, color=REFERENCE, linewidth=0.6, zorder=1)
    low = max(rows["ratio_low"].min(), 0.8 * rows["ratio"].min())
    high = min(rows["ratio_high"].max(), 1.25 * rows["ratio"].max())
    if np.isfinite([low, high]).all():
        ax.set_ylim(min(low, 0.97) - 0.005, max(high, 1.03) + 0.005)
    ax.set_xticks(sorted(rows["sparsity"].unique()))
    ax.set_xlabel("sparsity (%)")
    ax.set_ylabel("ratio of latencies")


def _draw_volumes(ax: Axes, rows: pd.DataFrame) -> None:
    order = [method for method in METHODS if method in set(rows["method"])]
    by_method = rows.set_index("method").loc[order]
    positions = np.arange(len(order))[::-1]
    for y, (method, row) in zip(positions, by_method.iterrows(), strict=True):
        color, marker = _look(str(method), METHODS[str(method)][1])
        ax.plot([row["ci_low"], row["ci_high"]], [y, y], color=color)
        ax.plot(row["estimate"], y, marker, color=color)
    ax.axvline(1.0, color=REFERENCE, linewidth=0.6, zorder=0)
    ax.set_yticks(positions, [METHODS[method][0] for method in order])
    ax.set_ylim(-0.6, len(order) - 0.4)
    ax.set_xlabel("hypervolume over that of\nthe dense reference")

"""Figure 4 and the figure of the bandwidth; no statistic is computed here."""

from __future__ import annotations

from textwrap import fill

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from seqlab.plots.primitives import dot_interval, panel_note, plain_log_axis
from seqlab.plots.style import (
    NOISE,
    PAGE_IN,
    REFERENCE,
    look,
    new_figure,
    style,
)
from seqlab.studies.codesign.sweeps.lines import (
    DRAWN,
    at_levels,
    level_axis,
    means,
    noise_ribbon,
    ratio_axis,
    ratios,
    remark,
    runs,
    titled,
    without_runs,
)
from seqlab.studies.codesign.sweeps.spec import BANDWIDTH, BATCH

_ARMS = {"dense": "dense", "linear_PT": "P, T", "iterative_1": "P, T, P"}
_RATIO = {"iterative_vs_linear_PT": "P, T, P / P, T"}
# About as many as fit a third of the page.
_PANEL_CHARACTERS = 34
_RATIO_LABEL = "latency, P, T, P / P, T"
_PLACED = ("intensity", "gflop_per_s", "bandwidth_share", "memory_bound")
_ROOF = ("peak_gflop_per_s", "stream_gb_per_s")


def batch_data(statistics: pd.DataFrame) -> pd.DataFrame:
    """Return exactly what is drawn, levels that were not run included."""
    spread = statistics[
        (statistics["cell"] == BATCH) & (statistics["contrast"] == "spread_of_gain")
    ]
    spread = spread.assign(panel="spread", series="", low=spread["ci_low"], high=spread["ci_high"])
    parts = [means(statistics, BATCH, _ARMS), ratios(statistics, BATCH, _RATIO), spread[DRAWN]]
    return _joined(parts, DRAWN)


def batch_figure(data: pd.DataFrame, *, scale: str) -> Figure:
    """Return the figure: latencies at the left, the ratio at the right, a row per device."""
    devices = list(dict.fromkeys(data["device"]))
    with style():
        if not devices:
            return without_runs()
        fig = new_figure(PAGE_IN, 2.4 * len(devices))
        axes = fig.subplots(len(devices), 2, squeeze=False)
        for row, device in zip(axes, devices, strict=True):
            part = data[data["device"] == device]
            latency, ratio = (part[part["panel"] == name] for name in ("latency", "ratio"))
            several = len(devices) > 1
            row[0].set_title(titled("a", device, several), loc="left", fontweight="bold")
            row[1].set_title(titled("b", device, several), loc="left", fontweight="bold")
            _latencies(row[0], at_levels(latency, list(_ARMS.values())))
            _ratios(row[1], ratio, part[part["panel"] == "spread"])
            panel_note(row[0], n=runs(part), interval="95 % BCa", scale=scale)
            panel_note(row[1], n=runs(part), interval="95 % CI", scale=scale)
    return fig


def _latencies(ax: Axes, rows: pd.DataFrame) -> None:
    dense = rows[rows["series"] == _ARMS["dense"]]
    noise_ribbon(ax, dense, dense["estimate"].tolist())
    dot_interval(ax, rows, x="x", low="low", high="high", series="series", join=True)
    ax.set_yscale("log")
    plain_log_axis(ax.yaxis)
    ax.set_ylabel("latency (ms)")
    ax.legend()
    level_axis(ax, sorted(set(rows["x"])), "batch size")


def _ratios(ax: Axes, rows: pd.DataFrame, spread: pd.DataFrame) -> None:
    run = at_levels(rows, list(_RATIO.values()))
    noise_ribbon(ax, run)
    dot_interval(ax, run, x="x", low="low", high="high", join=True)
    ratio_axis(ax, _RATIO_LABEL)
    level_axis(ax, sorted(set(run["x"])), "batch size")
    cut = rows.loc[rows["verdict"] == "not_run", "level"]
    lines = [f"not run: {', '.join(cut)}"] if len(cut) else []
    for _, row in spread.iterrows():
        lines.append(
            f"sd of the gain over batches {row['estimate']:.1f} points "
            f"[{row['low']:.1f}, {row['high']:.1f}]"
        )
    remark(ax, "\n".join(lines))


def bandwidth_data(observations: pd.DataFrame, statistics: pd.DataFrame) -> pd.DataFrame:
    """Return exactly what is drawn: where products stand, the roof, and the ratios.

    A product stands at the mean over runs of each coordinate; the ratio is of whole models.
    """
    columns = [*DRAWN, *_PLACED, *_ROOF]
    of_cell = statistics[statistics["cell"] == BANDWIDTH]
    if of_cell.empty:
        return _joined([], columns)
    mean = of_cell[of_cell["contrast"] == "mean"]
    keys = ["device", "level", "treatment"]
    wide = mean.pivot_table(index=keys, columns="metric", values="estimate").reset_index()
    arms = wide[wide["treatment"].isin(["linear_PT", "iterative_1"])]
    arms = arms.assign(series=arms["treatment"].map(_ARMS), panel="placed")
    seen = observations[
        (observations["cell"] == BANDWIDTH) & (observations["metric"] == "memory_bound")
    ]
    bound = seen.groupby(["device", "level", "arm"])["value"].mean()
    index = pd.MultiIndex.from_frame(arms[keys])
    arms = arms.assign(memory_bound=bound.reindex(index).to_numpy())
    # Levels of one regime pooled have no intensity of their own.
    arms = arms.dropna(subset=["intensity"])
    roof = wide[wide["treatment"] == "machine"].assign(panel="roof", series="measured roof")
    ratio = ratios(statistics, BANDWIDTH, _RATIO)
    linear = arms[arms["treatment"] == "linear_PT"].set_index(["device", "level"])
    at = pd.MultiIndex.from_frame(ratio[["device", "level"]])
    for name in ("intensity", "memory_bound"):
        ratio[name] = linear[name].reindex(at).to_numpy()
    ratio = ratio[ratio["intensity"].notna() | (ratio["verdict"] == "not_run")]
    parts = [part.reindex(columns=columns) for part in (arms, roof, ratio)]
    data = _joined(parts, columns)
    data["provenance"] = data["provenance"].fillna("simulated")
    data["n"] = data["n"].fillna(ratio["n"].max())
    return data


def _joined(parts: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    known = [part for part in parts if len(part)]
    return pd.concat(known, ignore_index=True) if known else pd.DataFrame(columns=columns)


def bandwidth_figure(data: pd.DataFrame, *, scale: str) -> Figure:
    """Return the figure: roofline, ratio of latencies and share of the bandwidth, per device."""
    devices = list(dict.fromkeys(data["device"]))
    with style():
        if not devices:
            return without_runs()
        fig = new_figure(PAGE_IN, 2.6 * len(devices))
        axes = fig.subplots(len(devices), 3, squeeze=False)
        for row, device in zip(axes, devices, strict=True):
            part = data[data["device"] == device]
            for ax, letter in zip(row, "abc", strict=True):
                title = titled(letter, device, len(devices) > 1)
                ax.set_title(title, loc="left", fontweight="bold")
            placed = part[part["panel"] == "placed"]
            _roofline(row[0], placed, part[part["panel"] == "roof"])
            _ratio_by_intensity(row[1], part[part["panel"] == "ratio"])
            _shares(row[2], placed)
            for ax, words in zip(row, ("means", "95 % CI", "means"), strict=True):
                panel_note(ax, n=runs(part), interval=words, scale=scale)
                ax.set_xscale("log")
                plain_log_axis(ax.xaxis)
                ax.set_xlabel("operations per byte\n(simulated bytes)")
        fig.legend(handles=_legend(), loc="outside lower center", ncols=5)
    return fig


def _face(row: pd.Series, color: str) -> str:
    """Return the face of a mark: filled where bound by memory."""
    return color if row["memory_bound"] > 0.5 else "white"


def _points(ax: Axes, rows: pd.DataFrame, y: str) -> None:
    for _, row in rows.iterrows():
        given = look(2 + list(_ARMS.values()).index(str(row["series"])))
        face = _face(row, given["color"])
        ax.plot(
            row["intensity"], row[y], given["marker"], color=given["color"], markerfacecolor=face
        )


def _roofline(ax: Axes, rows: pd.DataFrame, roof: pd.DataFrame) -> None:
    """Draw rates of the traced products below the measured roof."""
    _points(ax, rows, "gflop_per_s")
    if len(roof) and len(rows):
        peak, stream = (float(roof[name].iloc[0]) for name in _ROOF)
        low = min(float(rows["intensity"].min()), peak / stream) / 2
        high = max(float(rows["intensity"].max()), peak / stream) * 2
        ax.plot(
            [low, peak / stream, high],
            [low * stream, peak, peak],
            color=REFERENCE,
            linewidth=0.9,
            zorder=1,
        )
    ax.set_yscale("log")
    plain_log_axis(ax.yaxis)
    ax.set_ylabel("GFLOP/s of the sparse products")


def _ratio_by_intensity(ax: Axes, rows: pd.DataFrame) -> None:
    run = rows[rows["verdict"] != "not_run"]
    run = run.assign(x=run["intensity"]).sort_values("x", kind="stable")
    color, marker = look(4)["color"], look(4)["marker"]
    # Several levels have one intensity: each has a band of its own.
    limit = 1 + run["noise_limit"]
    ax.vlines(run["x"], 1 / limit, limit, color=NOISE, linewidth=5.0, zorder=0)
    ax.vlines(run["x"], run["low"], run["high"], color=color, linewidth=0.9)
    for _, row in run.iterrows():
        ax.plot(row["x"], row["estimate"], marker, color=color, markerfacecolor=_face(row, color))
    ratio_axis(ax, _RATIO_LABEL)
    cut = rows.loc[rows["verdict"] == "not_run", "level"]
    if len(cut):
        remark(ax, fill(f"not run: {', '.join(cut)}", _PANEL_CHARACTERS))


def _shares(ax: Axes, rows: pd.DataFrame) -> None:
    _points(ax, rows.assign(percent=100 * rows["bandwidth_share"]), "percent")
    ax.set_ylim(bottom=0)
    ax.set_ylabel("% of the measured bandwidth")


def _legend() -> list[Line2D]:
    """Return handles for arms and for what bounds them."""
    handles = []
    for arm in ("linear_PT", "iterative_1"):
        given = look(2 + list(_ARMS).index(arm))
        handles.append(
            Line2D([], [], color=given["color"], marker=given["marker"], ls="", label=_ARMS[arm])
        )
    for words, face in (("bound by memory", REFERENCE), ("bound by computation", "white")):
        handles.append(
            Line2D([], [], color=REFERENCE, marker="o", markerfacecolor=face, ls="", label=words)
        )
    return [*handles, Line2D([], [], color=REFERENCE, label="measured roof")]

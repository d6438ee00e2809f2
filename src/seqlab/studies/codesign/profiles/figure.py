"""Figure 5: annotated heat maps of what a layout saves, by architecture and device."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from seqlab.plots.primitives import panel_note
from seqlab.plots.style import PAGE_IN, REFERENCE, SMALLEST_TEXT_PT, hatch, new_figure, style
from seqlab.studies.codesign.profiles.spec import HERE, MEASURED
from seqlab.studies.codesign.profiles.statistics import LATENCY, PRIMARY, SECONDARY, TRAFFIC
from seqlab.studies.codesign.wording import NOT_RUN

_TITLES = {
    PRIMARY: "iterative against linear (P, T)",
    SECONDARY: "iterative against the original order",
}
COLUMNS = (
    *("contrast", "cell", "profile", "label", "device", "metric", "provenance"),
    *("n", "change_%", "low_%", "high_%", "noise_%", "verdict", "reason"),
)
_PALETTE = "RdBu_r"
_EMPTY = "#F0F0F0"
_LEAST_RANGE = 5.0
_DARK = 0.6


def drawn(
    observations: pd.DataFrame, statistics: pd.DataFrame, labels: Mapping[str, str]
) -> pd.DataFrame:
    """Return exactly what is drawn: the change in percent of each cell, with its interval.

    Profiles of devices are simulated alike on every machine: those of the first one are drawn. Its
    own caches and its latency are columns of every machine that has records.

    Args:
        observations: Rows of all devices.
        statistics: Their contrasts.
        labels: Profile -> its name, in the order of the columns.
    """
    devices = list(observations["device"].unique())
    several = len(devices) > 1
    columns = [(name, device) for device in devices[:1] for name in labels]
    columns += [(name, device) for device in devices for name in (HERE, MEASURED)]
    rows = []
    for contrast in _TITLES:
        for cell in observations["cell"].unique():
            for profile, device in columns:
                metric = LATENCY if profile == MEASURED else TRAFFIC
                place = {
                    "contrast": contrast,
                    "cell": cell,
                    "profile": profile,
                    "label": _label(profile, str(device), labels, several=several),
                    "device": device,
                    "metric": metric,
                    "provenance": "measured" if profile == MEASURED else "simulated",
                }
                rows.append(place | _change(statistics, place) | {"reason": ""})
                if np.isnan(rows[-1]["change_%"]):
                    rows[-1]["reason"] = _reason(observations, place)
    return pd.DataFrame(rows, columns=COLUMNS)


def _label(profile: str, device: str, labels: Mapping[str, str], *, several: bool) -> str:
    own = {HERE: "CPU caches,\nthis machine", MEASURED: "latency,\nthis machine"}
    if several:
        own = {HERE: f"CPU caches,\n{device}", MEASURED: f"latency,\n{device}"}
    return own.get(profile) or labels[profile]


def _change(statistics: pd.DataFrame, place: Mapping[str, object]) -> dict[str, object]:
    """Return the change in percent of one cell of the figure."""
    keep = statistics["level"] == place["profile"]
    for column in ("contrast", "cell", "device", "metric"):
        keep &= statistics[column] == place[column]
    found = statistics[keep]
    if found.empty:
        missing = dict.fromkeys(("change_%", "low_%", "high_%", "noise_%"), np.nan)
        return {"n": 0, **missing, "verdict": NOT_RUN}
    row = found.iloc[0]
    return {
        "n": int(row["n"]),
        "change_%": 100 * (row["ratio"] - 1),
        "low_%": 100 * (row["ratio_low"] - 1),
        "high_%": 100 * (row["ratio_high"] - 1),
        "verdict": row["verdict"],
        "noise_%": 100 * row["noise_limit"],
    }


def _reason(observations: pd.DataFrame, place: Mapping[str, object]) -> str:
    rows = observations[
        (observations["cell"] == place["cell"])
        & (observations["level"] == place["profile"])
        & (observations["device"] == place["device"])
    ]
    known = rows["reason"].dropna()
    return str(known.iloc[0]) if len(known) else "no records"


def draw(data: pd.DataFrame, *, scale: str) -> Figure:
    """Return the figure: one heat map per contrast, blue where the iterative arm saves."""
    cells = list(data["cell"].unique())
    known = data["change_%"].abs()
    limit = max(_LEAST_RANGE, float(known.max()) if known.notna().any() else 0.0)
    norm = TwoSlopeNorm(0.0, -limit, limit)
    with style():
        fig = new_figure(PAGE_IN, 2 * (0.95 + 0.34 * len(cells)) + 0.3)
        axes = fig.subplots(len(_TITLES), 1, squeeze=False)[:, 0]
        for ax, (contrast, title) in zip(axes, _TITLES.items(), strict=True):
            rows = data[data["contrast"] == contrast]
            ax.set_title(title, loc="left")
            _heat_map(ax, rows, cells, norm)
            panel_note(ax, n=_runs(rows), interval="95 % t interval below", scale=scale)
        bar = fig.colorbar(
            ScalarMappable(norm=norm, cmap=_PALETTE), ax=list(axes), shrink=0.7, pad=0.01, aspect=25
        )
        bar.set_label("change of traffic to memory or of latency (%)")
        fig.legend(
            handles=[
                Patch(facecolor="white", edgecolor=REFERENCE, hatch=hatch("simulated")),
                Patch(facecolor="white", edgecolor=REFERENCE),
            ],
            labels=["simulated traffic to memory", "measured latency"],
            loc="outside lower center",
            ncols=2,
        )
    return fig


def _runs(rows: pd.DataFrame) -> str:
    counts = sorted({int(n) for n in rows["n"] if n})
    return " to ".join(dict.fromkeys(map(str, (counts[0], counts[-1])))) if counts else "0"


def _heat_map(ax: Axes, rows: pd.DataFrame, cells: list[str], norm: TwoSlopeNorm) -> None:
    """Draw one rectangle per architecture and column; strokes over what is simulated."""
    palette = colormaps[_PALETTE]
    labels = list(rows["label"].unique())
    for _, row in rows.iterrows():
        x, y = labels.index(row["label"]), cells.index(row["cell"])
        value = row["change_%"]
        known = bool(np.isfinite(value))
        color = palette(norm(value)) if known else _EMPTY
        strokes = hatch(row["provenance"])
        ax.add_patch(
            Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=color, edgecolor="#C0C0C0", hatch=strokes)
        )
        # The strokes end where the text is: a plate in the colour of the cell under it.
        dark = known and abs(float(norm(value)) - 0.5) * 2 > _DARK
        ax.text(
            x,
            y,
            _words(row),
            ha="center",
            va="center",
            fontsize=SMALLEST_TEXT_PT,
            color="white" if dark else "black",
            linespacing=1.05,
            bbox={"facecolor": color, "edgecolor": "none", "pad": 0.8},
        )
    ax.set_xlim(-0.5, len(labels) - 0.5)
    ax.set_ylim(len(cells) - 0.5, -0.5)
    ax.set_xticks(range(len(labels)), labels)
    ax.set_yticks(range(len(cells)), cells)
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)


def _words(row: pd.Series) -> str:
    if not np.isfinite(row["change_%"]):
        return "not run"
    if row["verdict"] == "degenerate" and row["change_%"] == 0:
        return "0\n(identical)"
    text = f"{_number(row['change_%'])} %"
    if np.isfinite(row["low_%"]):
        text += f"\n[{_number(row['low_%'])}, {_number(row['high_%'])}]"
    # What the mean of two identical arms differs by: no band can be drawn on a heat map.
    return text + (f"\nA/A {row['noise_%']:.1f} %" if np.isfinite(row["noise_%"]) else "")


def _number(value: float) -> str:
    text = f"{value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")

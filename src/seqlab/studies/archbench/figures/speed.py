"""Time of a training step over the length of the sequence, at a fixed number of tokens."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from seqlab.plots.primitives import panel_note, plain_log_axis
from seqlab.plots.style import COLUMN_IN, new_figure, style
from seqlab.studies.archbench import wording
from seqlab.studies.archbench.figures.looks import look_of


def drawn(statistics: pd.DataFrame) -> pd.DataFrame:
    """Return mean times by length, each with what identical models differ by at that length."""
    rows = statistics[statistics["contrast"] == "time"]
    noise = statistics[statistics["contrast"] == "aa"].set_index("condition")["noise_limit"]
    return rows.assign(
        length=rows["condition"].str.removeprefix("T").astype(int),
        noise_limit=rows["condition"].map(noise),
    )[["model", "length", "n", "estimate", "ci_low", "ci_high", "noise_limit"]]


def draw(data: pd.DataFrame, *, scale: str) -> Figure:
    """Return the figure.

    Args:
        data: Rows of `drawn`.
        scale: Scale of the runs.
    """
    with style():
        fig = new_figure(COLUMN_IN, 3.2)
        ax = fig.subplots()
        for name in wording.in_order([*data["model"].unique()]):
            rows = data[data["model"] == name].sort_values("length")
            seen = look_of(name)
            ax.plot(
                rows["length"],
                rows["estimate"],
                color=seen["color"],
                marker=seen["marker"],
                linestyle=seen["linestyle"],
                label=wording.architecture(name),
            )
            ax.vlines(rows["length"], rows["ci_low"], rows["ci_high"], color=seen["color"])
        ax.set_xscale("log", base=2)
        ax.set_yscale("log")
        plain_log_axis(ax.yaxis)
        lengths = sorted(data["length"].unique())
        ax.set_xticks(lengths, [str(length) for length in lengths])
        ax.set_xlabel("tokens per sequence, batches of equal tokens")
        ax.set_ylabel("forward and backward, ms")
        ax.set_title("step time", loc="left")
        interval = f"95 % CI, A/A within {100 * data['noise_limit'].max():.1f} %"
        panel_note(ax, n=int(data["n"].min()), interval=interval, scale=scale)
        fig.legend(loc="outside lower center", ncols=3)
    return fig

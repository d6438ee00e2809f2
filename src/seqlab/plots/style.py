"""The one style of every figure: widths, type, colours that survive grey, marks for provenance."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from cycler import cycler
from matplotlib.figure import Figure

from seqlab.plots.words import verdict_word

# Widths of a two-column page in inches; figures are printed at the width they are drawn at.
COLUMN_IN = 3.35
PAGE_IN = 6.9
SMALLEST_TEXT_PT = 6.0

# Okabe and Ito (2008), ordered so that neighbours differ in luminance too (CIE L* beside each).
PALETTE = (
    "#000000",  # 0
    "#E69F00",  # 71
    "#0072B2",  # 46
    "#56B4E9",  # 70
    "#D55E00",  # 54
    "#009E73",  # 58
    "#CC79A7",  # 62
    "#F0E442",  # 89
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINES = ("-", "--", "-.", ":")
NOISE = "#D9D9D9"
REFERENCE = "#7F7F7F"
SIMULATED_HATCH = "////"

# Verdict -> colour, marker and word; colour is never the only difference.
VERDICTS: dict[str, tuple[str, str, str]] = {
    verdict: (color, marker, verdict_word(verdict))
    for verdict, color, marker in (
        ("faster", "#0072B2", "v"),
        ("lower", "#0072B2", "v"),
        ("slower", "#D55E00", "^"),
        ("higher", "#D55E00", "^"),
        ("equivalent", "#009E73", "s"),
        ("inconclusive", "#7F7F7F", "o"),
        ("degenerate", "#000000", "x"),
        ("supported", "#009E73", "s"),
        ("refuted", "#D55E00", "X"),
        ("not_evaluable", "#7F7F7F", "D"),
        ("not_run", "#7F7F7F", "."),
    )
}

RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 7.0,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7.0,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "figure.titlesize": 8.0,
    "mathtext.default": "regular",
    "mathtext.fontset": "dejavusans",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.formatter.use_mathtext": False,
    "axes.formatter.useoffset": False,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.0,
    "lines.markersize": 4.0,
    "patch.linewidth": 0.6,
    "hatch.linewidth": 0.5,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "figure.constrained_layout.use": True,
    # Type 42 keeps text selectable and is what publishers ask for.
    "pdf.fonttype": 42,
    "pdf.compression": 6,
    "text.usetex": False,
    "axes.prop_cycle": cycler(color=list(PALETTE[1:7])),
}


@contextmanager
def style() -> Iterator[None]:
    """Draw inside this context: matplotlib's defaults under the settings of the project.

    The user's own matplotlibrc has no effect, so the same data give the same bytes everywhere.
    """
    with plt.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(RC)
        yield


def new_figure(width_in: float = COLUMN_IN, height_in: float = 2.4) -> Figure:
    """Return an empty figure of a printed size; call inside `style()`."""
    return Figure(figsize=(width_in, height_in), layout="constrained")


def look(index: int) -> dict[str, str]:
    """Return colour, marker and line style of the series with this index."""
    return {
        "color": PALETTE[index % len(PALETTE)],
        "marker": MARKERS[index % len(MARKERS)],
        "linestyle": LINES[index % len(LINES)],
    }


def marker_face(provenance: str, color: str) -> str:
    """Return the face of a marker: hollow for what is simulated, filled for the rest."""
    return "white" if provenance == "simulated" else color


def hatch(provenance: str) -> str:
    """Return the hatch of a bar or cell: dense strokes for what is simulated, else none."""
    return SIMULATED_HATCH if provenance == "simulated" else ""

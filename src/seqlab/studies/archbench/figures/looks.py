"""What architectures look like, the same in every figure."""

from __future__ import annotations

from collections.abc import Iterable

from matplotlib.artist import Artist
from matplotlib.axes import Axes

from seqlab.plots.style import LINES, MARKERS, PALETTE
from seqlab.studies.archbench.wording import ORDER, architecture


def look_of(name: str) -> dict[str, str]:
    """Return colour, marker and line of an architecture."""
    place = ORDER.index(name)
    return {
        "color": PALETTE[place % 7],
        "marker": MARKERS[place % len(MARKERS)],
        "linestyle": LINES[place // 3 % len(LINES)],
    }


def legend_of(panels: Iterable[Axes]) -> tuple[list[Artist], list[str]]:
    """Return handles and labels of the architectures that any panel shows, each once, in order.

    One panel is not enough: an architecture may be run on some tasks only.
    """
    shown: dict[str, Artist] = {}
    for panel in panels:
        shown |= {
            label: handle for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
        }
    labels = [label for label in map(architecture, ORDER) if label in shown]
    return [shown[label] for label in labels], labels

"""What architectures look like, the same in every figure."""

from __future__ import annotations

from seqlab.plots.style import LINES, MARKERS, PALETTE
from seqlab.studies.archbench.wording import ORDER


def look_of(name: str) -> dict[str, str]:
    """Return colour, marker and line of an architecture."""
    place = ORDER.index(name)
    return {
        "color": PALETTE[place % 7],
        "marker": MARKERS[place % len(MARKERS)],
        "linestyle": LINES[place // 3 % len(LINES)],
    }

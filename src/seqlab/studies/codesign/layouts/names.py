"""Names of arms in the records of layouts."""

from __future__ import annotations

# A layout, and the second measurement of the first one.
LAYOUT, AGAIN = "layout", "layout_aa"

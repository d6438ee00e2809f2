"""Names of arms in the records of layouts."""

from __future__ import annotations

# A layout, and the second measurement of the first one.
LAYOUT, AGAIN = "layout", "layout_aa"

HITS = "L2_hit_rate"
# Of all loads and stores, what the first two caches serve: it cannot fall where fewer lines come
# from further away.
SERVED = "L1_L2_share"
# Item of the rows -> mediator.
MEDIATORS = {"mediation": HITS, "mediation_served": SERVED}

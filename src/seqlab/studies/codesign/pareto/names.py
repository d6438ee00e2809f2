"""Names of arms and levels in the records of Figure 6."""

from __future__ import annotations

from seqlab.studies.codesign.workbench import names

KERNEL = "csr"
LEARNED_LEVEL = "learned"
LEARNED, LEARNED_TP = "learned", "learned_TP"
PRUNED = (names.ALGO_ONLY, names.LINEAR_PT, names.LINEAR_TP, names.ITERATIVE)


def level_of(percent: int) -> str:
    """Return the level of a sparsity in records and tables."""
    return f"s{percent}"

"""Names of arms and levels in the records of path dependence."""

from __future__ import annotations

PRUNE_RANDOM = "prune_random"


def quality_level(sparsity: float) -> str:
    """Return the level of the quality that the reference arm has at a share of pruned tiles."""
    return f"q{sparsity:g}"

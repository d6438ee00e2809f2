"""Names of the arms and of the dense kernel; what reads records needs no more of the workbench."""

from __future__ import annotations

DENSE, DENSE_AA, RANDOM = "dense", "dense_aa", "random"
PERMUTE_ONLY, ALGO_ONLY = "permute_only", "algo_only"
LINEAR_PT, LINEAR_TP = "linear_PT", "linear_TP"
ITERATIVE = "iterative_1"
# What Table 1 compares; `dense_aa` is the second of two identical arms.
ARMS = (DENSE, DENSE_AA, RANDOM, PERMUTE_ONLY, ALGO_ONLY, LINEAR_PT, LINEAR_TP, ITERATIVE)
# Product K0, by torch.
DENSE_KERNEL = "dense"

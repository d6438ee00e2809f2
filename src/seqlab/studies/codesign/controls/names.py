"""Names of the kernels and layouts of the controls in their records."""

from __future__ import annotations

DENSE, SPARSE = "dense", "sparse"
ORIGINAL, AGAIN, RANDOM, SPECTRAL = "original", "original_aa", "random", "spectral"
CLUSTERED, CLUSTERED_AGAIN, SHUFFLED = "clustered", "clustered_aa", "shuffled"

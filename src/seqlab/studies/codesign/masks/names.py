"""Names of variants that no training makes."""

from __future__ import annotations

DENSE, MAGNITUDE, UNSTRUCTURED = "dense", "magnitude", "unstructured"

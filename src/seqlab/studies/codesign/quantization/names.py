"""Names of the arms of Figure 2 in its records."""

from __future__ import annotations

DENSE = "dense"
QUANTIZE_ONLY = "quantize_only"
QUANTIZE_ONLY_AA = "quantize_only_aa"
RANDOM_QUANTIZE = "random_quantize"
QUANTIZE_PERMUTE = "quantize_permute"
PERMUTE_QUANTIZE = "permute_quantize"
REPERMUTE = "permute_quantize_repermute"
PLANTED = "quantize_only_planted"

# The three strategies of the published figure, in its order.
STRATEGIES = (QUANTIZE_PERMUTE, PERMUTE_QUANTIZE, REPERMUTE)

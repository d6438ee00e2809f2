"""Statistics of the cache profiles.

Primary, stated before the data: the iterative arm against the linear one, on traffic to memory in
each simulated cache and on the measured latency of the same products. Against the pruned model in
its original order it is secondary: that shows whether any layout matters at these sizes.
"""

from __future__ import annotations

import pandas as pd

from seqlab.studies.codesign.comparisons import Comparison, compare
from seqlab.studies.codesign.experiment import AnalyseSpec
from seqlab.studies.codesign.profiles.spec import LINEAR_AA
from seqlab.studies.codesign.workbench import names as arms

TRAFFIC, LATENCY = "dram_bytes", "site_latency_ms"
PRIMARY, SECONDARY = "iterative_vs_linear_PT", "iterative_vs_algo_only"
_AA = (LINEAR_AA, arms.LINEAR_PT)
_COMPARISONS = (
    Comparison(PRIMARY, arms.ITERATIVE, arms.LINEAR_PT),
    Comparison(SECONDARY, arms.ITERATIVE, arms.ALGO_ONLY),
    Comparison("aa", *_AA, (LATENCY,)),
)


def analyse(observations: pd.DataFrame, spec: AnalyseSpec) -> pd.DataFrame:
    """Return one row per contrast, architecture, profile and device."""
    return compare(observations, _COMPARISONS, spec, item="fig5", aa=_AA)

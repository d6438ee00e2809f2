"""Tests that allow runs of different variance."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm
from statsmodels.tools.sm_exceptions import ValueWarning


def two_way_robust_p(
    values: ArrayLike, first: Sequence[object], second: Sequence[object]
) -> NDArray[np.float64]:
    """Return p of both factors and their interaction, type II, with HC3 covariances.

    Squared residuals stand for the variances of their own runs instead of being pooled (MacKinnon
    and White 1985; Long and Ervin 2000 recommend HC3 for small samples). All are NaN where cells
    without variance leave a covariance of less than full rank.

    Args:
        values: Shape (n,), one value per run.
        first: Level of the first factor for each value.
        second: Level of the second factor for each value.
    """
    frame = pd.DataFrame({"y": np.asarray(values), "a": [*first], "b": [*second]})
    fit = ols("y ~ C(a, Sum) * C(b, Sum)", frame).fit()
    with warnings.catch_warnings():
        warnings.simplefilter("error", ValueWarning)
        try:
            table = anova_lm(fit, typ=2, robust="hc3")
        except ValueWarning:
            return np.full(3, np.nan)
    return np.asarray(table["PR(>F)"].iloc[:3], dtype=np.float64)

"""Corrections of p values within a family; a NaN p value stays NaN and does not enlarge the
family.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Method = Literal["holm", "bh", "bonferroni"]


def adjust(p_values: ArrayLike, method: Method = "holm") -> NDArray[np.float64]:
    """Adjust a family of p values.

    Args:
        p_values: Shape (m,), each in [0, 1] or NaN (no test was possible).
        method: `holm` (family-wise, step down), `bh` (false discovery rate, Benjamini-Hochberg),
            `bonferroni`.

    Returns:
        Adjusted p values, shape (m,), NaN where the input is NaN.

    Raises:
        ValueError: A value outside [0, 1] or an unknown method.
    """
    p = np.asarray(p_values, dtype=np.float64)
    defined = np.isfinite(p)
    if ((p[defined] < 0) | (p[defined] > 1)).any():
        raise ValueError("p values must lie in [0, 1]")
    adjusted = np.full(p.shape, np.nan)
    family = p[defined]
    order = np.argsort(family, kind="stable")
    rank = np.arange(1, family.size + 1)
    ascending = family[order]
    if method == "holm":
        stepped = np.maximum.accumulate((family.size - rank + 1) * ascending)
    elif method == "bh":
        stepped = np.minimum.accumulate((family.size / rank * ascending)[::-1])[::-1]
    elif method == "bonferroni":
        stepped = family.size * ascending
    else:
        raise ValueError(f"unknown correction {method!r}")
    in_order = np.empty(family.size)
    in_order[order] = np.minimum(stepped, 1.0)
    adjusted[defined] = in_order
    return adjusted

"""Order of the leaves of an average-linkage dendrogram (UPGMA; Sokal and Michener, 1958)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def leaf_order(affinity: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Return (D,) nodes in the order of the leaves, distance being the largest affinity minus W.

    The order is that of SciPy, which puts the first-made part of every merger to the left.

    Args:
        affinity: (D, D) symmetric float32, D at least two.
    """
    # It loads all of scipy.spatial, and every run imports this module for the other methods.
    from scipy.cluster import hierarchy

    upper = affinity[np.triu_indices(affinity.shape[0], 1)].astype(np.float64)
    tree = hierarchy.linkage(upper.max() - upper, method="average")
    return hierarchy.leaves_list(tree).astype(np.int64)

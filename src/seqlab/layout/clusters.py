"""Clusterings into k groups of any size that ablations compare with balanced blocks.

- `kmeans_clusters`: k-means on the rows of the affinity as they are.
- `laplacian_clusters`: Algorithm 1 of the original study: the k eigenvectors of the unnormalised
  Laplacian L = D - W with the smallest eigenvalues (float64), k-means on their rows (von Luxburg,
  2007).
- `random_clusters`: groups that know nothing of the affinity, as equal in size as can be.

All are deterministic given their generator. A group that k-means leaves empty is dropped.
"""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt
import scipy.linalg

# Starts of k-means; the best by its own criterion is kept.
_STARTS = 3

Labels = npt.NDArray[np.int64]


def random_clusters(size: int, clusters: int, rng: np.random.Generator) -> Labels:
    """Return (D,) labels 0..k-1 drawn at random, in groups of floor(D/k) or ceil(D/k) nodes."""
    labels = np.arange(size) % clusters
    return rng.permutation(labels)


def kmeans_clusters(
    rows: npt.NDArray[np.floating], clusters: int, rng: np.random.Generator
) -> Labels:
    """Cluster the rows of a (D, R) array by k-means.

    Args:
        rows: (D, R) features, D at least `clusters`.
        clusters: Number of groups k.
        rng: Draws the starting centres.

    Returns:
        (D,) labels 0..c-1, none empty; c is k unless fewer rows differ.
    """
    # scikit-learn takes a while to import, and few runs need it.
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    model = KMeans(clusters, n_init=_STARTS, random_state=int(rng.integers(2**31)))
    # Several threads add up centres in any order, and then two runs may differ.
    with threadpool_limits(limits=1), warnings.catch_warnings():
        # Fewer distinct rows than clusters, which the number of labels tells.
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = model.fit_predict(rows)
    return np.unique(found, return_inverse=True)[1].astype(np.int64)


def laplacian_clusters(
    affinity: npt.NDArray[np.float32], clusters: int, rng: np.random.Generator
) -> Labels:
    """Cluster the nodes of an affinity by Algorithm 1 of the original study.

    Args:
        affinity: (D, D) symmetric float32, zero diagonal.
        clusters: Number of groups and of eigenvectors k.
        rng: Draws the starting centres.

    Returns:
        (D,) labels 0..c-1, none empty; c is k unless fewer rows differ.
    """
    laplacian = -affinity.astype(np.float64)
    np.fill_diagonal(laplacian, -laplacian.sum(axis=1))
    _, vectors = scipy.linalg.eigh(
        laplacian, subset_by_index=(0, clusters - 1), overwrite_a=True, check_finite=False
    )
    return kmeans_clusters(vectors, clusters, rng)

"""Recursive spectral bisection (Pothen, Simon and Liou, 1990): blocks from cuts alone.

Each part is cut again where the Fiedler vector of the unnormalised Laplacian, the relaxation of the
smallest cut, changes sign, moved to the nearest whole number of blocks that leaves at least a
quarter of them on either side. Nothing weighs what is inside a block, and no node is swapped
afterwards.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.linalg

from seqlab.layout.balance import block_sizes

# One block after the other would cost an eigenvector of almost everything for each.
_LEAST_SHARE = 4


def bisected_blocks(affinity: npt.NDArray[np.float32], block: int) -> npt.NDArray[np.int64]:
    """Return (D,) labels of blocks with the sizes of `block_sizes`, deterministic.

    The ragged block is the last one of the last halves.

    Args:
        affinity: (D, D) symmetric float32, non-negative, zero diagonal.
        block: Nodes to a block.
    """
    size = affinity.shape[0]
    labels = np.zeros(size, np.int64)
    # Parts still to cut and the number of their first block.
    parts = [(np.arange(size), 0)]
    while parts:
        nodes, first = parts.pop()
        count = block_sizes(nodes.size, block).size
        if count <= 1:
            labels[nodes] = first
            continue
        vector = _fiedler_vector(affinity[np.ix_(nodes, nodes)])
        order = nodes[np.argsort(vector, kind="stable")]
        least = max(1, count // _LEAST_SHARE)
        left = round(int((vector < 0).sum()) / block)
        left = min(max(left, least), count - least)
        parts.append((order[: left * block], first))
        parts.append((order[left * block :], first + left))
    return labels


def _fiedler_vector(affinity: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return the eigenvector of the second smallest eigenvalue of D - W; third moment >= 0."""
    laplacian = -affinity.astype(np.float64)
    np.fill_diagonal(laplacian, -laplacian.sum(axis=1))
    _, vectors = scipy.linalg.eigh(
        laplacian, subset_by_index=(1, 1), overwrite_a=True, check_finite=False
    )
    vector = vectors[:, 0]
    return -vector if (vector**3).sum() < 0 else vector

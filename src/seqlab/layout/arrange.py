"""Turn a partition into an order: blocks along their quotient graph, nodes along their block."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from seqlab.layout.refine import block_gains
from seqlab.layout.spectral import batched_fiedler, fiedler_order


def arranged(
    affinity: npt.NDArray[np.float32],
    labels: npt.NDArray[np.integer],
    rng: np.random.Generator,
    *,
    last: int | None = None,
) -> tuple[npt.NDArray[np.int64], str | None]:
    """Order blocks by the Fiedler vector of the graph between them, and nodes by that of theirs.

    Args:
        affinity: (D, D) symmetric float32.
        labels: (D,) block of each node, 0..K-1, none empty.
        rng: Source of Lanczos starting vectors.
        last: Block that has to come last (a ragged one), if any.

    Returns:
        (D,) node indices, and the fallback taken (or None).
    """
    count = int(labels.max()) + 1
    quotient, fallback = fiedler_order(_quotient(affinity, labels, count), rng)
    if last is not None:
        quotient = np.append(quotient[quotient != last], last)
    grouped = np.argsort(labels, kind="stable")
    ends = np.cumsum(np.bincount(labels, minlength=count))
    nodes = np.split(grouped, ends[:-1])
    inner = _inner_orders(affinity, nodes, rng)
    return np.concatenate([inner[block] for block in quotient]), fallback


def _quotient(
    affinity: npt.NDArray[np.float32], labels: npt.NDArray[np.integer], count: int
) -> npt.NDArray[np.float32]:
    """Return (K, K) mean affinity between blocks; means, because blocks may differ in size."""
    indicator = np.zeros((affinity.shape[0], count), np.float32)
    indicator[np.arange(affinity.shape[0]), labels] = 1
    sizes = indicator.sum(axis=0)
    sums = block_gains(affinity, labels, count) @ indicator / np.outer(sizes, sizes)
    np.fill_diagonal(sums, 0)
    return np.asarray((sums + sums.T) / 2, np.float32)


def _inner_orders(
    affinity: npt.NDArray[np.float32],
    nodes: list[npt.NDArray[np.int64]],
    rng: np.random.Generator,
) -> list[npt.NDArray[np.int64]]:
    """Order the nodes of each block; blocks of one size are solved in one batch."""
    orders = list(nodes)
    sizes = np.array([block.size for block in nodes])
    for size in np.unique(sizes):
        which = np.flatnonzero(sizes == size)
        if which.size == 1:
            block = nodes[which[0]]
            local, _ = fiedler_order(affinity[np.ix_(block, block)], rng)
            orders[which[0]] = block[local]
            continue
        stack = np.stack([nodes[block] for block in which])
        vectors = batched_fiedler(affinity[stack[:, :, None], stack[:, None, :]])
        local = np.argsort(vectors, axis=1, kind="stable")
        for block, order in zip(which, np.take_along_axis(stack, local, axis=1), strict=True):
            orders[block] = order
    return orders

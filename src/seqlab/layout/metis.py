"""METIS partitions repaired to equal blocks: the peer that our own solver is measured against.

METIS takes integer weights and does not keep parts exactly equal, and a dense graph of thousands of
nodes has millions of edges. So each node keeps its 64 strongest partners (an edge stays if either
end keeps it), weights become integers of 1..1000, and afterwards nodes move from overfull to
underfull parts by smallest loss of the full affinity.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from seqlab.errors import UserError
from seqlab.layout.balance import block_sizes, repaired

NEIGHBOURS = 64
_WEIGHT_LEVELS = 1000


def metis_blocks(
    affinity: npt.NDArray[np.float32], block: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Return (D,) labels of blocks with the sizes of `block_sizes`.

    Args:
        affinity: (D, D) symmetric float32, largest entry one.
        block: Nodes to a block.
        rng: Draws the seed of METIS.

    Raises:
        UserError: pymetis is not installed.
    """
    sizes = block_sizes(affinity.shape[0], block)
    graph = strongest_neighbours(affinity, NEIGHBOURS)
    return repaired(affinity, metis_parts(graph, sizes.size, rng), sizes)


def metis_parts(graph: sp.csr_array, parts: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return (N,) parts 0..K-1 of about equal sizes, as METIS leaves them; some may be empty.

    Args:
        graph: (N, N) symmetric CSR, largest weight one, without a diagonal.
        parts: Number of parts K.
        rng: Draws the seed of METIS.

    Raises:
        UserError: pymetis is not installed.
    """
    try:
        import pymetis
    except ImportError as error:
        raise UserError(
            "layout method metis needs the pymetis package, which cannot be imported",
            fix="install seqlab with its peers extra, or choose another method",
        ) from error
    seed = int(rng.integers(1, 2**31 - 1))
    if parts == 1:
        return np.zeros(graph.shape[0], np.int64)
    weights = np.maximum(np.rint(graph.data * _WEIGHT_LEVELS), 1).astype(np.int64)
    _, labels = pymetis.part_graph(
        parts,
        xadj=graph.indptr.astype(np.int64),
        adjncy=graph.indices.astype(np.int64),
        eweights=weights,
        options=pymetis.Options(seed=seed),
    )
    return np.asarray(labels, dtype=np.int64)


def strongest_neighbours(affinity: npt.NDArray[np.float32], neighbours: int) -> sp.csr_array:
    """Keep edges that are among the `neighbours` largest of either end, as a symmetric CSR."""
    size = affinity.shape[0]
    kept = min(neighbours, size - 1)
    columns = np.argpartition(-affinity, kept - 1, axis=1)[:, :kept]
    rows = np.repeat(np.arange(size), kept)
    values = np.take_along_axis(affinity, columns, axis=1).ravel()
    graph = sp.csr_array((values, (rows, columns.ravel())), shape=affinity.shape)
    graph.eliminate_zeros()
    return graph.maximum(graph.T).tocsr()

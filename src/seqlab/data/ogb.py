"""Node classification graphs in the raw files of the Open Graph Benchmark (Hu et al. 2020).

`raw/edge.csv.gz` has one `source,target` line an edge, `raw/node-feat.csv.gz` and
`raw/node-label.csv.gz` one line a node, and `split/<name>/{train,valid,test}.csv.gz` one node a
line; none has a header. The official archive of ogbn-arxiv unpacks to these.

Citations have a direction; as in OGB's own examples every edge is taken both ways. Nodes keep the
order of the files.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse

from seqlab.data.graph_folder import Graph
from seqlab.errors import UserError

_RAW = ("raw/edge.csv.gz", "raw/node-feat.csv.gz", "raw/node-label.csv.gz")
_SPLIT_FILES = {"train": "train.csv.gz", "validation": "valid.csv.gz", "test": "test.csv.gz"}
_NOTES = ("README.md", "LICENSE", "LICENSE.txt", "LICENSE.md")
_FIX = "unpack OGB's own archive of the data set (ogb.stanford.edu), and give it as path:DIR"


@dataclass(frozen=True)
class OgbGraph:
    """What the raw files hold.

    Attributes:
        graph: The graph, every edge in both directions.
        listed_edges: Lines of the edge file, by which a copy is known to be whole.
    """

    graph: Graph
    listed_edges: int


def ogb_files(split: str) -> list[str]:
    """Return the files that are read, relative to the folder that holds `raw/` and `split/`."""
    return [*_RAW, *(f"split/{split}/{name}" for name in _SPLIT_FILES.values())]


def choose_ogb_files(paths: Iterable[str], folder: str, split: str) -> list[str]:
    """Return the files of a data set repository to fetch: its notes and the graph's raw files.

    Args:
        paths: All paths of the repository.
        folder: Folder of the repository that holds `raw/` and `split/`; "" for its root.
        split: Name of the split.

    Raises:
        UserError: One of the raw files is not there.
    """
    found = set(paths)
    wanted = [str(PurePosixPath(folder, name)) for name in ogb_files(split)]
    missing = [path for path in wanted if path not in found]
    if missing:
        raise UserError(f"the repository has no {missing[0]}", fix=_FIX)
    return [path for path in _NOTES if path in found] + wanted


def read_ogb(folder: Path, split: str) -> OgbGraph:
    """Read the raw files below `folder`.

    Raises:
        UserError: The folder or a file is missing or damaged, or files do not fit each other.
    """
    if not folder.is_dir():
        raise UserError("no such folder", where=str(folder), fix=_FIX)
    features = _table(folder / "raw/node-feat.csv.gz", np.float32)
    labels = _table(folder / "raw/node-label.csv.gz", np.int64)
    if labels.shape[1] != 1:
        raise UserError(
            f"{labels.shape[1]} labels for each node, one is needed",
            where=str(folder / "raw/node-label.csv.gz"),
        )
    nodes = len(labels)
    edges = _table(folder / "raw/edge.csv.gz", np.int64)
    _require_nodes(edges, nodes, folder / "raw/edge.csv.gz")
    masks = {}
    for name, file in _SPLIT_FILES.items():
        path = folder / "split" / split / file
        members = _table(path, np.int64)
        _require_nodes(members, nodes, path)
        masks[name] = np.zeros(nodes, bool)
        masks[name][members[:, 0]] = True
    graph = Graph(_both_directions(edges, nodes), features, labels[:, 0], masks)
    return OgbGraph(graph, len(edges))


def _table(path: Path, kind: type[np.float32] | type[np.int64]) -> npt.NDArray[Any]:
    """Return a compressed table without a header as (rows, columns)."""
    import pandas as pd

    try:
        return pd.read_csv(path, header=None, dtype=kind, compression="gzip").to_numpy()
    except FileNotFoundError:
        raise UserError("file is missing", where=str(path), fix=_FIX) from None
    except (OSError, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"file is damaged: {reason}", where=str(path), fix=_FIX) from None


def _require_nodes(values: npt.NDArray[Any], nodes: int, path: Path) -> None:
    if not 0 <= values.min() <= values.max() < nodes:
        raise UserError(f"names a node outside the {nodes} that have labels", where=str(path))


def _both_directions(edges: npt.NDArray[Any], nodes: int) -> npt.NDArray[np.int64]:
    """Return (2, E) edges both ways, sorted by target and source, without loops or repeats."""
    kept = edges[edges[:, 0] != edges[:, 1]]
    ones = np.ones(len(kept), bool)
    matrix = scipy.sparse.coo_array((ones, (kept[:, 1], kept[:, 0])), (nodes, nodes)).tocsr()
    both = (matrix + matrix.T).tocsr()
    both.sort_indices()
    target, source = both.nonzero()
    return np.stack([source, target]).astype(np.int64)

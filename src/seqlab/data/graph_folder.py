"""A graph folder: one graph whose nodes have features, classes and a split.

`graph.npz` holds `edge_index` (2, E) int32, `features` (N, C) float32, `labels` (N,) int64, the
masks `train`, `validation` and `test` (N,) bool, and `communities` (N,) int64 where they are known.
The same graph gives the same bytes.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seqlab.errors import UserError

GRAPH_FILE = "graph.npz"
SPLITS = ("train", "validation", "test")
_REQUIRED = ("edge_index", "features", "labels", *SPLITS)


@dataclass(frozen=True)
class Graph:
    """A graph for node classification.

    Attributes:
        edge_index: (2, E) int64, source and target, every edge in both directions.
        features: (N, C) float32.
        labels: (N,) int64, class of each node, from 0.
        masks: (N,) bool by split, `train`, `validation` and `test`; no node is in two.
        communities: (N,) int64, the planted communities of a generated graph; None elsewhere.

    Raises:
        UserError: Arrays do not fit each other, an edge leads outside, or splits overlap or are
            empty.
    """

    edge_index: npt.NDArray[np.int64]
    features: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    masks: dict[str, npt.NDArray[np.bool_]]
    communities: npt.NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        for problem in self._problems():
            raise UserError(f"no graph: {problem}")

    @property
    def nodes(self) -> int:
        """Number of nodes N."""
        return len(self.labels)

    @property
    def edges(self) -> int:
        """Number of undirected edges."""
        return self.edge_index.shape[1] // 2

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.labels.max()) + 1

    def split(self, name: str) -> npt.NDArray[np.int64]:
        """Return the nodes of a split, ascending."""
        return np.flatnonzero(self.masks[name])

    def _problems(self) -> list[str]:
        nodes, edges = self.nodes, self.edge_index
        found = []
        if edges.ndim != 2 or len(edges) != 2:
            found.append(f"edge_index is {edges.shape}, not (2, E)")
        elif edges.size and not 0 <= edges.min() <= edges.max() < nodes:
            found.append(f"an edge leads outside its {nodes} nodes")
        if self.features.ndim != 2 or len(self.features) != nodes:
            found.append(f"features are {self.features.shape}, and there are {nodes} labels")
        if nodes and self.labels.min() < 0:
            found.append("a label is negative")
        if tuple(self.masks) != SPLITS:
            return [*found, f"its splits are {', '.join(self.masks)}, not {', '.join(SPLITS)}"]
        for name, mask in self.masks.items():
            if mask.shape != (nodes,) or not mask.any():
                found.append(f"split {name} is empty or not of its {nodes} nodes")
        if not found and np.sum([mask for mask in self.masks.values()], axis=0).max() > 1:
            found.append("a node is in two splits")
        return found


def save_graph(folder: Path, graph: Graph) -> None:
    """Write `graph.npz` into `folder`, which exists (a temporary one of `atomic_folder`)."""
    arrays: dict[str, Any] = {
        # Half the size; every node count that fits in memory fits.
        "edge_index": graph.edge_index.astype(np.int32),
        "features": graph.features,
        "labels": graph.labels,
        **graph.masks,
    }
    if graph.communities is not None:
        arrays["communities"] = graph.communities
    np.savez(folder / GRAPH_FILE, **arrays)


def load_graph(folder: Path) -> Graph:
    """Read the graph of a graph folder.

    Raises:
        UserError: The file is missing or damaged, lacks an array, or holds no graph.
    """
    path = Path(folder) / GRAPH_FILE
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except FileNotFoundError:
        raise UserError("file is missing", where=str(path), fix="make the graph again") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            f"file is corrupt: {error}", where=str(path), fix="make the graph again"
        ) from None
    missing = [name for name in _REQUIRED if name not in arrays]
    if missing:
        raise UserError(f"array {missing[0]} is missing", where=str(path))
    return Graph(
        edge_index=arrays["edge_index"].astype(np.int64),
        features=arrays["features"],
        labels=arrays["labels"],
        masks={name: arrays[name] for name in SPLITS},
        communities=arrays.get("communities"),
    )


def random_masks(
    nodes: int, train: float, validation: float, rng: np.random.Generator
) -> dict[str, npt.NDArray[np.bool_]]:
    """Draw a split of `nodes` nodes.

    Args:
        nodes: N.
        train: Share of the nodes to train on.
        validation: Share to select weights on; the rest is `test`.
        rng: Source of the draw.

    Returns:
        Masks (N,) by split; each node is in exactly one.
    """
    order = rng.permutation(nodes)
    first = round(train * nodes)
    bounds = (0, first, first + round(validation * nodes), nodes)
    masks = {}
    for name, start, end in zip(SPLITS, bounds, bounds[1:], strict=False):
        masks[name] = np.zeros(nodes, bool)
        masks[name][order[start:end]] = True
    return masks

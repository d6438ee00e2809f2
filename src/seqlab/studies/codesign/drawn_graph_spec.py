"""Graphs that runs draw, as settings."""

from __future__ import annotations

from seqlab.spec import Spec, setting


class GraphSpec(Spec):
    """Graphs drawn for kernel K4, sums over neighbours."""

    nodes: int = setting("Nodes, rows of the operand.", ge=64)
    edges: int = setting("Undirected edges drawn.", ge=64)
    communities: int = setting("Communities.", ge=2)
    mixing: float = setting("Share of edges drawn between any two nodes.", ge=0, le=1)
    width: int = setting("Columns of the operand.", ge=1)
    block: int = setting("Nodes per block, for both measures of modularity.", ge=2)

"""Placeholder until the branch with node orders is merged."""

from seqlab.layout.permutation import Permutation


def node_order(graph, order, seed, *, block=256) -> Permutation:
    raise NotImplementedError

"""Permutations and incomplete sites that several tests of this folder use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from seqlab.layout.permutation import Permutation
from seqlab.models.sites import Site


def moving(size: int, seed: int = 1) -> Permutation:
    """Return a permutation of `size` elements without fixed points."""
    cycle = np.random.default_rng(seed).permutation(size)
    indices = np.empty(size, dtype=np.int64)
    indices[cycle] = np.roll(cycle, 1)
    return Permutation(indices)


def one_missing(site: Site) -> Iterator[tuple[str, Site]]:
    """Yield (what is missing, the site without that one segment of one tensor axis)."""
    for i, axis in enumerate(site.axes):
        for start in axis.segments:
            kept = tuple(s for s in axis.segments if s != start)
            rest = (replace(axis, segments=kept),) if kept else ()
            axes = site.axes[:i] + rest + site.axes[i + 1 :]
            yield f"{axis.tensor}[{axis.axis}]+{start}", replace(site, axes=axes)

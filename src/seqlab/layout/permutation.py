"""Permutations of feature dimensions in the gather convention: `pi[new] = old`.

Applying a permutation to an axis gathers, `y' = y[pi]`, as `index_select` does. The position map
is the inverse, `positions()[old] = new`. A linear layer y = W x + b with permuted outputs has
`W[pi, :], b[pi]`; with permuted inputs, `W[:, pi]`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from seqlab.errors import UserError

_SHOWN = 5


class Permutation:
    """An immutable bijection of 0..n-1, `indices[new] = old`.

    Args:
        indices: One-dimensional integers, each of 0..n-1 exactly once.

    Raises:
        UserError: `indices` is not such a sequence; the message names what is repeated, missing
            or out of range.
    """

    __slots__ = ("_indices",)

    def __init__(self, indices: npt.ArrayLike) -> None:
        self._indices = _validated(np.asarray(indices))
        self._indices.flags.writeable = False

    @classmethod
    def identity(cls, size: int) -> Permutation:
        """Return the permutation of `size` elements that moves none."""
        return cls(np.arange(size))

    @classmethod
    def random(cls, size: int, rng: np.random.Generator) -> Permutation:
        """Draw a permutation of `size` elements uniformly from `rng`."""
        return cls(rng.permutation(size))

    @property
    def indices(self) -> npt.NDArray[np.int64]:
        """Read-only (n,) int64, `indices[new] = old`."""
        return self._indices

    def positions(self) -> npt.NDArray[np.int64]:
        """Return the position map as (n,) int64, `positions[old] = new`."""
        positions = np.empty_like(self._indices)
        positions[self._indices] = np.arange(len(self))
        return positions

    def inverse(self) -> Permutation:
        """Return the permutation that undoes this one."""
        return Permutation(self.positions())

    def then(self, other: Permutation) -> Permutation:
        """Return "gather by self, then by other": indices `self.indices[other.indices]`.

        Raises:
            UserError: The lengths differ.
        """
        if len(other) != len(self):
            raise UserError(f"cannot compose permutations of {len(self)} and {len(other)} elements")
        return Permutation(self._indices[other.indices])

    def apply(self, values: Any, axis: int = 0) -> Any:
        """Gather a NumPy array or a torch tensor along `axis`; the result is a copy.

        Raises:
            UserError: `values` has no such axis, or its length is not that of the permutation.
        """
        if not -values.ndim <= axis < values.ndim:
            raise UserError(f"axis {axis} does not exist in shape {tuple(values.shape)}")
        axis %= values.ndim
        if values.shape[axis] != len(self):
            raise UserError(
                f"a permutation of {len(self)} elements cannot order axis {axis} "
                f"of shape {tuple(values.shape)}"
            )
        # Basic slices plus one index array: NumPy and torch agree on what that means.
        return values[(slice(None),) * axis + (self._indices.copy(),)]

    def __len__(self) -> int:
        return self._indices.size

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Permutation):
            return NotImplemented
        return np.array_equal(self._indices, other._indices)

    def __hash__(self) -> int:
        return hash(self._indices.tobytes())

    def __repr__(self) -> str:
        shown = ", ".join(str(index) for index in self._indices[:_SHOWN])
        return f"Permutation([{shown}{', ...' if len(self) > _SHOWN else ''}], n={len(self)})"

    def __reduce__(self) -> tuple[type[Permutation], tuple[npt.NDArray[np.int64]]]:
        return Permutation, (np.array(self._indices),)


def _validated(indices: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return a private int64 copy of `indices`, or say what keeps it from being a permutation."""
    if indices.ndim != 1:
        raise UserError(f"a permutation has one axis, not shape {indices.shape}")
    if indices.size and not np.issubdtype(indices.dtype, np.integer):
        raise UserError(f"a permutation holds integers, not {indices.dtype}")
    size = indices.size
    outside = np.unique(indices[(indices < 0) | (indices >= size)])
    if outside.size:
        raise UserError(f"permutation of {size}: {_listed(outside)} is outside 0..{size - 1}")
    counts = np.bincount(indices.astype(np.int64), minlength=size)
    if (counts != 1).any():
        repeated, missing = np.flatnonzero(counts > 1), np.flatnonzero(counts == 0)
        raise UserError(
            f"permutation of {size}: {_listed(repeated)} repeated, {_listed(missing)} missing"
        )
    return indices.astype(np.int64)


def _listed(values: npt.NDArray[Any]) -> str:
    shown = ", ".join(str(value) for value in values[:_SHOWN])
    return shown + (f" and {values.size - _SHOWN} more" if values.size > _SHOWN else "")

"""What is done to finished affinities: normalise, prune, average, compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from seqlab.errors import UserError
from seqlab.layout.affinity import StreamingCorrelation, affinity

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Reliability:
    """How well an affinity from half of the samples predicts that from the other half.

    Attributes:
        correlation: Pearson correlation of the off-diagonal entries of the two halves.
        full_length: The same, stepped up to all samples (Spearman, 1910; Brown, 1910).
        relative_change: `relative_change` between the halves.
    """

    correlation: float
    full_length: float
    relative_change: float


def normalised(weights: Matrix, mode: Literal["none", "sym", "row"]) -> Matrix:
    """Scale an affinity by its degrees: D^-1/2 W D^-1/2 ("sym") or rows that sum to one ("row").

    Rows of isolated nodes stay zero. "row" gives up symmetry, so solvers refuse its result.

    Raises:
        UserError: `mode` is unknown.
    """
    if mode == "none":
        return weights.copy()
    degree = weights.sum(axis=1)
    if mode == "row":
        return weights * np.divide(1, degree, out=np.zeros_like(degree), where=degree > 0)[:, None]
    if mode == "sym":
        root = np.divide(1, np.sqrt(degree), out=np.zeros_like(degree), where=degree > 0)
        return weights * np.outer(root, root)
    raise UserError(f'normalisation is {mode!r}, none of "none", "sym", "row"')


def default_nonzero_cap(size: int) -> int:
    """Return min(0.05 D^2, 5e7), the number of weights the original study kept."""
    return int(min(0.05 * size * size, 5e7))


def strongest(weights: Matrix, cap: int) -> sp.csr_array:
    """Keep the largest weights of each row, about `cap` in all, as a symmetric sparse matrix.

    A row with r non-zeros keeps round(r cap / nnz) of them (ties: first index); a weight stays if
    either of its rows keeps it, so between `cap` and twice `cap` remain.

    Args:
        weights: (D, D) symmetric, non-negative.
        cap: Number of weights aimed at, counting both entries of a pair.

    Raises:
        UserError: `cap` is below one.
    """
    if cap < 1:
        raise UserError(f"the cap on weights is {cap}, below one")
    total = int(np.count_nonzero(weights))
    if total <= cap:
        return sp.csr_array(weights)
    quota = np.rint(np.count_nonzero(weights, axis=1) * (cap / total)).astype(np.int64)
    order = np.argsort(-weights, axis=1, kind="stable")
    kept = np.arange(len(weights)) < quota[:, None]
    rows, places = np.nonzero(kept)
    columns = order[rows, places]
    pruned = sp.csr_array((weights[rows, columns], (rows, columns)), shape=weights.shape)
    return pruned.maximum(pruned.T).tocsr()


def mean_affinity(affinities: Sequence[Matrix]) -> Matrix:
    """Average several affinities of the same dimensions, for a layout they share.

    Raises:
        UserError: There are none, or their shapes differ.
    """
    if not affinities:
        raise UserError("the mean of no affinities")
    shapes = {weights.shape for weights in affinities}
    if len(shapes) > 1:
        raise UserError(f"affinities of different shapes {sorted(shapes)} have no mean")
    total = np.zeros(affinities[0].shape)
    for weights in affinities:
        total += weights
    return total / len(affinities)


def relative_change(before: Matrix, after: Matrix) -> float:
    """Return ||A - B||_F / ||A||_F; zero over zero is zero, and infinity over zero change.

    Raises:
        UserError: The shapes differ.
    """
    if before.shape != after.shape:
        raise UserError(f"cannot compare affinities of shapes {before.shape} and {after.shape}")
    change, size = np.linalg.norm(before - after), np.linalg.norm(before)
    if size == 0:
        return 0.0 if change == 0 else float("inf")
    return float(change / size)


def split_half_reliability(
    samples: Any,
    rng: np.random.Generator,
    *,
    mode: Literal["abs", "relu"] = "abs",
    groups: npt.ArrayLike | None = None,
) -> Reliability:
    """Compare correlation affinities of two random halves of the samples.

    Args:
        samples: (n, D) NumPy array or torch tensor.
        rng: Draws the halves.
        mode: As in `affinity`.
        groups: (n,) sequence of each sample; sequences are kept whole, because neighbouring
            positions resemble each other and would tie the halves together.

    Raises:
        UserError: There are fewer than four samples or two groups, or fewer than three channels.
    """
    count, dim = samples.shape
    if dim < 3:
        raise UserError(f"reliability needs at least 3 channels, not {dim}")
    labels = np.arange(count) if groups is None else np.unique(groups, return_inverse=True)[1]
    kinds = int(labels.max(initial=-1)) + 1
    if count < 4 or kinds < 2:
        raise UserError(f"{count} samples in {kinds} groups cannot be split into halves")
    first = np.isin(labels, rng.permutation(kinds)[: kinds // 2])
    halves = []
    for chosen in (first, ~first):
        stream = StreamingCorrelation(dim)
        stream.update(samples[np.flatnonzero(chosen)])
        halves.append(affinity(stream.correlation(), mode))
    pairs = np.triu_indices(dim, 1)
    between = _pearson(halves[0][pairs], halves[1][pairs])
    return Reliability(
        correlation=between,
        full_length=2 * between / (1 + between) if between > -1 else float("-inf"),
        relative_change=relative_change(*halves),
    )


def _pearson(first: Matrix, second: Matrix) -> float:
    """Return the correlation of two vectors, NaN where one of them is constant."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])

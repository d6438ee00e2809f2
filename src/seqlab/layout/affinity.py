"""Affinities of feature dimensions: which ones vary, fire or are read together.

An affinity is a (D, D) float64 matrix, symmetric, non-negative, with a zero diagonal, always in the
original labels of the dimensions. Collectors stream: they hold O(D^2) numbers however many samples
pass. Constructions (ids of the co-design specification):

- G1, `StreamingCorrelation` and `affinity`: Pearson correlation of activations over samples and
  positions alike.
- G7, `StreamingCoactivation`: how often two dimensions are active in the same token.
- G8, `structural_coaccess`: how often two columns (rows) of a sparse weight are read in the same
  row (column).
- G9, `sensitivity` into a `StreamingCorrelation`: correlation of |gradient x activation|.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import scipy.linalg.blas as blas
import scipy.sparse as sp

from seqlab.errors import UserError

Matrix = npt.NDArray[np.float64]

# A channel whose spread is within rounding of its mean is constant.
_ROUNDING = 32 * np.finfo(np.float64).eps
# A sparse matrix with a larger share of non-zeros is multiplied faster as a dense one.
_DENSE_FROM = 0.05


class StreamingCorrelation:
    """Pearson correlation of D channels over a stream of samples (G1), in float64.

    Blocks are merged by their means and centred cross products (Chan, Golub and LeVeque, 1979), so
    a large common offset costs no precision.

    Args:
        dim: Number of channels D.
    """

    def __init__(self, dim: int) -> None:
        if dim < 1:
            raise UserError(f"a correlation needs at least one channel, not {dim}")
        self.dim = dim
        self.count = 0
        self._mean = np.zeros(dim)
        # Only the upper triangle is kept up to date; Fortran order suits the BLAS updates.
        self._scatter = np.zeros((dim, dim), order="F")

    def update(self, samples: Any) -> None:
        """Add samples: (n, D) or any shape that ends in D; NumPy array or torch tensor.

        Raises:
            UserError: The last axis is not D, or a value is NaN or infinite.
        """
        values = _sample_matrix(samples, self.dim)
        if not len(values):
            return
        mean = values.mean(axis=0)
        centred = values - mean
        self._scatter = blas.dsyrk(
            1.0, centred.T, beta=1.0, c=self._scatter, overwrite_c=True, lower=False
        )
        self._combine_means(len(values), mean)

    def merge(self, other: StreamingCorrelation) -> None:
        """Add everything another accumulator has seen; `other` is left as it is.

        Raises:
            UserError: The numbers of channels differ.
        """
        if other.dim != self.dim:
            raise UserError(f"cannot merge correlations of {self.dim} and {other.dim} channels")
        if other.count:
            self._scatter += other._scatter
            self._combine_means(other.count, other._mean)

    def correlation(self) -> Matrix:
        """Return the (D, D) Pearson correlation; the n - 1 of the covariances cancels.

        Rows and columns of channels without variance are zero, their diagonal included; the
        diagonal of the others is one.

        Raises:
            UserError: Fewer than two samples have been seen.
        """
        if self.count < 2:
            raise UserError(f"a correlation needs at least 2 samples, not {self.count}")
        spread = np.diag(self._scatter).copy()
        spread[spread <= self.count * (_ROUNDING * np.abs(self._mean)) ** 2] = 0
        scale = np.divide(1, np.sqrt(spread), out=np.zeros(self.dim), where=spread > 0)
        upper = np.triu(self._scatter, 1)
        upper *= scale[:, None]
        upper *= scale
        np.clip(upper, -1, 1, out=upper)
        correlation = upper + upper.T
        np.fill_diagonal(correlation, spread > 0)
        return correlation

    def _combine_means(self, count: int, mean: Matrix) -> None:
        total = self.count + count
        gap = mean - self._mean
        if self.count:
            weight = self.count * count / total
            self._scatter = blas.dsyr(weight, gap, a=self._scatter, overwrite_a=True, lower=False)
        self._mean = self._mean + gap * (count / total)
        self.count = total


def sensitivity(activations: Any, gradients: Any) -> Matrix:
    """Return |gradient x activation|, the samples whose correlation is the gradient affinity (G9).

    To first order it is how much the loss would change if an activation were zero (Molchanov and
    others, 2017). In a hook: `stream.update(sensitivity(activation, activation.grad))`.

    Args:
        activations: Any shape, NumPy array or torch tensor.
        gradients: Same shape, gradient of the loss with respect to `activations`.

    Returns:
        Float64 of the same shape; products of half-precision values do not underflow.

    Raises:
        UserError: The shapes differ.
    """
    values, slopes = _as_array(activations), _as_array(gradients)
    if values.shape != slopes.shape:
        raise UserError(
            f"gradients of shape {slopes.shape} do not fit activations of shape {values.shape}"
        )
    return np.abs(values.astype(np.float64) * slopes.astype(np.float64))


class StreamingCoactivation:
    """How often two channels are active in the same sample (G7).

    Exactly one rule of activity is given.

    Args:
        dim: Number of channels D.
        top_fraction: The ceil(fraction * D) largest magnitudes of a sample are active (ties at the
            boundary all are), zeros never.
        threshold: Magnitudes above it are active.
    """

    def __init__(
        self, dim: int, *, top_fraction: float | None = None, threshold: float | None = None
    ) -> None:
        if (top_fraction is None) == (threshold is None):
            raise UserError("co-activation needs either top_fraction or threshold")
        if top_fraction is not None and not 0 < top_fraction <= 1:
            raise UserError(f"top_fraction is {top_fraction}, outside (0, 1]")
        if threshold is not None and threshold < 0:
            raise UserError(f"threshold is {threshold}, below zero")
        self.dim = dim
        self.count = 0
        self._top_fraction = top_fraction
        self._threshold = threshold
        self._together = np.zeros((dim, dim))

    def update(self, samples: Any) -> None:
        """Add samples: (n, D) or any shape that ends in D; NumPy array or torch tensor.

        Raises:
            UserError: The last axis is not D, or a value is NaN or infinite.
        """
        magnitude = np.abs(_sample_matrix(samples, self.dim))
        if self._threshold is not None:
            active = magnitude > self._threshold
        else:
            assert self._top_fraction is not None
            kept = int(np.ceil(self._top_fraction * self.dim))
            bound = np.partition(magnitude, self.dim - kept, axis=1)[:, self.dim - kept, None]
            active = (magnitude >= bound) & (magnitude > 0)
        # Float32 counts are exact up to 2^24 samples of one call.
        flags = active.astype(np.float32)
        self._together += flags.T @ flags
        self.count += len(magnitude)

    def affinity(self, *, normalised: bool = False) -> Matrix:
        """Return the (D, D) probability that both are active, diagonal zero.

        Args:
            normalised: Divide by sqrt(p_i p_j), the probabilities that each is active.

        Raises:
            UserError: No sample has been seen.
        """
        if not self.count:
            raise UserError("co-activation has seen no samples")
        together = self._together / self.count
        return _cosine(together) if normalised else _hollow(together)


def structural_coaccess(
    weight: Any, axis: Literal["columns", "rows"], *, cosine: bool = True
) -> Matrix:
    """Return how often two columns (rows) of a sparse weight share a row (column) (G8).

    With the mask M of non-zeros of an (out, in) weight this is M^T M for columns and M M^T for
    rows, diagonal zero.

    Args:
        weight: (out, in) NumPy array, torch tensor or SciPy sparse matrix; zeros are pruned.
        axis: Which dimension is laid out: inputs ("columns") or outputs ("rows").
        cosine: Divide by the square root of both numbers of non-zeros.

    Raises:
        UserError: `axis` or the shape of `weight` is unknown.
    """
    if axis not in ("columns", "rows"):
        raise UserError(f'axis is {axis!r}, neither "columns" nor "rows"')
    if sp.issparse(weight) and weight.nnz > _DENSE_FROM * np.prod(weight.shape):
        weight = weight.toarray()
    if sp.issparse(weight):
        mask = (weight != 0).astype(np.float64)
        shared = (mask.T @ mask if axis == "columns" else mask @ mask.T).toarray()
    else:
        values = _as_array(weight)
        if values.ndim != 2:
            raise UserError(f"a weight has two axes, not shape {values.shape}")
        mask = (values != 0).astype(np.float32)
        shared = (mask.T @ mask if axis == "columns" else mask @ mask.T).astype(np.float64)
    return _cosine(shared) if cosine else _hollow(shared)


def affinity(correlation: Matrix, mode: Literal["abs", "relu"] = "abs") -> Matrix:
    """Return |R| ("abs") or max(R, 0) ("relu") with a zero diagonal.

    Args:
        correlation: (D, D) Pearson correlation.
        mode: Whether dimensions that vary against each other belong together.

    Raises:
        UserError: `mode` is neither.
    """
    if mode not in ("abs", "relu"):
        raise UserError(f'affinity mode is {mode!r}, neither "abs" nor "relu"')
    return _hollow(np.abs(correlation) if mode == "abs" else np.maximum(correlation, 0.0))


def _hollow(values: Matrix) -> Matrix:
    """Set the diagonal of a matrix that belongs to this module to zero."""
    np.fill_diagonal(values, 0.0)
    return values


def _cosine(shared: Matrix) -> Matrix:
    """Divide counts of coincidences by the root of both counts of occurrences (the diagonal)."""
    own = np.diag(shared).copy()
    scale = np.divide(1, np.sqrt(own), out=np.zeros_like(own), where=own > 0)
    # One factor for both orders of a pair keeps the result exactly symmetric.
    return _hollow(shared * np.outer(scale, scale))


def _sample_matrix(samples: Any, dim: int) -> Matrix:
    """Return samples as (n, D) float64, checked."""
    values = _as_array(samples)
    if values.ndim < 1 or values.shape[-1] != dim:
        raise UserError(f"samples of shape {values.shape} do not end in {dim} channels")
    values = values.reshape(-1, dim).astype(np.float64, copy=False)
    if not np.isfinite(values).all():
        channel = int(np.flatnonzero(~np.isfinite(values).all(axis=0))[0])
        raise UserError(f"activations of channel {channel} hold NaN or infinite values")
    return values


def _as_array(values: Any) -> npt.NDArray[Any]:
    """Return a NumPy view of an array or a torch tensor (any device, any float type)."""
    if hasattr(values, "detach"):
        return values.detach().cpu().double().numpy()
    return np.asarray(values)

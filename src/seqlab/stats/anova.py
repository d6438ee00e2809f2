"""Two-way analysis of variance with type II sums of squares, by least squares on dummy columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import fdtrc

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Effect:
    """One line of the table: a factor or the interaction.

    Attributes:
        name: Factor name, or "a x b".
        sum_sq: Type II sum of squares.
        df: Degrees of freedom.
        f: F statistic against the residual of the full model.
        p: Upper-tail p value.
        eta_sq_partial: sum_sq / (sum_sq + residual sum of squares).
    """

    name: str
    sum_sq: float
    df: int
    f: float
    p: float
    eta_sq_partial: float


@dataclass(frozen=True, slots=True)
class Anova:
    """Effects in the order first factor, second factor, interaction, and the residual."""

    effects: tuple[Effect, Effect, Effect]
    residual_sum_sq: float
    residual_df: int
    n: int
    log: bool


def two_way(
    values: ArrayLike,
    first: Sequence[object],
    second: Sequence[object],
    *,
    names: tuple[str, str],
    log: bool = True,
) -> Anova:
    """Analyse values by two crossed factors; unbalanced designs are allowed.

    Each factor is tested given the other but not the interaction (type II), the interaction given
    both; all against the residual of the full model.

    Args:
        values: Shape (n,), one value per run.
        first: Level of the first factor for each value.
        second: Level of the second factor for each value.
        names: Names of the factors.
        log: Analyse logarithms (latencies scale).

    Raises:
        ValueError: A factor with one level, an empty cell, no residual degree of freedom, or values
            without a finite logarithm.
    """
    y = np.asarray(values, dtype=np.float64)
    if log and not (y > 0).all():
        raise ValueError("two-way analysis on logs needs positive values")
    y = np.log(y) if log else y
    if not np.isfinite(y).all():
        raise ValueError("two-way analysis needs finite values")
    one, a, b, cross = _columns(first, second, y.size)
    full = np.hstack([one, a, b, cross])
    residual_df = y.size - full.shape[1]
    if np.linalg.matrix_rank(full) < full.shape[1] or residual_df < 1:
        raise ValueError("every combination of levels needs values, and one of them more than one")
    both, residual = _residual(np.hstack([one, a, b]), y), _residual(full, y)
    sums = (
        (names[0], _residual(np.hstack([one, b]), y) - both, a.shape[1]),
        (names[1], _residual(np.hstack([one, a]), y) - both, b.shape[1]),
        (f"{names[0]} x {names[1]}", both - residual, cross.shape[1]),
    )
    effects = [_effect(name, max(ss, 0.0), df, residual, residual_df) for name, ss, df in sums]
    return Anova((effects[0], effects[1], effects[2]), residual, residual_df, int(y.size), log)


def permutation_p(
    values: ArrayLike,
    first: Sequence[object],
    second: Sequence[object],
    *,
    rng: np.random.Generator,
    permutations: int,
    blocks: Sequence[object] | None = None,
) -> FloatArray:
    """Return p of both factors and their interaction when values are exchanged within `second`.

    Under "the first factor changes nothing, at any level of the second" values of one level of the
    second are exchangeable. Exchanges leave the sums of the second factor as they are: its p says
    nothing, and is NaN. Under "there is no interaction" what the additive model leaves is
    exchangeable (Freedman and Lane 1983), and that is what is exchanged for the third one.

    Args:
        values: Shape (n,), one value per run, analysed as they are.
        first: Level of the first factor for each value.
        second: Level of the second factor for each value.
        rng: Source of the permutations.
        permutations: How many; p is at least 1 / (permutations + 1).
        blocks: Block of each value, such as the seed of its data; values are exchanged within
            blocks alone, so that what blocks share is no difference.

    Raises:
        ValueError: As `two_way`.
    """
    y = np.asarray(values, dtype=np.float64)
    wanted = [e.f for e in two_way(y, first, second, names=("a", "b"), log=False).effects]
    one, a, b, cross = _columns(first, second, y.size)
    designs = ([one, b], [one, a, b], [one, a, b, cross])
    bases = [np.linalg.qr(np.hstack(design))[0] for design in designs]
    degrees = (a.shape[1], b.shape[1], cross.shape[1])
    residual_df = y.size - bases[2].shape[1]
    own_blocks = [""] * y.size if blocks is None else blocks
    within = [*zip(map(str, second), map(str, own_blocks), strict=True)]
    order = np.empty((y.size, permutations), dtype=np.int64)
    for level in dict.fromkeys(within):
        own = np.array([i for i, other in enumerate(within) if other == level])
        order[own] = own[np.argsort(rng.random((own.size, permutations)), axis=0)]
    left = y - bases[1] @ (bases[1].T @ y)
    found = np.full(3, np.nan)
    for place, exchanged, (smaller, larger) in ((0, y, (0, 1)), (2, left, (1, 2))):
        shuffled = exchanged[order]
        without, with_it, full = (
            (shuffled**2).sum(0) - ((bases[k].T @ shuffled) ** 2).sum(0)
            for k in (smaller, larger, 2)
        )
        f = ((without - with_it) / degrees[place]) / (full / residual_df)
        # Equal arrangements differ by rounding alone.
        found[place] = (1 + (f >= wanted[place] * (1 - 1e-9)).sum()) / (1 + permutations)
    return found


def _effect(name: str, sum_sq: float, df: int, residual: float, residual_df: int) -> Effect:
    if residual <= 0:
        raise ValueError("two-way analysis has no residual variance to test against")
    f = (sum_sq / df) / (residual / residual_df)
    p = float(fdtrc(df, residual_df, f))
    return Effect(name, sum_sq, df, f, p, sum_sq / (sum_sq + residual))


def _columns(
    first: Sequence[object], second: Sequence[object], n: int
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return the columns (n, ...) of the mean, of both factors and of their interaction."""
    a, b = _dummies(first), _dummies(second)
    if min(a.shape[1], b.shape[1]) < 1 or not n == a.shape[0] == b.shape[0]:
        raise ValueError("each factor needs at least two levels and one level per value")
    return np.ones((n, 1)), a, b, (a[:, :, None] * b[:, None, :]).reshape(n, -1)


def _dummies(levels: Sequence[object]) -> FloatArray:
    """Treatment coding without the first level, shape (n, levels - 1)."""
    text = np.array([str(level) for level in levels])
    return (text[:, None] == np.unique(text)[None, 1:]).astype(np.float64)


def _residual(design: FloatArray, y: FloatArray) -> float:
    coefficients, *_ = np.linalg.lstsq(design, y, rcond=None)
    return float(((y - design @ coefficients) ** 2).sum())

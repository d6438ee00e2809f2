"""Interpolated modified Kneser-Ney n-gram models, scored on a held-out stream in one pass.

Chen and Goodman, "An empirical study of smoothing techniques for language modeling" (1999),
section 3: p(w | h) = (c(h w) - D(c)) / c(h .) + gamma(h) p(w | h'), with raw counts at the highest
order, numbers of different left neighbours below it, and a uniform distribution under the unigrams.

Training and held-out stream are numbered together: the k-gram that ends at a position is the pair
of the (k-1)-gram that ends one before it and the symbol there, so one pass per order numbers all of
them, counts are `bincount`s, and nothing has to be looked up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

# Discounts of counts 1, 2 and 3 or more where the counts of counts do not determine them: the
# single discount that Kneser and Ney's own experiments centre on.
_FALLBACK = (0.75, 0.75, 0.75)
# 2^64 over the golden ratio: Knuth's multiplicative hash (vol. 3, section 6.4).
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class _Order:
    """The k-grams of one order over both streams.

    Attributes:
        at: (N,) int32, number of the k-gram that ends at each position; positions before k - 1
            hold the shorter gram there is.
        first: (G,) int64, one position at which each k-gram ends.
    """

    at: np.ndarray
    first: np.ndarray


def kneser_ney_bits(
    train: np.ndarray, held_out: np.ndarray, symbols: int, orders: tuple[int, ...]
) -> dict[int, float]:
    """Return the bits that n-gram models trained on `train` need for `held_out`.

    The held-out stream is predicted as if it followed the training stream, so its first symbols
    have a full context. Its own counts are never used.

    Args:
        train: (N,) integer symbols.
        held_out: (M,) integer symbols.
        symbols: Size of the alphabet; every symbol is below it.
        orders: Orders n wanted, each at least 1.

    Returns:
        Total bits of `held_out`, by order.

    Raises:
        ValueError: A stream is empty, a symbol is outside the alphabet or an order is below 1.
    """
    if not len(train) or not len(held_out) or min(orders) < 1:
        raise ValueError("streams must not be empty and orders must be at least 1")
    stream = np.concatenate((train, held_out)).astype(np.int64)
    if stream.min() < 0 or stream.max() >= symbols:
        raise ValueError(f"a symbol is outside 0..{symbols - 1}")
    count = len(train)
    # below[k - 1]: p_k(w | last k - 1 symbols) of each held-out position from continuation counts.
    below = np.full(len(held_out), 1.0 / symbols)
    bits: dict[int, float] = {}
    grams = _extend(None, stream, symbols)
    context = _Order(np.zeros(len(stream), np.int32), np.zeros(1, np.int64))
    for order in range(1, max(orders) + 1):
        raw = np.bincount(grams.at[order - 1 : count], minlength=len(grams.first))
        if order in orders:
            exact = _interpolate(raw, grams, context, below, count)
            bits[order] = float(-np.log2(exact).sum())
        if order < max(orders):
            longer = _extend(grams, stream, symbols)
            spread = _left_neighbours(longer, grams, count, order)
            below = _interpolate(spread, grams, context, below, count)
            context, grams = grams, longer
    return bits


def _extend(shorter: _Order | None, stream: np.ndarray, symbols: int) -> _Order:
    """Return the grams that are one symbol longer."""
    keys = stream.copy()
    if shorter is not None:
        keys[1:] += (shorter.at[:-1].astype(np.int64) + 1) * symbols
    at = np.empty(len(keys), np.int32)
    first = np.empty(len(keys), np.int64)
    # A power of two, and never more than two thirds full.
    bits = max(4, int(1.5 * len(keys)).bit_length())
    slots = (keys.astype(np.uint64) * _GOLDEN) >> np.uint64(64 - bits)
    held = np.full(1 << bits, -1, np.int64)
    count = _number(keys, slots.astype(np.int64), held, np.empty(1 << bits, np.int32), at, first)
    return _Order(at, first[:count].copy())


@njit(cache=True)
def _number(
    keys: np.ndarray,
    slots: np.ndarray,
    held: np.ndarray,
    names: np.ndarray,
    at: np.ndarray,
    first: np.ndarray,
) -> int:
    """Give equal keys one number, by first occurrence; return how many numbers there are.

    A hash table with linear probing: one pass, where sorting 10 million keys takes twice as long.

    Args:
        keys: (N,) int64, none negative.
        slots: (N,) int64, where to look for each key first.
        held: (S,) int64 of -1, S a power of two above N: the key in each slot.
        names: (S,) int32: the number of the key in each slot.
        at: (N,) int32, filled with the number of each key.
        first: (N,) int64, filled with the first position of each number.
    """
    mask = len(held) - 1
    count = 0
    for position in range(len(keys)):
        key = keys[position]
        slot = slots[position]
        while held[slot] != key and held[slot] != -1:
            slot = (slot + 1) & mask
        if held[slot] == -1:
            held[slot] = key
            names[slot] = count
            first[count] = position
            count += 1
        at[position] = names[slot]
    return count


def _left_neighbours(longer: _Order, grams: _Order, count: int, order: int) -> np.ndarray:
    """Return in how many different left contexts each gram occurs in the training stream."""
    # `first` is the earliest position, so a longer gram is a training one if that lies in `train`.
    seen = longer.first[(longer.first < count) & (longer.first >= order)]
    return np.bincount(grams.at[seen], minlength=len(grams.first))


def _interpolate(
    counts: np.ndarray, grams: _Order, context: _Order, below: np.ndarray, count: int
) -> np.ndarray:
    """Return p(w | h) at every held-out position, (M,).

    Args:
        counts: (G,) count of each gram, raw or of left neighbours.
        grams: Grams h w.
        context: Grams h, one symbol shorter; a single one for unigrams.
        below: (M,) probability from the next lower order.
        count: Length of the training stream.
    """
    prefix = context.at[np.maximum(grams.first - 1, 0)]
    size = len(context.first)
    discount = np.concatenate(([0.0], _discounts(counts)))[np.minimum(counts, 3)]
    total = np.bincount(prefix, weights=counts, minlength=size)
    freed = np.bincount(prefix, weights=discount, minlength=size)
    gram = grams.at[count:]
    before = context.at[count - 1 : -1]
    with np.errstate(divide="ignore", invalid="ignore"):
        here = (counts[gram] - discount[gram] + freed[before] * below) / total[before]
    # A context that training never showed says nothing.
    return np.where(total[before] > 0, here, below)


def _discounts(counts: np.ndarray) -> tuple[float, float, float]:
    """Return the discounts of counts 1, 2 and 3 or more (Chen and Goodman, equation 26)."""
    n1, n2, n3, n4 = (int(np.count_nonzero(counts == value)) for value in (1, 2, 3, 4))
    if not (n1 and n2 and n3 and n4):
        return _FALLBACK
    y = n1 / (n1 + 2 * n2)
    found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    return found if all(0 < d < i for i, d in enumerate(found, start=1)) else _FALLBACK

from __future__ import annotations

from collections import Counter, defaultdict
from math import log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqlab.data.ngram import kneser_ney_bits


def _oracle(train: list[int], held_out: list[int], symbols: int, order: int) -> float:
    """Interpolated modified Kneser-Ney from dictionaries, straight from the definition."""
    grams = [
        Counter(tuple(train[i : i + n]) for i in range(len(train) - n + 1))
        for n in range(1, order + 1)
    ]
    levels = [
        grams[n - 1] if n == order else Counter(longer[1:] for longer in grams[n])
        for n in range(1, order + 1)
    ]

    def discounts(counts: Counter[tuple[int, ...]]) -> list[float]:
        n = [sum(1 for c in counts.values() if c == k) for k in range(5)]
        if not all(n[1:]):
            return [0.0, 0.75, 0.75, 0.75]
        y = n[1] / (n[1] + 2 * n[2])
        found = [0.0] + [k - (k + 1) * y * n[k + 1] / n[k] for k in (1, 2, 3)]
        good = all(0 < found[k] < k for k in (1, 2, 3))
        return found if good else [0.0, 0.75, 0.75, 0.75]

    tables = []
    for counts in levels:
        d = discounts(counts)
        total: dict[tuple[int, ...], int] = defaultdict(int)
        freed: dict[tuple[int, ...], float] = defaultdict(float)
        for gram, c in counts.items():
            total[gram[:-1]] += c
            freed[gram[:-1]] += d[min(c, 3)]
        tables.append((counts, d, total, freed))

    def probability(history: tuple[int, ...], word: int) -> float:
        p = 1 / symbols
        for n, (counts, d, total, freed) in enumerate(tables, start=1):
            h = history[len(history) - n + 1 :] if n > 1 else ()
            if len(h) == n - 1 and total[h]:
                c = counts[(*h, word)]
                p = (c - d[min(c, 3)] + freed[h] * p) / total[h]
        return p

    stream = train + held_out
    bits = 0.0
    for i in range(len(train), len(stream)):
        history = tuple(stream[max(0, i - order + 1) : i])
        bits -= log2(probability(history, stream[i]))
        if i == len(train):
            assert sum(probability(history, w) for w in range(symbols)) == pytest.approx(1)
    return bits


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(5, 120), st.integers(2, 6))
def test_agrees_with_the_definition(seed: int, order: int, size: int, symbols: int) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.full(symbols, 0.5))
    train = rng.choice(symbols, size, p=weights)
    held_out = rng.choice(symbols, 20)
    found = kneser_ney_bits(train, held_out, symbols, (order,))[order]
    assert found == pytest.approx(_oracle(train.tolist(), held_out.tolist(), symbols, order))


def test_agrees_where_the_discounts_are_estimated() -> None:
    rng = np.random.default_rng(5)
    train = np.minimum(rng.zipf(1.6, 600) - 1, 39)
    held_out = np.minimum(rng.zipf(1.6, 60) - 1, 39)
    found = kneser_ney_bits(train, held_out, 40, (1, 2, 3))
    for order, bits in found.items():
        assert bits == pytest.approx(_oracle(train.tolist(), held_out.tolist(), 40, order))


def test_what_training_never_showed_is_not_learnt_from_the_held_out_text() -> None:
    # An unseen symbol that repeats must cost the same each time.
    train = np.array([0, 1] * 50)
    once = kneser_ney_bits(train, np.array([2]), 4, (1,))[1]
    thrice = kneser_ney_bits(train, np.array([2, 2, 2]), 4, (1,))[1]
    assert thrice == pytest.approx(3 * once) and once > log2(4)


def test_a_longer_context_pays_off_on_a_text_that_has_one() -> None:
    text = np.array([0, 1, 2, 0, 2, 1] * 60)
    bits = kneser_ney_bits(text[:300], text[300:], 3, (1, 2, 3))
    assert bits[3] < bits[2] < bits[1]


def test_wrong_streams_are_refused() -> None:
    ones = np.array([1, 1])
    with pytest.raises(ValueError, match=r"outside 0\.\.0"):
        kneser_ney_bits(ones, ones, 1, (1,))
    with pytest.raises(ValueError, match="must not be empty"):
        kneser_ney_bits(ones[:0], ones, 2, (1,))
    with pytest.raises(ValueError, match="at least 1"):
        kneser_ney_bits(ones, ones, 2, (0, 1))

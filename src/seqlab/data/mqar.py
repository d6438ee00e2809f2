"""Multi-query associative recall: after pairs of key and value, keys are asked for their values.

The law is that of Zoology (Arora et al. 2023): keys and values come from disjoint halves of the
vocabulary and are distinct within a sequence; every key is asked once, in a slot of two tokens
behind the pairs, early slots more often than late ones. The answer is due at the key itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from seqlab.data.diagnostic import IGNORE, Batch, Ids
from seqlab.errors import UserError

# Numbers drawn at once.
_NOISE = 1 << 22

Filler = Literal["nonkey", "uniform", "zero"]


@dataclass(frozen=True)
class MqarLaw:
    """What sequences are drawn from.

    Attributes:
        vocab_size: Ids; 0 is neither key nor value.
        length: Tokens of a sequence, even.
        pairs: Pairs of key and value.
        filler: What stands where nothing is asked: any id but the keys of the sequence, any id, or
            0. A filler that equals a key makes a newer, false pair with its successor.
        power: Exponent a of the law a (s + 1)^(a - 1) of slots; 1 spreads queries evenly.
    """

    vocab_size: int
    length: int
    pairs: int
    filler: Filler = "nonkey"
    power: float = 0.01

    def __post_init__(self) -> None:
        if self.filler not in ("nonkey", "uniform", "zero"):
            raise UserError(f"unknown filler {self.filler!r}", fix="nonkey, uniform or zero")
        if self.pairs < 1 or self.power <= 0:
            raise UserError("pairs must be at least 1 and the power above 0")
        if self.length % 2 or 4 * self.pairs > self.length:
            raise UserError(
                f"length {self.length} does not hold {self.pairs} pairs and as many queries",
                fix="use an even length of at least 4 tokens per pair",
            )
        if self.pairs >= self.vocab_size // 2:
            raise UserError(
                f"{self.vocab_size} ids do not hold {self.pairs} distinct keys",
                fix="use a vocabulary of more than twice the pairs",
            )

    @property
    def floor(self) -> float:
        """Accuracy of one who knows the values of the sequence, and not whose they are."""
        return 1 / self.pairs

    @property
    def first_value(self) -> int:
        """The least id that is a value."""
        return self.vocab_size // 2


def draw_mqar(law: MqarLaw, count: int, rng: np.random.Generator) -> Batch:
    """Draw sequences; `facts["gap"]` is the distance from a query back to its value."""
    rows = np.arange(count)[:, None]
    keys = 1 + _distinct(law.first_value - 1, count, law.pairs, rng)
    values = law.first_value + _distinct(law.vocab_size - law.first_value, count, law.pairs, rng)
    slots = _weighted_slots(law, count, rng)
    queries = 2 * law.pairs + 2 * slots
    ids = _filler(law, keys, rng)
    ids[:, 0 : 2 * law.pairs : 2] = keys
    ids[:, 1 : 2 * law.pairs : 2] = values
    ids[rows, queries] = keys
    labels = np.full_like(ids, IGNORE)
    labels[rows, queries] = values
    gap = np.full_like(ids, -1)
    gap[rows, queries] = queries - (1 + 2 * np.arange(law.pairs))
    return Batch(ids, labels, {"gap": gap})


def _distinct(size: int, count: int, wanted: int, rng: np.random.Generator) -> Ids:
    """Return (count, wanted) numbers below `size`, distinct in each row, in random order."""
    # In blocks: the noise of 100,000 rows of a large vocabulary would take gigabytes.
    rows = max(1, _NOISE // size)
    blocks = [
        np.argsort(rng.random((min(rows, count - first), size)), axis=1)[:, :wanted]
        for first in range(0, count, rows)
    ]
    return np.concatenate(blocks)


def _weighted_slots(law: MqarLaw, count: int, rng: np.random.Generator) -> Ids:
    """Return (count, pairs) slots, drawn one after the other without replacement.

    Exponential times of rate p, sorted, are such draws (Efraimidis and Spirakis 2006).
    """
    slots = (law.length - 2 * law.pairs) // 2
    rates = law.power * np.arange(1, slots + 1, dtype=float) ** (law.power - 1)
    times = rng.exponential(size=(count, slots)) / rates
    return np.argsort(times, axis=1)[:, : law.pairs]


def _filler(law: MqarLaw, keys: Ids, rng: np.random.Generator) -> Ids:
    shape = (len(keys), law.length)
    if law.filler == "zero":
        return np.zeros(shape, np.int64)
    if law.filler == "uniform":
        return rng.integers(law.vocab_size, size=shape)
    ids = rng.integers(law.vocab_size - law.pairs, size=shape)
    # The r-th id that is no key: every key up to it moves it on by one.
    for key in np.sort(keys, axis=1).T:
        ids += ids >= key[:, None]
    return ids


def dictionary_answers(law: MqarLaw, input_ids: Ids) -> Ids:
    """Return (B, T) the value first seen behind each token: right for every query."""
    return _successors(law, input_ids, newest=False)


def recency_answers(law: MqarLaw, input_ids: Ids) -> Ids:
    """Return (B, T) the latest successor of each token: what plain induction would say."""
    return _successors(law, input_ids, newest=True)


def context_answers(law: MqarLaw, input_ids: Ids, rng: np.random.Generator) -> Ids:
    """Return (B, T) any value of the sequence: the floor `1 / pairs`."""
    values = input_ids[:, 1 : 2 * law.pairs : 2]
    chosen = rng.integers(law.pairs, size=input_ids.shape)
    return np.take_along_axis(values, chosen, 1)


def _successors(law: MqarLaw, input_ids: Ids, newest: bool) -> Ids:
    count, length = input_ids.shape
    rows = np.arange(count)
    known: npt.NDArray[np.int64] = np.full((count, law.vocab_size), -1, np.int64)
    answers = np.empty_like(input_ids)
    for t in range(length):
        token = input_ids[:, t]
        answers[:, t] = known[rows, token]
        if t + 1 < length:
            old = answers[:, t]
            after = input_ids[:, t + 1]
            known[rows, token] = after if newest else np.where(old < 0, after, old)
    return answers

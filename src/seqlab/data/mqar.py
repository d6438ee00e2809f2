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
        keys: First id and one past the last id that keys come from; all of their half unless told.
        values: The same of values.
        subset: Ids that a single sequence draws from, half of them keys; all unless told.
    """

    vocab_size: int
    length: int
    pairs: int
    filler: Filler = "nonkey"
    power: float = 0.01
    keys: tuple[int, int] | None = None
    values: tuple[int, int] | None = None
    subset: int | None = None

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
        half = self.vocab_size // 2
        for name, (first, end), (least, most) in (
            ("keys", self.key_ids, (1, half)),
            ("values", self.value_ids, (half, self.vocab_size)),
        ):
            if not least <= first <= end <= most:
                raise UserError(f"{name} {first} to {end} are not within ids {least} to {most}")
            drawn = end - first if self.subset is None else min(end - first, self.subset // 2)
            if self.pairs > drawn:
                raise UserError(
                    f"{drawn} ids are too few for {self.pairs} distinct {name}",
                    fix="use a vocabulary of more than twice the pairs",
                )

    @property
    def floor(self) -> float:
        """Accuracy of one who knows the values of the sequence, and not whose they are."""
        return 1 / self.pairs

    @property
    def pool(self) -> int:
        """Ids of each role that are drawn for a sequence: its subset, or what it needs."""
        return self.pairs if self.subset is None else self.subset // 2

    @property
    def key_ids(self) -> tuple[int, int]:
        """First id of a key, and one past the last."""
        return self.keys or (1, self.vocab_size // 2)

    @property
    def value_ids(self) -> tuple[int, int]:
        """First id of a value, and one past the last."""
        return self.values or (self.vocab_size // 2, self.vocab_size)


@dataclass(frozen=True)
class MarkedMqarLaw:
    """The layout of the "architecture pentathlon", kept to show what its defects do.

    Keys and values come from the same ids, and a query is a key followed by a marker, at which the
    value is due: the answer needs what stood one token before, on both sides.

    Attributes:
        pairs: Pairs of key and value.
        queries: Queries, keys drawn with replacement, almost uniformly.
    """

    pairs: int
    queries: int = 16

    def __post_init__(self) -> None:
        if min(self.pairs, self.queries) < 1:
            raise UserError("pairs and queries must be at least 1")

    @property
    def vocab_size(self) -> int:
        """Four ids per pair, and the marker, the last one."""
        return 4 * self.pairs + 1

    @property
    def length(self) -> int:
        """Tokens of a sequence."""
        return 2 * (self.pairs + self.queries)

    @property
    def floor(self) -> float:
        """Accuracy of one who knows the values of the sequence, and not whose they are."""
        return 1 / self.pairs


def draw_mqar(law: MqarLaw, count: int, rng: np.random.Generator) -> Batch:
    """Draw sequences; `facts["gap"]` is the distance from a query back to its value."""
    # In blocks: the noise of 100,000 rows of a large vocabulary would take gigabytes.
    rows = max(1, _NOISE // law.vocab_size)
    blocks = [_draw(law, min(rows, count - first), rng) for first in range(0, count, rows)]
    ids, labels, gap = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    return Batch(ids, labels, {"gap": gap})


def draw_marked_mqar(law: MarkedMqarLaw, count: int, rng: np.random.Generator) -> Batch:
    """Draw sequences of the marked layout; `facts["gap"]` as for `draw_mqar`."""
    content = (0, law.vocab_size - 1)
    rows = np.arange(count)[:, None]
    keys = _distinct(content, law.pairs, count, rng)
    values = _distinct(content, law.pairs, count, rng)
    weights = np.arange(1, law.pairs + 1) ** -0.01
    asked = rng.choice(law.pairs, size=(count, law.queries), p=weights / weights.sum())
    ids = np.empty((count, law.length), np.int64)
    ids[:, 0 : 2 * law.pairs : 2] = keys
    ids[:, 1 : 2 * law.pairs : 2] = values
    ids[:, 2 * law.pairs :: 2] = keys[rows, asked]
    ids[:, 2 * law.pairs + 1 :: 2] = law.vocab_size - 1
    markers = 2 * law.pairs + 1 + 2 * np.arange(law.queries)
    labels, gap = np.full_like(ids, IGNORE), np.full_like(ids, -1)
    labels[:, markers] = values[rows, asked]
    gap[:, markers] = markers - (1 + 2 * asked)
    return Batch(ids, labels, {"gap": gap})


def _draw(law: MqarLaw, count: int, rng: np.random.Generator) -> tuple[Ids, Ids, Ids]:
    """Return ids, labels and gaps of sequences."""
    rows = np.arange(count)[:, None]
    # In random order: the first ones of each sequence are its keys and its values.
    pools = [
        _distinct(ends, min(ends[1] - ends[0], law.pool), count, rng)
        for ends in (law.key_ids, law.value_ids)
    ]
    keys, values = (pool[:, : law.pairs] for pool in pools)
    slots = _weighted_slots(law, count, rng)
    queries = 2 * law.pairs + 2 * slots
    ids = _filler(law, pools[0], pools[1], rng)
    ids[:, 0 : 2 * law.pairs : 2] = keys
    ids[:, 1 : 2 * law.pairs : 2] = values
    ids[rows, queries] = keys
    labels = np.full_like(ids, IGNORE)
    labels[rows, queries] = values
    gap = np.full_like(ids, -1)
    gap[rows, queries] = queries - (1 + 2 * np.arange(law.pairs))
    return ids, labels, gap


def _distinct(ends: tuple[int, int], size: int, count: int, rng: np.random.Generator) -> Ids:
    """Return (count, size) distinct ids of a range for each sequence, in random order.

    The smallest of random numbers, sorted: of a large vocabulary few are needed, and sorting all of
    it would take longer than a training step.
    """
    noise = rng.random((count, ends[1] - ends[0]))
    chosen = np.argpartition(noise, size - 1, axis=1)[:, :size]
    order = np.argsort(np.take_along_axis(noise, chosen, 1), axis=1)
    return ends[0] + np.take_along_axis(chosen, order, 1)


def _weighted_slots(law: MqarLaw, count: int, rng: np.random.Generator) -> Ids:
    """Return (count, pairs) slots, drawn one after the other without replacement.

    Exponential times of rate p, sorted, are such draws (Efraimidis and Spirakis 2006).
    """
    slots = (law.length - 2 * law.pairs) // 2
    rates = law.power * np.arange(1, slots + 1, dtype=float) ** (law.power - 1)
    times = rng.exponential(size=(count, slots)) / rates
    return np.argsort(times, axis=1)[:, : law.pairs]


def _filler(law: MqarLaw, keys: Ids, values: Ids, rng: np.random.Generator) -> Ids:
    """Return fillers (B, T) from 0, the ids of both roles and no key, as the law has it.

    Args:
        law: What sequences are drawn from.
        keys: (B, P) the keys, and what else belongs to the subset of each sequence.
        values: (B, P) the same of values.
        rng: Source.
    """
    count = len(keys)
    shape = (count, law.length)
    if law.filler == "zero":
        return np.zeros(shape, np.int64)
    asked = 0 if law.filler == "uniform" else law.pairs
    if law.subset is not None:
        pool = np.concatenate((np.zeros((count, 1), np.int64), keys[:, asked:], values), 1)
        return np.take_along_axis(pool, rng.integers(pool.shape[1], size=shape), 1)
    (first, end), (first_value, end_value) = law.key_ids, law.value_ids
    free = end - first - asked
    rank = rng.integers(1 + free + end_value - first_value, size=shape) - 1
    # The r-th id that is no key has as many keys before it as have at most r such ids before them.
    ids = first + rank
    if asked:
        free_before = np.sort(keys - first, axis=1) - np.arange(asked)
        ids += (free_before[:, None] <= rank[:, :, None]).sum(2)
    ids = np.where(rank < free, ids, first_value + rank - free)
    return np.where(rank < 0, 0, ids)


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


def marked_answers(law: MarkedMqarLaw, input_ids: Ids) -> Ids:
    """Return (B, T) the value of the key before each token: right for every query."""
    keys, values = (input_ids[:, start : 2 * law.pairs : 2] for start in (0, 1))
    before = np.roll(input_ids, 1, axis=1)
    pair = (before[:, :, None] == keys[:, None]).argmax(2)
    return np.take_along_axis(values, pair, 1)

"""0-1 knapsack as a causal task: read the instance, then say of each item whether it is taken.

A sequence is: BOS, the capacity, weight and value of each item in random order, SEP, the items once
more, QVAL. At the second value of an item TAKE or SKIP is asked, at QVAL the best value. Numbers of
each role have ids of their own. Of several best sets the lightest is meant, and of these the one
whose mask, in the order presented, is lexicographically smallest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seqlab.data.diagnostic import IGNORE, Batch, Ids
from seqlab.errors import UserError

PAD, BOS, SEP, QVAL, TAKE, SKIP = range(6)
_FIRST = 6

Mask = npt.NDArray[np.bool_]

# Instances from which the solver that looks at single items learns.
_SEEN = 20_000


@dataclass(frozen=True)
class KnapsackIds:
    """Which ids numbers have; sized for the largest condition that a model meets.

    Attributes:
        capacity: Largest capacity.
        weight: Largest weight.
        value: Largest value.
        answer: Largest best value.
    """

    capacity: int
    weight: int
    value: int
    answer: int

    @property
    def first_weight(self) -> int:
        """Id of weight 0."""
        return _FIRST + self.capacity + 1

    @property
    def first_value(self) -> int:
        """Id of value 0."""
        return self.first_weight + self.weight + 1

    @property
    def first_answer(self) -> int:
        """Id of best value 0."""
        return self.first_value + self.value + 1

    @property
    def vocab_size(self) -> int:
        """All ids."""
        return self.first_answer + self.answer + 1


@dataclass(frozen=True)
class KnapsackLaw:
    """What instances are drawn from: uniform integers, both ends included.

    Attributes:
        items: Items.
        capacity: Least and largest capacity.
        weight: Least and largest weight.
        value: Least and largest value.
    """

    items: int
    capacity: tuple[int, int] = (10, 20)
    weight: tuple[int, int] = (1, 10)
    value: tuple[int, int] = (1, 10)

    def __post_init__(self) -> None:
        if self.items < 1:
            raise UserError("a knapsack needs at least one item")
        for name in ("capacity", "weight", "value"):
            least, most = getattr(self, name)
            if not 1 <= least <= most:
                raise UserError(f"{name} from {least} to {most} is no range of positive integers")


@dataclass(frozen=True)
class Instances:
    """Knapsack instances.

    Attributes:
        capacity: (B,).
        weights: (B, n).
        values: (B, n).
    """

    capacity: Ids
    weights: Ids
    values: Ids

    def worth(self, taken: Mask) -> Ids:
        """Return the value (B,) of sets (B, n)."""
        return (self.values * taken).sum(1)

    def feasible(self, taken: Mask) -> Mask:
        """Return whether sets (B, n) fit."""
        return (self.weights * taken).sum(1) <= self.capacity


def draw_instances(law: KnapsackLaw, count: int, rng: np.random.Generator) -> Instances:
    """Draw instances."""

    def uniform(ends: tuple[int, int], *shape: int) -> Ids:
        return rng.integers(ends[0], ends[1] + 1, size=(count, *shape))

    return Instances(
        uniform(law.capacity), uniform(law.weight, law.items), uniform(law.value, law.items)
    )


def best_sets(instances: Instances) -> Mask:
    """Return the canonical best set (B, n) of each instance, by dynamic programming.

    `score[j][b, c]` is the most that items j and later can score with capacity c left, where a unit
    of value outweighs all weights together, and a unit of weight counts against.
    """
    count, items = instances.weights.shape
    capacities = np.arange(int(instances.capacity.max()) + 1)
    unit = int(instances.weights.sum(1).max()) + 1
    score = np.zeros((items + 1, count, len(capacities)), np.int64)
    for j in reversed(range(items)):
        weight = instances.weights[:, j, None]
        left = capacities - weight
        gained = np.take_along_axis(score[j + 1], np.maximum(left, 0), 1)
        gained = gained + instances.values[:, j, None] * unit - weight
        score[j] = np.where(left >= 0, np.maximum(score[j + 1], gained), score[j + 1])
    rows, left = np.arange(count), instances.capacity.copy()
    taken = np.zeros((count, items), np.bool_)
    for j in range(items):
        taken[:, j] = score[j, rows, left] > score[j + 1, rows, left]
        left -= np.where(taken[:, j], instances.weights[:, j], 0)
    return taken


def best_values(instances: Instances) -> Ids:
    """Return the values (B,) of the best sets, item by item over all capacities at once.

    It knows nothing of ties or of which items are taken: a check of `best_sets` on any size.
    """
    count, items = instances.weights.shape
    capacities = np.arange(int(instances.capacity.max()) + 1)
    most = np.zeros((count, len(capacities)), np.int64)
    for j in range(items):
        left = capacities - instances.weights[:, j, None]
        with_it = np.take_along_axis(most, np.maximum(left, 0), 1) + instances.values[:, j, None]
        most = np.maximum(most, np.where(left >= 0, with_it, 0))
    return np.asarray(most[np.arange(count), instances.capacity])


def greedy_sets(instances: Instances) -> Mask:
    """Return sets (B, n) that take what fits in order of value per weight."""
    return repaired(instances, np.ones(instances.weights.shape, np.bool_))


def alone_sets(instances: Instances, law: KnapsackLaw, rng: np.random.Generator) -> Mask:
    """Return sets (B, n) of one who looks at no item but the one asked for.

    An item is taken if the best sets of most drawn instances take one of its weight and value at
    that capacity: what can be known of an item without comparing it with any other.
    """
    seen = draw_instances(law, _SEEN, rng)
    shape = (law.capacity[1] + 1, law.weight[1] + 1, law.value[1] + 1)
    votes = np.zeros(shape, np.int64)
    places = np.broadcast_to(seen.capacity[:, None], seen.weights.shape), seen.weights, seen.values
    np.add.at(votes, places, np.where(best_sets(seen), 1, -1))
    own = np.broadcast_to(instances.capacity[:, None], instances.weights.shape)
    return np.asarray(votes[own, instances.weights, instances.values] > 0)


def fractional_values(instances: Instances) -> Ids:
    """Return the values (B,) of the best sets if items could be cut, rounded down."""
    order = np.argsort(-instances.values / instances.weights, axis=1, kind="stable")
    weights = np.take_along_axis(instances.weights, order, 1)
    values = np.take_along_axis(instances.values, order, 1)
    before = weights.cumsum(1) - weights
    share = np.clip((instances.capacity[:, None] - before) / weights, 0, 1)
    # Sums of shares such as 1/3 and 2/3 miss whole numbers by rounding.
    return np.floor((share * values).sum(1) + 1e-9).astype(np.int64)


def repaired(instances: Instances, taken: Mask) -> Mask:
    """Return what fits of sets (B, n), taken in order of value per weight."""
    kept = np.zeros_like(taken)
    order = np.argsort(-instances.values / instances.weights, axis=1, kind="stable")
    rows, left = np.arange(len(order)), instances.capacity.copy()
    for item in order.T:
        fits = taken[rows, item] & (instances.weights[rows, item] <= left)
        kept[rows, item] = fits
        left -= np.where(fits, instances.weights[rows, item], 0)
    return kept


def encode(instances: Instances, ids: KnapsackIds) -> Batch:
    """Return the sequences (B, 4 n + 4) of instances.

    Raises:
        UserError: A number has no id.
    """
    taken = best_sets(instances)
    answer = instances.worth(taken)
    for name, largest, found in (
        ("capacity", ids.capacity, instances.capacity),
        ("weight", ids.weight, instances.weights),
        ("value", ids.value, instances.values),
        ("answer", ids.answer, answer),
    ):
        if found.max() > largest:
            raise UserError(
                f"{name} {found.max()} has no id", fix=f"make the largest {name} {found.max()}"
            )
    count, items = taken.shape
    pairs = np.empty((count, 2 * items), np.int64)
    pairs[:, 0::2] = ids.first_weight + instances.weights
    pairs[:, 1::2] = ids.first_value + instances.values

    def column(value: int | Ids) -> Ids:
        return np.broadcast_to(np.asarray(value, np.int64).reshape(-1, 1), (count, 1))

    capacity = column(_FIRST + instances.capacity)
    sequence = np.concatenate((column(BOS), capacity, pairs, column(SEP), pairs, column(QVAL)), 1)
    labels = np.full_like(sequence, IGNORE)
    start = 2 * items + 3
    labels[:, start + 1 : start + 2 * items : 2] = np.where(taken, TAKE, SKIP)
    labels[:, -1] = ids.first_answer + answer
    item = np.full_like(sequence, -1)
    item[:, start + 1 : start + 2 * items : 2] = np.arange(items)
    return Batch(sequence, labels, {"item": item})


def decode(batch: Batch, ids: KnapsackIds) -> Instances:
    """Return the instances of sequences that `encode` made."""
    items = (batch.input_ids.shape[1] - 4) // 4
    pairs = batch.input_ids[:, 2 : 2 + 2 * items]
    return Instances(
        capacity=batch.input_ids[:, 1] - _FIRST,
        weights=pairs[:, 0::2] - ids.first_weight,
        values=pairs[:, 1::2] - ids.first_value,
    )

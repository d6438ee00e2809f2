"""0-1 knapsack: which items are taken, and what they are worth."""

from __future__ import annotations

import numpy as np

from seqlab.data.diagnostic import Answers, Batch
from seqlab.data.knapsack import (
    SKIP,
    TAKE,
    Instances,
    KnapsackIds,
    KnapsackLaw,
    alone_sets,
    best_sets,
    best_values,
    decode,
    draw_instances,
    encode,
    fractional_values,
    greedy_sets,
    repaired,
)
from seqlab.studies.archbench.problems.base import Problem, Score
from seqlab.studies.archbench.tasks_spec import KnapsackCondition, KnapsackTask

# How much the best value counts beside the mean over items.
_VALUE_WEIGHT = 0.25


class Knapsack(Problem):
    """Say of each item whether the best set has it, then the best value."""

    def __init__(self, task: KnapsackTask) -> None:
        self.ids = KnapsackIds(**task.ids.model_dump())
        self.vocab_size = self.ids.vocab_size
        self.longest = 4 * max(law.items for law in task.laws()) + 4

    def draw(self, condition: KnapsackCondition, count: int, rng: np.random.Generator) -> Batch:
        """Draw instances of a condition, encoded."""
        law = KnapsackLaw(**condition.model_dump())
        return encode(draw_instances(law, count, rng), self.ids)

    def solvers(
        self, condition: KnapsackCondition, batch: Batch, rng: np.random.Generator
    ) -> dict[str, float]:
        """Return accuracies over items, and of greedy and cut items those of whole answers.

        The floor says of all items what holds of most; `alone` looks at no item but the one asked.
        """
        instances, law = decode(batch, self.ids), KnapsackLaw(**condition.model_dump())
        best, greedy = best_sets(instances), greedy_sets(instances)
        worth, labelled = best_values(instances), _masks(batch)
        optimal = instances.feasible(labelled) & (instances.worth(labelled) == worth)
        return {
            "floor": max(float(best.mean()), 1 - float(best.mean())),
            # Whether labels are the canonical best sets, and those as good as another solver says.
            "ceiling": float(((labelled == best) & optimal[:, None]).mean()),
            "all_skip": 1 - float(best.mean()),
            "alone": float((alone_sets(instances, law, rng) == best).mean()),
            "greedy": float((greedy == best).mean()),
            "greedy_exact": float((greedy == best).all(1).mean()),
            "greedy_value": float((instances.worth(greedy) == worth).mean()),
            "fractional_value": float((fractional_values(instances) == worth).mean()),
        }

    def weights(self, batch: Batch) -> np.ndarray:
        """Return the mean over items plus a quarter of the value."""
        items = batch.facts["item"] >= 0
        weights = items / items.sum(1, keepdims=True)
        weights[:, -1] = _VALUE_WEIGHT
        return np.asarray(weights)

    def judged(self, answers: Answers) -> np.ndarray:
        """Return which answers are about items: the value is another question."""
        return np.asarray((answers.labels == TAKE) | (answers.labels == SKIP))

    def scores(self, answers: Answers, batch: Batch) -> dict[str, Score]:
        """Return what the answers are worth as sets, and how well the value is known."""
        items = self.judged(answers)
        instances: Instances = decode(batch, self.ids)
        shape = instances.weights.shape
        chosen = (answers.predictions[items] == TAKE).reshape(shape)
        best = (answers.labels[items] == TAKE).reshape(shape)
        # What the model says of the value; an id of another role is no value.
        said = answers.predictions[~items] - self.ids.first_answer
        known = answers.labels[~items] - self.ids.first_answer
        legal = said >= 0
        hits = int((chosen & best).sum())
        reached = instances.worth(repaired(instances, chosen)) / np.maximum(
            instances.worth(best), 1
        )
        error = float(np.abs(said - known)[legal].mean()) if legal.any() else None
        return {
            "accuracy": Score(self.accuracy(answers)),
            "item_f1": Score(2 * hits / max(1, int(chosen.sum() + best.sum()))),
            "exact": Score(float((chosen == best).all(1).mean())),
            "value_exact": Score(float((said == known).mean())),
            "value_error": Score(
                error, "units of value", None if legal.any() else "no id of a value"
            ),
            "value_ratio": Score(float(reached.mean())),
            "infeasible": Score(1 - float(instances.feasible(chosen).mean())),
            "nll": Score(self.loss(answers), "nats"),
            "value_nll": Score(float(answers.nll[~items].mean()), "nats"),
            "queries": Score(float(items.sum()), "queries"),
        }


def _masks(batch: Batch) -> np.ndarray:
    """Return what the labels say of the items, (B, n)."""
    asked = batch.facts["item"] >= 0
    return np.asarray((batch.labels[asked] == TAKE).reshape(len(batch.labels), -1))

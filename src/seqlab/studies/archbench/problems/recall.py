"""Multi-query associative recall, in the reference layout and in the original study's."""

from __future__ import annotations

import numpy as np

from seqlab.data.diagnostic import Batch, accuracy
from seqlab.data.mqar import (
    MarkedMqarLaw,
    MqarLaw,
    context_answers,
    dictionary_answers,
    draw_marked_mqar,
    draw_mqar,
    marked_answers,
    recency_answers,
)
from seqlab.studies.archbench.problems.base import Problem
from seqlab.studies.archbench.tasks_spec import (
    MarkedMqarCondition,
    MarkedMqarTask,
    MqarCondition,
    MqarTask,
)


class Recall(Problem):
    """Multi-query associative recall."""

    def __init__(self, task: MqarTask) -> None:
        laws = task.laws()
        self.vocab_size = max(law.vocab_size for law in laws)
        self.longest = max(law.length for law in laws)
        self.legal = (self.vocab_size // 2, self.vocab_size)

    def draw(self, condition: MqarCondition, count: int, rng: np.random.Generator) -> Batch:
        """Draw sequences of a condition."""
        return draw_mqar(MqarLaw(**condition.model_dump()), count, rng)

    def solvers(
        self, condition: MqarCondition, batch: Batch, rng: np.random.Generator
    ) -> dict[str, float]:
        """Return a dictionary, plain induction, and one who guesses among the sequence's values."""
        law = MqarLaw(**condition.model_dump())
        return {
            "floor": law.floor,
            "ceiling": accuracy(dictionary_answers(law, batch.input_ids), batch),
            "recency": accuracy(recency_answers(law, batch.input_ids), batch),
            "context": accuracy(context_answers(law, batch.input_ids, rng), batch),
        }


class MarkedRecall(Problem):
    """Associative recall with a marker after each query."""

    def __init__(self, task: MarkedMqarTask) -> None:
        laws = [MarkedMqarLaw(**c.model_dump()) for c in task.laws()]
        self.vocab_size = max(law.vocab_size for law in laws)
        self.longest = max(law.length for law in laws)

    def draw(self, condition: MarkedMqarCondition, count: int, rng: np.random.Generator) -> Batch:
        """Draw sequences of a condition."""
        return draw_marked_mqar(MarkedMqarLaw(**condition.model_dump()), count, rng)

    def solvers(
        self, condition: MarkedMqarCondition, batch: Batch, rng: np.random.Generator
    ) -> dict[str, float]:
        """Return a dictionary, and what one reaches who knows the values and not whose they are."""
        law = MarkedMqarLaw(**condition.model_dump())
        return {
            "floor": law.floor,
            "ceiling": accuracy(marked_answers(law, batch.input_ids), batch),
        }

"""Flip-flop language."""

from __future__ import annotations

import numpy as np

from seqlab.data.diagnostic import Answers, Batch, accuracy
from seqlab.data.flip_flop import FLOOR, FlipFlopLaw, automaton_answers, draw_flip_flop
from seqlab.studies.archbench.problems.base import Problem, Score
from seqlab.studies.archbench.tasks_spec import FlipFlopCondition, FlipFlopTask


class FlipFlop(Problem):
    """Read the bit that was written last."""

    def __init__(self, task: FlipFlopTask) -> None:
        laws = [FlipFlopLaw(**c.model_dump()) for c in task.laws()]
        self.vocab_size = max(law.vocab_size for law in laws)
        self.longest = max(law.length for law in laws)

    def draw(self, condition: FlipFlopCondition, count: int, rng: np.random.Generator) -> Batch:
        """Draw sequences of a condition."""
        return draw_flip_flop(FlipFlopLaw(**condition.model_dump()), count, rng)

    def solvers(
        self, condition: FlipFlopCondition, batch: Batch, rng: np.random.Generator
    ) -> dict[str, float]:
        """Return the automaton, and a coin."""
        law = FlipFlopLaw(**condition.model_dump())
        answers = automaton_answers(law, batch.input_ids)
        return {"floor": FLOOR, "ceiling": accuracy(answers, batch)}

    def scores(self, answers: Answers, batch: Batch) -> dict[str, Score]:
        """Add glitches: reads that are answered wrongly."""
        wrong = float((~answers.right).sum())
        return super().scores(answers, batch) | {
            "glitches": Score(wrong, "reads"),
            "glitch_rate": Score(wrong / len(answers.right)),
        }

"""Problems by the kind of their task."""

from __future__ import annotations

from seqlab.studies.archbench.problems.base import Problem
from seqlab.studies.archbench.problems.flip_flop import FlipFlop
from seqlab.studies.archbench.problems.knapsack import Knapsack
from seqlab.studies.archbench.problems.recall import MarkedRecall, Recall
from seqlab.studies.archbench.tasks_spec import (
    FlipFlopTask,
    KnapsackTask,
    MarkedMqarTask,
    MqarTask,
    Task,
)


def problem_of(task: Task) -> Problem:
    """Return the problem that settings describe.

    Raises:
        UserError: A condition is impossible.
    """
    if isinstance(task, MqarTask):
        return Recall(task)
    if isinstance(task, MarkedMqarTask):
        return MarkedRecall(task)
    if isinstance(task, FlipFlopTask):
        return FlipFlop(task)
    assert isinstance(task, KnapsackTask)
    return Knapsack(task)

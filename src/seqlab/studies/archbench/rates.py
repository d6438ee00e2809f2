"""Learning rates: names of trials in a record, their order, and the one that was chosen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from seqlab.errors import UserError
from seqlab.provenance.record import read_record

# Arm of the record that holds the choice.
CHOSEN = "chosen"
# Accuracies at most this far below the best are like it.
ALIKE = 0.02


def trial(rate: float, rung: int) -> str:
    """Return the name of the trial of a rate at a rung."""
    return f"lr-{rate:g}-rung-{rung}"


def rate_of_trial(name: str) -> float:
    """Return the learning rate in the name of a trial; names have six digits of it."""
    return float(name.removeprefix("lr-").partition("-rung-")[0])


def best_first(scores: Mapping[float, tuple[float, float]]) -> list[float]:
    """Return learning rates from best to worst: by accuracy, and where that is alike by loss.

    On the plateau before a task is learned accuracies differ by noise alone, losses do not.

    Args:
        scores: Rate -> accuracy and loss; a rate that diverged has minus infinity.

    Raises:
        UserError: All diverged.
    """
    if all(accuracy < 0 for accuracy, _ in scores.values()):
        raise UserError("training diverged with every learning rate", fix="try lower ones")
    left, ordered = dict(scores), []
    while left:
        # Within a step of the best one, not within bins of that size: their edges would part rates
        # that are alike.
        best = max(accuracy for accuracy, _ in left.values())
        alike = [rate for rate, (accuracy, _) in left.items() if accuracy >= best - ALIKE]
        ordered += sorted(alike, key=lambda rate: scores[rate][1])
        left = {rate: score for rate, score in left.items() if rate not in alike}
    return ordered


def chosen_rate(path: Path) -> float:
    """Return the learning rate that a pilot chose.

    Raises:
        UserError: The record cannot be read.
    """
    value = read_record(path).arms[CHOSEN].metrics["rate"].value
    assert value is not None
    return float(value)

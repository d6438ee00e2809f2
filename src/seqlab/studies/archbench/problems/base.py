"""What a training run and its tests need of a task."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np

from seqlab.data.diagnostic import Answers, Batch
from seqlab.errors import UserError

# Seeds of what is drawn; training streams are those of their runs, 1000 and on.
VALID, TEST, FIRST_STREAM = 7777, 8888, 1000
_SPLITS = {"train": 0, "valid": 1, "test": 2}


@dataclass(frozen=True)
class Score:
    """One number that a model reached under a condition.

    Attributes:
        value: The number; None where it could not be had.
        unit: Its unit.
        reason: Why there is none.
    """

    value: float | None
    unit: str = "1"
    reason: str | None = None


class Problem(ABC):
    """A task as its settings make it.

    Attributes:
        vocab_size: Ids.
        longest: Tokens of the longest sequence of any condition.
        legal: First id that is an answer at all, and one past the last, where most are not.
    """

    vocab_size: int
    longest: int
    legal: tuple[int, int] | None = None

    @abstractmethod
    def draw(self, condition: Any, count: int, rng: np.random.Generator) -> Batch:
        """Draw sequences of a condition."""

    @abstractmethod
    def solvers(self, condition: Any, batch: Batch, rng: np.random.Generator) -> dict[str, float]:
        """Return accuracies of those who need no training; `floor` and `ceiling` among them.

        The floor is what the best trivial predictor reaches, the ceiling what a solver does.
        """

    def weights(self, batch: Batch) -> np.ndarray | None:
        """Return how much each answer (B, T) counts in the loss; None for all alike."""
        return None

    def judged(self, answers: Answers) -> np.ndarray:
        """Return which answers the task is judged by, (Q,) bool; all unless told."""
        return np.ones(len(answers.labels), np.bool_)

    def accuracy(self, answers: Answers) -> float:
        """Return the share of those that are right."""
        return float(answers.right[self.judged(answers)].mean())

    def loss(self, answers: Answers) -> float:
        """Return their mean negative log-likelihood in nats."""
        return float(answers.nll[self.judged(answers)].mean())

    def scores(self, answers: Answers, batch: Batch) -> dict[str, Score]:
        """Return what a model reached on a batch."""
        found = answers.metrics()
        scores = {
            "accuracy": Score(self.accuracy(answers)),
            "exact": Score(found["exact"]),
            "nll": Score(self.loss(answers), "nats"),
            "queries": Score(float(len(answers.labels)), "queries"),
        }
        if answers.among is not None:
            scores["legal_accuracy"] = Score(float((answers.among == answers.labels).mean()))
        return scores


def generator(task: str, split: Literal["train", "valid", "test"], *key: int) -> Any:
    """Return the random numbers of one part of a task; parts never share a stream."""
    seeds = (zlib.crc32(task.encode()), _SPLITS[split], *key)
    return np.random.default_rng(np.random.SeedSequence(seeds))


def pack(batches: dict[str, Batch]) -> dict[str, np.ndarray]:
    """Return batches as named arrays."""
    arrays: dict[str, np.ndarray] = {}
    for name, batch in batches.items():
        arrays[f"{name}/input_ids"] = batch.input_ids
        arrays[f"{name}/labels"] = batch.labels
        for fact, values in batch.facts.items():
            arrays[f"{name}/fact/{fact}"] = values
    return arrays


def unpack(path: Path) -> dict[str, Batch]:
    """Return the batches that `pack` named.

    Raises:
        UserError: The file cannot be read.
    """
    try:
        with np.load(path) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, BadZipFile) as error:
        raise UserError(f"no stored test sets: {error}", where=str(path)) from None
    names = [name.removesuffix("/input_ids") for name in arrays if name.endswith("/input_ids")]
    return {
        name: Batch(
            arrays[f"{name}/input_ids"],
            arrays[f"{name}/labels"],
            {
                key.removeprefix(f"{name}/fact/"): values
                for key, values in arrays.items()
                if key.startswith(f"{name}/fact/")
            },
        )
        for name in names
    }

"""The training curve as data: one row per optimiser step."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor


class Curve:
    """Columns of equal length, keyed by name; a term that a step did not log is NaN there."""

    def __init__(self) -> None:
        self._columns: dict[str, list[float]] = {"step": []}

    def __len__(self) -> int:
        return len(self._columns["step"])

    def append(self, step: int, values: Mapping[str, float]) -> None:
        """Add the row of one step. Steps must come in order, each once.

        Raises:
            ValueError: `step` does not follow the last one.
        """
        steps = self._columns["step"]
        if steps and step != steps[-1] + 1:
            raise ValueError(f"step {step} does not follow step {int(steps[-1])}")
        for name in values:
            self._columns.setdefault(name, [float("nan")] * len(steps))
        for name, column in self._columns.items():
            column.append(float(step) if name == "step" else values.get(name, float("nan")))

    def __getitem__(self, name: str) -> np.ndarray:
        """Return one column, shape (steps,), float64."""
        return np.asarray(self._columns[name], dtype=np.float64)

    def last(self, name: str) -> float:
        """Return the newest value of one column."""
        return self._columns[name][-1]

    @property
    def names(self) -> list[str]:
        """Column names, `step` first."""
        return list(self._columns)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the columns as float64 tensors, for a checkpoint."""
        return {
            name: torch.tensor(column, dtype=torch.float64)
            for name, column in self._columns.items()
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Replace all rows by those of a checkpoint: lost steps are gone, none is double."""
        self._columns = {name: column.tolist() for name, column in state.items()}

    def to_csv(self) -> str:
        """Return CSV text; floats in the shortest form that reads back to the same bits."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.names)
        for row in zip(*self._columns.values(), strict=True):
            writer.writerow([int(row[0]), *(repr(value) for value in row[1:])])
        return text.getvalue()

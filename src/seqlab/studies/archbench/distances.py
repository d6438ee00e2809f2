"""Accuracy over the distance from a query back to the token that it asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqlab.data.diagnostic import Batch
from seqlab.provenance.environment import device_key
from seqlab.provenance.record import read_record, read_samples
from seqlab.studies.archbench.places import place

# Names of metrics: the mean distance of a tenth of the queries, and the accuracy on it.
DISTANCE, ACCURACY = "distance_", "accuracy_at_"
_TENTHS = 10


class Tenth(NamedTuple):
    """Queries of about one distance.

    Attributes:
        name: Two digits; the nearest tenth has the smallest.
        members: Which queries, (Q,) bool.
        distance: Their mean distance in tokens.
    """

    name: str
    members: NDArray[np.bool_]
    distance: float


def tenths(gap: NDArray[np.int64]) -> list[Tenth]:
    """Return queries by tenths of their distances (Q,), the nearest first.

    Equal distances stay together, so that there are fewer tenths where one distance is that of
    many.
    """
    edges = np.quantile(gap, np.arange(1, _TENTHS) / _TENTHS)
    place = np.searchsorted(edges, gap, side="left")
    return [
        Tenth(f"{number:02d}", place == number, float(gap[place == number].mean()))
        for number in np.unique(place)
    ]


def distance_rows(
    path: Path, tests: Mapping[str, Mapping[str, Batch]]
) -> Iterator[tuple[object, ...]]:
    """Yield rows of observations of one run: distance and accuracy of every tenth.

    Args:
        path: The record of the run; its samples lie beside it.
        tests: Task -> name -> the sequences that it was tested on.

    Raises:
        UserError: The record or its samples are missing or damaged.
    """
    record = read_record(path)
    if record.rehearsal:
        return
    samples = read_samples(path.with_name("samples.npz"))
    device = device_key(record.environment)
    for condition in record.arms:
        batch = tests[str(record.cell["task"])].get(f"test/{condition}")
        if batch is None or "gap" not in batch.facts:
            continue
        right = samples[f"{condition}/right"]
        for tenth in tenths(batch.facts["gap"][batch.asked]):
            at = place(record, condition)
            accuracy = float(right[tenth.members].mean())
            yield *at, DISTANCE + tenth.name, tenth.distance, "tokens", "counted", device, ""
            yield *at, ACCURACY + tenth.name, accuracy, "1", "measured", device, ""

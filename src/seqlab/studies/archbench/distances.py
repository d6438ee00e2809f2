"""Accuracy over the distance from a query back to the token that it asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqlab.data.diagnostic import Batch
from seqlab.provenance.environment import device_key
from seqlab.provenance.record import Record
from seqlab.studies.archbench.places import place

# Names of metrics: the mean distance of a tenth of the queries, and the accuracy on it.
DISTANCE, ACCURACY = "distance_", "accuracy_at_"
_TENTHS = 10
# What stored sets of a condition are called before its name.
_TEST = "test/"


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
    number_of = np.searchsorted(edges, gap, side="left")
    return [
        Tenth(f"{number:02d}", number_of == number, float(gap[number_of == number].mean()))
        for number in np.unique(number_of)
    ]


def tenths_of_tests(sets: Mapping[str, Batch]) -> dict[str, list[Tenth]]:
    """Return condition -> tenths of its queries, of stored sets whose queries have a distance."""
    return {
        name.removeprefix(_TEST): tenths(batch.facts["gap"][batch.asked])
        for name, batch in sets.items()
        if name.startswith(_TEST) and "gap" in batch.facts
    }


def distance_rows(
    record: Record, samples: Mapping[str, np.ndarray], known: Mapping[str, list[Tenth]]
) -> Iterator[tuple[object, ...]]:
    """Yield rows of observations of one run: distance and accuracy of every tenth.

    Args:
        record: Of the run; one of a rehearsal has no rows.
        samples: Beside the record.
        known: Condition -> tenths of its queries.
    """
    if record.rehearsal:
        return
    device = device_key(record.environment)
    for condition in record.arms:
        at = place(record, condition)
        for tenth in known.get(condition, []):
            accuracy = float(samples[f"{condition}/right"][tenth.members].mean())
            yield *at, DISTANCE + tenth.name, tenth.distance, "tokens", "counted", device, ""
            yield *at, ACCURACY + tenth.name, accuracy, "1", "measured", device, ""

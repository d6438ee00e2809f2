"""What was expected before the data: which architectures are held against which, and where."""

from __future__ import annotations

from dataclasses import dataclass

from seqlab.studies.archbench.analysis.frames import GLITCH_RATE
from seqlab.studies.archbench.architectures import (
    ATTENTION,
    CONTROL,
    MODERN,
    NINE,
    RECURRENT,
)
from seqlab.studies.archbench.tasks_spec import TRAINED

Group = tuple[str, ...]


@dataclass(frozen=True)
class Planned:
    """A hypothesis, stated before the data.

    Attributes:
        name: Of its contrasts.
        members: Architectures, and those that they are held against; the mean of several is one
            side. All members at all places are a family.
        tasks: Where it is tested; empty for every task.
        conditions: Under which.
        metric: Column of the runs.
        logs: Whether the log ratio is tested, instead of the difference.
    """

    name: str
    members: tuple[tuple[Group, Group], ...]
    tasks: tuple[str, ...] = ()
    conditions: tuple[str, ...] = (TRAINED,)
    metric: str = "accuracy"
    logs: bool = False


def each(treatments: Group, controls: Group) -> tuple[tuple[Group, Group], ...]:
    """Return every treatment against every control: a statement about each of them."""
    return tuple(((a,), (b,)) for a in treatments for b in controls)


def _others(*names: str) -> tuple[str, ...]:
    return tuple(name for name in NINE if name not in names)


_MODERN_HELD = tuple((MODERN, (name,)) for name in ATTENTION)
# Four times the training length: as it was trained, with fewer and with more reads. Only with fewer
# lies what was written much further back.
_FAR = ("length_x4", "length_x4_sparse", "length_x4_dense")
# The study's headline and expectations (archbench.md 0), and what literature expects instead.
HYPOTHESES = (
    Planned("headline", each(("deltanet",), _others("deltanet")), ("mqar",)),
    Planned("h0_modern_match_attention", _MODERN_HELD, ("mqar", "flip_flop")),
    Planned("h0_cost", _MODERN_HELD, ("mqar", "flip_flop"), metric="compute_s", logs=True),
    Planned("h1_recall", each(("rope", "retention", "deltanet"), RECURRENT), ("mqar",)),
    Planned(
        "h2_flip_flop",
        each(("rwkv7", "gla", "rope"), ("vanilla",)),
        ("flip_flop",),
        metric=GLITCH_RATE,
    ),
    # Not against the vanilla Transformer: beyond the training length its positions are untrained.
    Planned(
        "recurrent_hold_longer",
        each(RECURRENT, (CONTROL,)),
        ("flip_flop",),
        _FAR,
        GLITCH_RATE,
    ),
    Planned("h3_knapsack", each(ATTENTION, _others(*ATTENTION)), ("knapsack",)),
)

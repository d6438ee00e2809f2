"""Timing of products whose tensors lie in other places of memory again and again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from torch import Tensor

from seqlab.measure.latency import Latency
from seqlab.studies.codesign.controls.run import Product


def placements(
    layouts: Mapping[str, Product], count: int, rng: np.random.Generator
) -> Iterator[dict[str, Callable[[], Tensor]]]:
    """Yield layout -> call, with all tensors in other places each time.

    Where a tensor lies in memory is an effect of its own: in one run identical arms whose tensors
    stayed where they were differed by up to 4 %. It has to be drawn like any other, in random
    order, and more than once in a run, or else the runs would have to be many.
    """
    for _ in range(count):
        # Those of the last round are still held here: these do not get the same places.
        calls = {name: layouts[name].place() for name in rng.permutation(list(layouts))}
        yield {name: calls[name] for name in layouts}


def joined(parts: Sequence[Latency]) -> Latency:
    """Return measurements of the same arms, one after the other, as one."""
    rounds = [1 + max(int(r.max()) for r in part.rounds.values()) for part in parts]
    starts = np.cumsum([0, *rounds[:-1]])
    arms = parts[0].samples_ns
    return Latency(
        samples_ns={name: np.concatenate([p.samples_ns[name] for p in parts]) for name in arms},
        rounds={
            name: np.concatenate(
                [start + p.rounds[name] for start, p in zip(starts, parts, strict=True)]
            )
            for name in arms
        },
        order=[name for part in parts for name in part.order],
        warmup_calls={name: sum(p.warmup_calls[name] for p in parts) for name in arms},
        stable={name: all(p.stable[name] for p in parts) for name in arms},
        threads=parts[0].threads,
        device=parts[0].device,
    )

"""The seven arms of the study: what is pruned, in which order, and in which order it ends.

| arm | pipeline |
|---|---|
| `dense` | nothing |
| `random` | a random order |
| `permute_only` | P |
| `algo_only` | T |
| `linear_PT` | P, then T |
| `linear_TP` | T, then P |
| `iterative_k` | (P, T, P) k times: T in the order of the last round, then P again |

P solves an order on the function it finds; T keeps the largest weights of a pattern, whose groups
are those of the order in force. A later move never changes a value.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

from torch import nn

from seqlab.models.masks import Pattern, magnitude_mask
from seqlab.models.sparse_linear import apply_masks, weight_matrix
from seqlab.studies.codesign.canonical import (
    function_digest,
    in_layout,
    in_original_order,
    moved,
)
from seqlab.studies.codesign.workbench.layouts import Order, original_order
from seqlab.studies.codesign.workbench.names import (
    ALGO_ONLY,
    DENSE,
    DENSE_AA,
    LINEAR_PT,
    LINEAR_TP,
    PERMUTE_ONLY,
    RANDOM,
)
from seqlab.studies.codesign.workbench.subject import Subject


@dataclass(frozen=True)
class Arm:
    """One arm of one run.

    Attributes:
        model: The model, standing in `order`, zeros where it is pruned.
        order: Its order.
        source: The arm that it was moved from, which computes the same function; None if it was
            pruned where it stands, or stands in original order. The gate checks that it does.
    """

    model: nn.Module
    order: Order
    source: Arm | None = None

    def original(self) -> nn.Module:
        """Return the function of this arm in original order, to read only."""
        if self.source is not None:
            return self.source.original()
        return self._original

    @cached_property
    def _original(self) -> nn.Module:
        return in_original_order(self.model, self.order.features)

    @cached_property
    def function(self) -> str:
        """Digest of the weights in original order: arms that agree in it compute one function."""
        if self.source is not None:
            return self.source.function
        return function_digest(self.original())


Transform = Callable[[nn.Module], nn.Module]


def pruning(subject: Subject, pattern: str) -> Transform:
    """Return T: a copy of a model whose pruned layers keep the largest weights of a pattern."""
    parsed = Pattern.parse(pattern)

    def transform(model: nn.Module) -> nn.Module:
        result = copy.deepcopy(model)
        apply_masks(
            result,
            {
                name: magnitude_mask(weight_matrix(result.get_submodule(name)), parsed)
                for name in subject.layers
            },
        )
        return result

    return transform


def build_arms(
    subject: Subject,
    names: Sequence[str],
    transform: Transform,
    solve: Callable[[Arm], Order],
    random: Order,
) -> dict[str, Arm]:
    """Return the named arms, in the order of the names.

    Args:
        subject: The architecture; its model is left as it is.
        names: Any of `ARMS`, or `iterative_<k>`.
        transform: T.
        solve: Solves an order on the function of an arm.
        random: A random order.

    Raises:
        KeyError: There is no such arm.
    """
    dense = Arm(subject.model, original_order(subject))

    def placed(order: Order) -> Arm:
        return Arm(in_layout(subject.model, order.features), order, dense)

    def pruned(arm: Arm) -> Arm:
        return Arm(transform(arm.model), arm.order)

    @cache
    def algo_only() -> Arm:
        return pruned(dense)

    @cache
    def linear_pt() -> Arm:
        return pruned(placed(solve(dense)))

    def iterative(rounds: int) -> Arm:
        arm = linear_pt() if rounds else dense
        for _ in range(rounds - 1):
            arm = pruned(placed(solve(arm)))
        return relaid(arm, solve(arm))

    makers: dict[str, Callable[[], Arm]] = {
        DENSE: lambda: dense,
        DENSE_AA: lambda: Arm(copy.deepcopy(subject.model), dense.order, dense),
        RANDOM: lambda: placed(random),
        PERMUTE_ONLY: lambda: placed(solve(dense)),
        ALGO_ONLY: algo_only,
        LINEAR_PT: linear_pt,
        LINEAR_TP: lambda: relaid(algo_only(), solve(algo_only())),
    }
    result = {}
    for name in names:
        kind, _, rounds = name.partition("_")
        if kind == "iterative":
            result[name] = iterative(int(rounds))
        else:
            result[name] = makers[name]()
    return result


def relaid(arm: Arm, order: Order) -> Arm:
    """Return a copy of an arm in another order; its function stays what it is."""
    return Arm(moved(arm.model, arm.order.features, order.features), order, arm)

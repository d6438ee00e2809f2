"""Layouts solved to plan, each once per run: per function, source of its affinities, and plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from seqlab.layout.objective import q_frac_excess
from seqlab.studies.codesign.ablations.variants import ACTIVATIONS, Plan, Variant
from seqlab.studies.codesign.canonical import stream
from seqlab.studies.codesign.workbench.arms import Arm, build_arms, pruning
from seqlab.studies.codesign.workbench.bench import Bench
from seqlab.studies.codesign.workbench.layouts import (
    Affinities,
    Order,
    has_zeros,
    original_order,
    random_order,
    solve_order,
)


class Planner:
    """Solves and builds the variants of one run.

    Args:
        bench: The run.
        sources: Other sources of affinities -> what measures them on a function without zeros.
    """

    def __init__(
        self, bench: Bench, sources: Mapping[str, Callable[[Arm], Affinities]] | None = None
    ) -> None:
        self._bench = bench
        self._sources = dict(sources or {})
        self._measured: dict[tuple[str, str], Affinities] = {}
        self._orders: dict[tuple[str, Plan], Order] = {}

    @property
    def dense(self) -> Arm:
        """The model as it is."""
        return Arm(self._bench.subject.model, original_order(self._bench.subject))

    def affinities(self, arm: Arm, source: str = ACTIVATIONS) -> Affinities:
        """Return the affinities that an order of an arm's function is solved for."""
        if source == ACTIVATIONS or has_zeros(self._bench.subject, arm.model):
            return self._bench.affinities(arm)
        key = (arm.function, source)
        if key not in self._measured:
            self._measured[key] = self._sources[source](arm)
        return self._measured[key]

    def order(self, arm: Arm, plan: Plan) -> Order:
        """Return the order solved for an arm's function."""
        key = (arm.function, plan)
        if key not in self._orders:
            self._orders[key] = solve_order(
                self._bench.subject,
                self.affinities(arm, plan.affinity),
                self._bench.spec.solver,
                self._bench.seed,
                method=plan.method,
                block=plan.block,
                clusters=plan.clusters,
                sites=plan.sites,
                nodes=plan.nodes,
            )
        return self._orders[key]

    def build(self, variant: Variant) -> tuple[Arm, float]:
        """Return the arm of a variant and the seconds that its solvers took.

        A layout that variants share counts for each of them.
        """
        subject = self._bench.subject
        used: list[Order] = []

        def solve(arm: Arm) -> Order:
            used.append(self.order(arm, variant.plan))
            return used[-1]

        built = build_arms(
            subject,
            [variant.pipeline],
            pruning(subject, subject.spec.pattern),
            solve,
            random_order(subject, stream(self._bench.seed, "random_order")),
        )
        # A pipeline may ask for one layout twice; it is one solve.
        distinct = {id(order): order.runtime_s for order in used}
        return built[variant.pipeline], sum(distinct.values())

    def best_block(self, blocks: Sequence[int]) -> int:
        """Return the block size whose layout of the dense function keeps most inside its blocks.

        Most is the largest share beyond that of a random layout, mean over sites, on calibration
        inputs alone; of equals the smallest.
        """
        affinities = self.affinities(self.dense)

        def excess(block: int) -> float:
            order = self.order(self.dense, Plan(block=block))
            return float(
                np.mean(
                    [
                        q_frac_excess(w, order.features[name], block)
                        for name, w in affinities.items()
                    ]
                )
            )

        return max(sorted({*blocks}), key=excess)

"""Settings of the ablations."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import model_validator

from seqlab.spec import setting
from seqlab.studies.codesign.experiment import Experiment, RunSpec
from seqlab.studies.codesign.workbench.spec import WorkbenchSpec

Method = Literal[
    "identity", "random", "tsp_greedy", "tsp", "louvain", "spectral_balanced", "metis", "fiedler"
]
NodeOrder = Literal["original", "random", "degree", "rcm", "metis", "multilevel"]
OBJECTIVES, COMPONENTS, SENSITIVITY = "objectives", "components", "sensitivity"
GRID, CLUSTERS = "grid", "clusters"


def kind_of(cell: str) -> str:
    """Return which ablation a cell belongs to."""
    return cell.partition("-")[0]


class RunAblationSpec(RunSpec):
    """Settings of one run: of those below, the ones that its cell reads."""

    methods: tuple[Method, ...] = setting("Solvers compared as objectives.", default=())
    node_orders: tuple[NodeOrder, ...] = setting("Node orders compared.", default=())
    rounds: tuple[int, ...] = setting("Iterations compared.", default=())
    few_windows: int | None = setting("Calibration inputs of the arm with few.", default=None)
    blocks: tuple[int, ...] = setting("Block sizes compared.", default=())
    clusters: tuple[int, ...] = setting("Numbers of clusters compared.", default=())
    clusters_reference: int | None = setting("The one they are held against.", default=None)


class AblationsSpec(Experiment):
    """Tables 9 to 13 and 16: one choice of the method changed at a time."""

    tables: ClassVar[tuple[str, ...]] = (
        "objectives",
        "components",
        "sensitivity",
        "iteration_clustering",
        "cluster_counts",
    )

    architectures_measured: tuple[str, ...] = setting(
        "Architectures on which objectives are compared.", min_length=1
    )
    architecture: str = setting("Architecture of all other ablations.")
    kernels: tuple[str, ...] = setting(
        "Products that the pruned layers are computed by.", source="codesign.md 2.23", min_length=1
    )
    methods: tuple[Method, ...] = setting(
        "Solvers compared as objectives, where there is no graph.", source="codesign.md 2.24"
    )
    node_orders: tuple[NodeOrder, ...] = setting(
        "Orders of nodes compared, where there is a graph.", source="codesign.md 2.23 (K4)"
    )
    rounds: tuple[int, ...] = setting("Iterations compared.", source="codesign.md 2.14")
    few_share: float = setting(
        "Share of the calibration inputs that the arm with few of them sees.",
        source="codesign.md 2.14 (100 of 1000 samples)",
        gt=0,
        lt=1,
    )
    blocks: tuple[int, ...] = setting(
        "Block sizes compared; the adaptive one is among them.",
        unit="features",
        source="codesign.md 2.15",
        min_length=2,
    )
    clusters: tuple[int, ...] = setting(
        "Numbers of clusters compared; a dimension of fewer features gets one per feature.",
        source="codesign.md 2.17",
        min_length=2,
    )
    clusters_reference: int = setting(
        "Number of clusters that the others are held against.", source="codesign.md 1.5 (S1)", ge=2
    )
    repeats: int = setting("Timed calls per arm and run.", ge=3)
    quality: int = setting("Held-out windows, sentences or nodes scored; 0: none.", ge=0)

    @model_validator(mode="after")
    def _check(self) -> AblationsSpec:
        if "identity" not in self.methods:
            raise ValueError("methods must hold identity, which the others are compared with")
        if "original" not in self.node_orders:
            raise ValueError("node_orders must hold original, which the others are compared with")
        if not {0, 1} <= {*self.rounds} or min(self.rounds) < 0:
            raise ValueError("rounds must hold 0 and 1 and nothing below")
        if min(self.blocks) < 2:
            raise ValueError("a block holds at least two features")
        if self.clusters_reference not in self.clusters:
            raise ValueError("clusters_reference is not among clusters")
        for name in ("architectures_measured", "methods", "node_orders", "blocks", "clusters"):
            values = getattr(self, name)
            if len({*values}) != len(values):
                raise ValueError(f"{name} holds a value twice")
        return self

    def cells(self) -> list[str]:
        """Return one cell per architecture for objectives, and one per other ablation."""
        objectives = [f"{OBJECTIVES}-{name}" for name in self.architectures_measured]
        return [*objectives, COMPONENTS, SENSITIVITY, GRID, CLUSTERS]

    def architectures(self, cell: str) -> list[str]:
        """Return the one architecture of a cell."""
        return [cell.partition("-")[2] or self.architecture]

    def run_spec(self, bench: WorkbenchSpec, cell: str, seed: int) -> RunAblationSpec:
        """Return exactly what a run of a cell reads."""
        (name,) = self.architectures(cell)
        kept = bench.only(name)
        own = {"kernels": self.kernels, "repeats": self.repeats, "quality": self.quality}
        architecture = kept.architectures[name].model_copy(update=own)
        few = max(1, round(self.few_share * architecture.calibration))
        graph = architecture.kind == "graph"
        read: dict[str, dict[str, Any]] = {
            OBJECTIVES: {"node_orders": self.node_orders} if graph else {"methods": self.methods},
            COMPONENTS: {"rounds": self.rounds, "few_windows": few},
            SENSITIVITY: {"blocks": self.blocks},
            GRID: {},
            CLUSTERS: {
                "clusters": self.clusters,
                "clusters_reference": self.clusters_reference,
            },
        }
        return RunAblationSpec(
            bench=kept.model_copy(update={"architectures": {name: architecture}}),
            cell=cell,
            seed=seed,
            threads=self.threads,
            **read[kind_of(cell)],
        )

"""Settings of the steps that make graphs, graph networks and image models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, model_validator

from seqlab.data.lock import read_lock
from seqlab.spec import Spec, setting
from seqlab.training.spec import TrainSpec

_COMMIT = r"^[0-9a-f]{40}$"
Share = Annotated[float, Field(gt=0, lt=1)]
Width = Annotated[int, Field(ge=4, multiple_of=4)]
Depth = Annotated[int, Field(ge=1)]


class CommunityGraphSpec(Spec):
    """A generated graph with planted communities, and how its nodes are split."""

    nodes: int = setting("Nodes.", default=65_536, ge=2)
    edges: int = setting(
        "Undirected edges drawn; loops and repeats are dropped, so fewer remain.",
        default=524_288,
        ge=1,
    )
    communities: int = setting("Planted communities, with sizes of a power law.", default=256, ge=1)
    classes: int = setting("Classes; communities take them in turn.", default=16, ge=2)
    features: int = setting("Width of the node features.", default=64, ge=1)
    mixing: float = setting(
        "Share of edges drawn between any two nodes instead of inside a community.",
        default=0.1,
        ge=0,
        le=1,
    )
    noise: float = setting(
        "Standard deviation of a node's features around its community's centre, whose own is 1.",
        default=5.0,
        ge=0,
    )
    train_share: Share = setting("Share of the nodes that networks train on.", default=0.5)
    validation_share: Share = setting("Share of the nodes that select weights.", default=0.2)

    @model_validator(mode="after")
    def _test_nodes_remain(self) -> CommunityGraphSpec:
        if self.train_share + self.validation_share >= 1:
            raise ValueError("train_share and validation_share leave no test nodes")
        return self


class GraphSpec(Spec):
    """Settings of `graph`: generated, or a data set in the raw files of OGB."""

    source: str = setting(
        "`generated:communities`, `path:DIR` (raw files of the Open Graph Benchmark: `raw/` and "
        "`split/`) or `hub:ID` (a data set repository with these files).",
        pattern=r"^(generated:communities|(path|hub):.+)$",
    )
    revision: str | None = setting(
        "Commit of a hub data set, from config/hub.lock.yaml; null takes the newest.",
        default=None,
        pattern=_COMMIT,
    )
    folder: str = setting(
        "Folder of a hub data set that holds `raw/` and `split/`; empty for its root.", default=""
    )
    split: str = setting("Split of a path or hub data set.", default="time", min_length=1)
    nodes: int | None = setting(
        "Nodes that a path or hub data set must have: a copy that differs is refused; null "
        "accepts any.",
        default=None,
        ge=1,
    )
    edges: int | None = setting(
        "Directed edges that its edge file must list; null accepts any.", default=None, ge=1
    )
    communities: CommunityGraphSpec | None = setting(
        "The generated graph; null: the default.", default=None
    )
    seed: int = setting("Seed of a generated graph and its split.", default=0, ge=0)

    @model_validator(mode="after")
    def _fields_fit_the_source(self) -> GraphSpec:
        _require_hub(self.source, self.revision)
        generated = self.source.startswith("generated:")
        if self.communities is not None and not generated:
            raise ValueError(f"communities belongs to generated:, and source is {self.source!r}")
        if self.folder and not self.source.startswith("hub:"):
            raise ValueError(f"folder belongs to hub: sources, and source is {self.source!r}")
        if generated and (self.nodes or self.edges):
            raise ValueError("nodes and edges of a generated graph are settings of `communities`")
        return self


class TrainGraphNetworkSpec(Spec):
    """Settings of `train_graph_network`: full-batch training of a GCN or GraphSAGE."""

    kind: Literal["gcn", "sage"] = setting(
        "`gcn` (Kipf and Welling 2017) or `sage` (GraphSAGE with the mean, Hamilton et al. 2017)."
    )
    hidden_size: int = setting("Width between layers.", default=64, ge=1)
    num_hidden_layers: int = setting("Convolutions.", default=3, ge=1)
    dropout: float = setting(
        "Share of features dropped between layers in training.", default=0.5, ge=0, lt=1
    )
    seed: int = setting("Seed of the initial weights.", default=0, ge=0)
    train: TrainSpec = setting(
        "The training run; a step is one pass over the whole graph. With `evaluate_every` the "
        "weights with the best monitored metric of the validation nodes are kept."
    )
    threads: int = setting(
        "Compute threads; sums in another order change the last bits.",
        unit="threads",
        default=1,
        ge=1,
    )

    @model_validator(mode="after")
    def _length_is_in_steps(self) -> TrainGraphNetworkSpec:
        if self.train.steps is None:
            raise ValueError("train.tokens: a graph has no tokens, give train.steps")
        return self


class GraphNetworkSettings(Spec):
    """A graph network by name: the graph it is trained on, and its training."""

    graph: str = setting("Graph it is trained and scored on.")
    training: TrainGraphNetworkSpec = setting("Architecture and training.")


class ResNetShape(Spec):
    """Shape of a ResNet of bottlenecks with fresh weights; the default is ResNet-50."""

    embedding_size: Width = setting("Channels of the stem.", default=64)
    hidden_sizes: tuple[Width, ...] = setting(
        "Channels of each stage's stream; bottlenecks have a quarter.",
        default=(256, 512, 1024, 2048),
        min_length=1,
    )
    depths: tuple[Depth, ...] = setting(
        "Blocks of each stage.", unit="blocks", default=(3, 4, 6, 3), min_length=1
    )
    num_labels: int = setting("Classes.", default=1000, ge=2)

    @model_validator(mode="after")
    def _one_depth_for_each_stage(self) -> ResNetShape:
        if len(self.hidden_sizes) != len(self.depths):
            raise ValueError(
                f"{len(self.hidden_sizes)} hidden_sizes and {len(self.depths)} depths: give one "
                "of each for every stage"
            )
        return self


class ImageModelSpec(Spec):
    """Settings of `image_model`: a ResNet with random weights, of the user's, or of the hub.

    Random weights, and random images through any weights, are for latency, layout and equality
    only: they recognise nothing.
    """

    source: str = setting(
        "`init:resnet` (random weights), `path:DIR` or `hub:ID` (Hugging Face format; weights in "
        "torchvision's names, as timm stores them, are renamed).",
        pattern=r"^(init:resnet|(path|hub):.+)$",
    )
    revision: str | None = setting(
        "Commit of a hub model, from config/hub.lock.yaml; null takes the newest.",
        default=None,
        pattern=_COMMIT,
    )
    resnet: ResNetShape | None = setting("Shape of random weights; null: ResNet-50.", default=None)
    seed: int = setting("Seed of random weights and calibration images.", default=0, ge=0)
    image_size: int = setting(
        "Height and width of the random images that set the running statistics of random weights.",
        unit="pixels",
        default=224,
        ge=8,
    )
    calibration_images: int = setting("Number of these images.", unit="images", default=32, ge=1)

    @model_validator(mode="after")
    def _fields_fit_the_source(self) -> ImageModelSpec:
        _require_hub(self.source, self.revision)
        if self.resnet is not None and self.source != "init:resnet":
            raise ValueError(f"resnet belongs to init:resnet, and source is {self.source!r}")
        return self


class GraphAssetsSpec(Spec):
    """Graphs, graph networks and image models that several studies use, by name."""

    graphs: dict[str, GraphSpec] = setting("Graphs.", default={})
    graph_networks: dict[str, GraphNetworkSettings] = setting("Graph networks.", default={})
    image_models: dict[str, ImageModelSpec] = setting("Image models.", default={})
    locked: bool = setting("Refuse hub sources without a locked commit.", default=False)

    @model_validator(mode="after")
    def _graphs_exist(self) -> GraphAssetsSpec:
        for name, network in self.graph_networks.items():
            if network.graph not in self.graphs:
                known = ", ".join(sorted(self.graphs)) or "none"
                raise ValueError(f"graph_networks.{name}.graph: no {network.graph!r} among {known}")
        return self

    def graph_step_spec(self, step: str, wildcards: Mapping[str, Any]) -> Spec | None:
        """Return exactly the settings that `step` reads, or None for a step of other assets.

        Raises:
            UserError: A hub repository is not in the lock file, or `locked` refuses it.
        """
        match step:
            case "graph":
                return self._locked_source(self.graphs[wildcards["graph"]], "dataset")
            case "train_graph_network":
                return self.graph_networks[wildcards["network"]].training
            case "image_model":
                return self._locked_source(self.image_models[wildcards["image_model"]], "model")
        return None

    def _locked_source(self, spec: _Sourced, kind: str) -> _Sourced:
        source, _, name = spec.source.partition(":")
        if source != "hub" or spec.revision is not None:
            return spec
        revision = read_lock().revision(kind, name, locked=self.locked)
        return spec.model_copy(update={"revision": revision})


_Sourced = TypeVar("_Sourced", GraphSpec, ImageModelSpec)


def _require_hub(source: str, revision: str | None) -> None:
    if revision is not None and not source.startswith("hub:"):
        raise ValueError(f"revision belongs to hub: sources, and source is {source!r}")

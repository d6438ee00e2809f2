"""Train a GCN or GraphSAGE on a graph folder, full batch, and score it on the test nodes.

Output: a network folder (`seqlab.models.graph_pretrained`) with `training.json` (accuracies beside
the baselines, evaluations, cost) and `curve.csv` (every optimiser step).
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqlab.assets.graph_spec import TrainGraphNetworkSpec
from seqlab.data.graph_baselines import BASELINES_FILE
from seqlab.data.sources import SOURCE_FILE
from seqlab.spec import Context, In, Out, State

if TYPE_CHECKING:
    from torch import Tensor, nn

    from seqlab.data.graph_folder import Graph
    from seqlab.kernels.aggregate import Adjacency
    from seqlab.models.graph_network import GraphNetwork
    from seqlab.training.checkpoint import Checkpoints
    from seqlab.training.loop import TrainResult
    from seqlab.training.losses import Loss

# Settings that change when checkpoints are written, and no number.
_NO_NUMBER = {"checkpoint_every_steps", "checkpoint_every_s"}

log = logging.getLogger("seqlab.training")


def train_graph_network(
    spec: TrainGraphNetworkSpec, *, graph: In, state: State, out: Out, context: Context
) -> None:
    """Train a graph network and score it.

    Args:
        spec: Architecture and training.
        graph: Graph folder.
        state: Folder of checkpoints.
        out: Network folder.
        context: Device and fingerprint of the code.

    Raises:
        UserError: The graph is missing or damaged, training diverged, or another process trains
            this network now.
        Terminated: SIGTERM; checkpoints are in `state`, and the same command goes on from there.
    """
    from seqlab.data.graph_folder import load_graph
    from seqlab.training.checkpoint import Checkpoints

    task = _Task.of(load_graph(graph), spec, context.torch_device())
    model = _network(spec, task).to(task.features.device)
    checkpoints = Checkpoints(state, _identity(spec, graph, context.code))
    result = _train(model, spec, task, checkpoints)
    _write(out, model, result, _summary(model, spec, task, result, graph, context), graph)
    checkpoints.clear()


@dataclass(frozen=True)
class _Task:
    """The graph as the network reads it, on one device.

    Attributes:
        features: (N, C) float32.
        labels: (N,) int64.
        adjacency: What the layers sum with.
        nodes: Nodes of each split.
        classes: Number of classes.
    """

    features: Tensor
    labels: Tensor
    adjacency: Adjacency
    nodes: dict[str, Tensor]
    classes: int

    @classmethod
    def of(cls, graph: Graph, spec: TrainGraphNetworkSpec, device: str) -> _Task:
        import torch

        from seqlab.models.graph_network import normalized_adjacency

        edges = torch.from_numpy(graph.edge_index)
        return cls(
            torch.from_numpy(graph.features).to(device),
            torch.from_numpy(graph.labels).to(device),
            normalized_adjacency(edges, graph.nodes, spec.kind),
            {name: torch.from_numpy(graph.split(name)).to(device) for name in graph.masks},
            graph.classes,
        )

    def loss(self, model: nn.Module, nodes: Tensor, _step: int) -> Loss:
        """Return the mean cross-entropy in nats over `nodes`."""
        from torch.nn import functional

        from seqlab.training.losses import Loss

        logits = model(self.features, self.adjacency).logits[nodes]
        return Loss(functional.cross_entropy(logits, self.labels[nodes]))

    def scores(self, model: nn.Module) -> dict[str, dict[str, float]]:
        """Return loss in nats and accuracy on each split, from one pass of a model in eval mode."""
        import torch
        from torch.nn import functional

        with torch.no_grad():
            logits = model(self.features, self.adjacency).logits.float()
        found = {}
        for name, nodes in self.nodes.items():
            own, labels = logits[nodes], self.labels[nodes]
            found[name] = {
                "loss": float(functional.cross_entropy(own, labels)),
                "accuracy": float((own.argmax(1) == labels).double().mean()),
            }
        return found


def _network(spec: TrainGraphNetworkSpec, task: _Task) -> GraphNetwork:
    import torch

    from seqlab.models.graph_network import GraphNetwork, GraphNetworkConfig

    config = GraphNetworkConfig(
        kind=spec.kind,
        num_features=task.features.shape[1],
        hidden_size=spec.hidden_size,
        num_labels=task.classes,
        num_hidden_layers=spec.num_hidden_layers,
        dropout=spec.dropout,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)
        return GraphNetwork(config)


def _identity(spec: TrainGraphNetworkSpec, graph: Path, code: str) -> dict[str, str]:
    """Return the hashes of everything that training depends on."""
    from seqlab.provenance.hashing import sha256_path

    settings = json.dumps(spec.model_dump(mode="json", exclude={"train": _NO_NUMBER}))
    return {
        "spec": hashlib.sha256(settings.encode()).hexdigest(),
        "code": code,
        "graph": sha256_path(graph),
    }


def _train(
    model: GraphNetwork, spec: TrainGraphNetworkSpec, task: _Task, checkpoints: Checkpoints
) -> TrainResult:
    from seqlab.training.loop import Job, train

    evaluated = spec.train.evaluate_every is not None
    job = Job(
        # Every step sees the whole graph; its batch is the nodes that the loss is over.
        batch_at=lambda step: task.nodes["train"],
        loss_fn=task.loss,
        # Selection sees the validation nodes only; the test nodes are scored once, at the end.
        evaluate=(lambda network: task.scores(network)["validation"]) if evaluated else None,
        checkpoints=checkpoints,
    )
    result = train(model, spec.train, job)
    if evaluated:
        result.best.load_into(model)
    return result


def _summary(
    model: GraphNetwork,
    spec: TrainGraphNetworkSpec,
    task: _Task,
    result: TrainResult,
    graph: Path,
    context: Context,
) -> dict[str, Any]:
    """Return `training.json`; the seconds are apart from what is the same on every run."""
    from seqlab.provenance.environment import environment

    scores = task.scores(model.eval())
    baselines = json.loads((graph / BASELINES_FILE).read_text("utf-8"))
    log.info("test nodes: accuracy %.4f, baselines %s", scores["test"]["accuracy"], baselines)
    return {
        "schema": 1,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "held_out": {**scores.pop("test"), "nodes": len(task.nodes["test"])},
        "seen": scores,
        "baselines": baselines,
        "steps": result.steps,
        "stopped": result.stopped,
        "final_loss": float(result.curve["loss"][-max(1, result.steps // 20) :].mean()),
        "evaluations": result.evaluations,
        "best_step": result.best.step,
        "seconds": result.seconds,
        "resumed_from": result.resumed_from,
        "environment": environment(spec, context.code, context.threads),
    }


def _write(
    out: Path, model: GraphNetwork, result: TrainResult, summary: dict[str, Any], graph: Path
) -> None:
    from seqlab.models.graph_pretrained import save_graph_network
    from seqlab.provenance.atomic import atomic_folder, write_json, write_text

    with atomic_folder(out) as folder:
        save_graph_network(model, folder)
        # Where the graph is from, and if a rehearsal made it, holds for the network too.
        shutil.copyfile(graph / SOURCE_FILE, folder / SOURCE_FILE)
        write_text(folder / "curve.csv", result.curve.to_csv())
        write_json(folder / "training.json", summary)

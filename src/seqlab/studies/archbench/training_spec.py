"""Settings of what draws test sets and trains a variant: nothing that only figures need."""

from __future__ import annotations

from typing import Literal

from seqlab.spec import Spec, setting
from seqlab.studies.archbench.tasks_spec import Task

Local = Literal["native", "all", "none"]


class ShapeSpec(Spec):
    """The shape that all models share."""

    width: int = setting("Width of the residual stream.", ge=2)
    layers: int = setting("Layers.", ge=1)
    heads: int = setting("Heads.", ge=1)
    layer_parameters: int = setting(
        "Parameters of mixer and MLP of a layer; the MLP's width follows.",
        source="archbench.md 6.9",
        ge=1,
    )
    embedding_std: float = setting(
        "Standard deviation of initial embeddings, chosen on trials of RoPE on recall.",
        default=0.1,
        gt=0,
    )
    linear_std: float = setting(
        "The same of matrices, as they are before mixers set their own.", default=0.07, gt=0
    )


class OptimiserSpec(Spec):
    """AdamW, the same for every model; decay on matrices and on filters of convolutions alone."""

    weight_decay: float = setting("Decoupled weight decay.", default=0.1, ge=0)
    clip: float = setting("Largest gradient norm.", default=1.0, gt=0)
    warmup_fraction: float = setting("Share of steps of warm-up.", default=0.05, ge=0, le=1)
    warmup_steps: int = setting("Shortest warm-up.", unit="steps", default=50, ge=0)
    lr_floor: float = setting("Last learning rate, of the peak.", default=0.1, ge=0, le=1)
    precision: Literal["fp32", "bf16"] = setting(
        "fp32, or bf16 autocast, of every model alike; kernels for GPUs need bf16. Cells of LSTM "
        "and GRU stay in fp32.",
        default="fp32",
    )
    evaluations: int = setting("Evaluations of a whole run.", default=20, ge=1)


class PilotSpec(Spec):
    """How learning rates are chosen: successive halving with one seed of its own."""

    rates: tuple[float, ...] = setting(
        "Learning rates tried.", source="archbench.md 8", min_length=1
    )
    rungs: tuple[float, ...] = setting(
        "Share of the steps at each rung; the better half of the rates goes on to the next.",
        min_length=1,
    )
    seed: int = setting("Seed; not one of those reported.", default=100, ge=0)


class TestsSpec(Spec):
    """Settings of the step that draws and solves the stored sets of a task."""

    name: str = setting("Name of the task.")
    task: Task = setting("The task.")


class TrainingSpec(Spec):
    """What trains one variant on one task."""

    name: str = setting("Name of the task.")
    task: Task = setting("The task.")
    architecture: str = setting("Mixer.")
    local: Local = setting("Local mixing.")
    shape: ShapeSpec = setting("Shape of the model.")
    optimiser: OptimiserSpec = setting("Optimiser.")
    threads: int = setting("Compute threads.", ge=1)


class PilotRunSpec(TrainingSpec):
    """Settings of the step that chooses a learning rate."""

    pilot: PilotSpec = setting("How.")


class RunSpec(TrainingSpec):
    """Settings of one reported run."""

    seed: int = setting("Seed of weights and training stream.", ge=0)

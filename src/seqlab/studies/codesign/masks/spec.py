"""Settings of learned masks: how they are trained, scored and compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import model_validator

from seqlab.spec import Spec, setting
from seqlab.training.spec import GroupSpec, TrainSpec

HDS, HDS_TUNED, MAGNITUDE_TUNED = "hds", "hds_tuned", "magnitude_tuned"
VARIANTS = (HDS, HDS_TUNED, MAGNITUDE_TUNED)
# Parameters that are not logits of a mask.
_WEIGHTS = r"^(?!.*\.theta$)"


class TrainMasksSpec(Spec):
    """Settings of one variant: which parameters are trained, and for how long."""

    variant: Literal["hds", "hds_tuned", "magnitude_tuned"] = setting(
        "hds: logits of masks alone; hds_tuned: logits and weights; magnitude_tuned: weights "
        "under the fixed magnitude mask."
    )
    pattern: str = setting("N:M pattern of the masks.")
    train: TrainSpec = setting("Training; its learning rate is that of the logits.")
    weight_lr: float = setting("Learning rate of weights, where they are trained.")
    temperature: tuple[float, float] = setting("Temperature of the first and the last step.")
    batch: int = setting("Windows per step.")
    length: int = setting("Predicted tokens per window.")
    data_seed: int = setting("Seed of the order of training windows.")
    threads: int = setting("Compute threads.")

    def training(self) -> TrainSpec:
        """Return the training run of this variant."""
        if self.variant == MAGNITUDE_TUNED:
            return self.train.model_copy(update={"lr": self.weight_lr})
        if self.variant == HDS_TUNED:
            group = GroupSpec(match=_WEIGHTS, lr=self.weight_lr)
            return self.train.model_copy(update={"groups": (group,)})
        return self.train


class ScoreMasksSpec(Spec):
    """Settings of scoring all variants of one model on held-out text."""

    model: str = setting("Name of the model.")
    variants: tuple[str, ...] = setting("Trained variants, in the order of their folders.")
    pattern: str = setting("Pattern of the masks.")
    equal_density: str = setting("Unstructured pattern of the same density.")
    windows: int = setting("Held-out windows.")
    evaluate_length: int = setting("Predicted tokens of one.")
    precision: Literal["fp32", "bf16"] = setting("Arithmetic.")
    seed: int = setting("Seed of the choice of windows.")
    threads: int = setting("Compute threads.")


class AnalyseMasksSpec(Spec):
    """Settings of the statistics of learned masks."""

    alpha: float = setting("Level of the whole family of differences.")
    quality_margin: float = setting("Equivalence margin of bits per byte.")
    resamples: int = setting("Bootstrap resamples of the windows.")


class TabulateMasksSpec(Spec):
    """Settings of the table of learned masks."""

    scale: str = setting("Scale of the results.")


class MasksSpec(Spec):
    """Learned masks: HDS, its fair controls, and what each costs in quality."""

    models: tuple[str, ...] = setting("Models, by name in config/assets.yaml.", min_length=1)
    pattern: str = setting("N:M pattern of the masks.", source="codesign.md 1.7", default="2:4")
    equal_density: str = setting(
        "Unstructured pattern of the same density, the upper bound of magnitude masks.",
        default="unstructured50",
    )
    variants: tuple[Literal["hds", "hds_tuned", "magnitude_tuned"], ...] = setting(
        "Trained variants.", default=VARIANTS
    )
    train: TrainSpec = setting(
        "Training; steps, learning rate of the logits, decay, clipping and seed as in the "
        "original's hds_default.yaml.",
        source="codesign.md 1.7",
    )
    weight_lr: float = setting(
        "Learning rate of weights, where they are trained.", source="codesign.md 1.7", gt=0
    )
    temperature: tuple[float, float] = setting(
        "Temperature of the first and the last step, linear between.", source="codesign.md 1.7"
    )
    batch: int = setting("Windows per step.", ge=1)
    length: int = setting("Predicted tokens per window.", unit="tokens", ge=1)
    data_seed: int = setting("Seed of the order of training windows.", default=0, ge=0)
    threads: int = setting("Compute threads; sums in another order change the last bits.", ge=1)
    windows: int = setting("Held-out windows scored; the n of every difference.", ge=3)
    evaluate_length: int = setting("Predicted tokens of one.", unit="tokens", ge=1)
    alpha: float = setting("Level of the family of differences.", default=0.05, gt=0, lt=1)
    quality_margin: float = setting(
        "Equivalence margin of a difference in bits per byte.", unit="bits/byte", gt=0
    )
    resamples: int = setting("Bootstrap resamples of the windows.", default=10_000, ge=100)

    @model_validator(mode="after")
    def _check(self) -> MasksSpec:
        if not all(value > 0 for value in self.temperature):
            raise ValueError(f"temperature {self.temperature} must be positive")
        if self.train.steps is None:
            raise ValueError("train.steps: the length of mask training is in steps")
        if self.train.groups or self.train.evaluate_every is not None:
            raise ValueError("train.groups and train.evaluate_every are set by the step")
        return self

    def step_spec(self, step: str, wildcards: Mapping[str, str]) -> Spec | None:
        """Return exactly the settings that `step` reads, None for a step of another experiment."""
        own = self.model_dump()
        match step:
            case "train_masks":
                own |= {"variant": wildcards["variant"], "train": self.train}
                return TrainMasksSpec(**{name: own[name] for name in TrainMasksSpec.model_fields})
            case "score_masks":
                own |= {
                    "model": wildcards["model"],
                    "precision": self.train.precision,
                    "seed": self.train.seed,
                }
                return ScoreMasksSpec(**{name: own[name] for name in ScoreMasksSpec.model_fields})
            case "analyse_masks":
                return AnalyseMasksSpec(
                    **{name: own[name] for name in AnalyseMasksSpec.model_fields}
                )
            case "tabulate_learned_masks":
                return TabulateMasksSpec(scale=wildcards["scale"])
        return None

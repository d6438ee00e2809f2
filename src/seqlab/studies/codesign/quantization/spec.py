"""Settings, cells and step settings of the quantisation-order experiment (Figure 2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, NamedTuple

from pydantic import StringConstraints, model_validator

from seqlab.spec import Spec, setting
from seqlab.studies.codesign.timing import TimingSpec

SCHEME_PATTERN = r"per_tensor|per_channel|group[1-9][0-9]*"
Scheme = Annotated[str, StringConstraints(pattern=rf"^(?:{SCHEME_PATTERN})$")]


def group_size(scheme: str) -> int | None:
    """Return the inputs per scale of a group-wise scheme, None for the other schemes."""
    return int(scheme.removeprefix("group")) if scheme.startswith("group") else None


class Quantization(NamedTuple):
    """How a weight is quantised: scheme and bits. Its name begins the names of its arms."""

    scheme: str
    bits: int

    @property
    def name(self) -> str:
        """For example `group32/w4`."""
        return f"{self.scheme}/w{self.bits}"

    @classmethod
    def of_arm(cls, arm: str) -> tuple[Quantization, str]:
        """Split the name of an arm in a record: `group32/w4/permute_quantize`."""
        scheme, bits, name = arm.split("/")
        return cls(scheme, int(bits.removeprefix("w"))), name


class AffinitySpec(Spec):
    """How the co-activation affinity (G1) is estimated."""

    tokens: int = setting(
        "Training tokens whose activations enter the correlation.",
        unit="tokens",
        source="codesign.md 1.2 (G1)",
        ge=64,
    )
    window: int = setting("Length of one calibration window.", unit="tokens", ge=16)
    mode: Literal["abs", "relu"] = setting(
        "Affinity of a correlation R: |R| (paper) or max(R, 0) (original code).",
        source="codesign.md 1.2 (G1)",
        default="abs",
    )


class QualitySpec(Spec):
    """How quality is measured."""

    windows: int = setting("Held-out windows per run, paired over arms.", unit="windows", ge=2)
    length: int = setting("Predicted tokens per window.", unit="tokens", ge=8)


class LatencySpec(TimingSpec):
    """How latency is measured."""

    threads: int = setting("Compute threads of the timed work; at most `threads`.", ge=1)
    prefill_tokens: int = setting("Prompt length of the prefill, batch 1.", unit="tokens", ge=8)
    prefill_repeats: int = setting("Timed prefills per arm and run.", ge=3)
    decode_repeats: int = setting("Timed decode steps per arm and run.", ge=3)
    planted_slowdown: float = setting(
        "Relative slow-down of the positive control.", source="codesign.md 2.2", gt=0, lt=1
    )


class MarginsSpec(Spec):
    """Differences that do not matter, fixed before the data."""

    quality: float = setting(
        "Equivalence margin of a difference in bits per byte.", unit="bits/byte", gt=0
    )
    latency: float = setting(
        "Equivalence margin of a latency ratio (0.02 is 2 %).",
        source="codesign.md 2.20 (7)",
        gt=0,
        lt=1,
    )


class EquivalenceSpec(Spec):
    """The gate that every permuted model passes before it is timed."""

    inputs: int = setting("Sequences compared.", source="codesign.md 1.6", ge=8)
    length: int = setting("Length of each.", unit="tokens", ge=4)
    tolerance: float = setting(
        "Largest absolute difference of fp64 logits.", source="codesign.md 1.6", gt=0
    )


class SolverSpec(Spec):
    """How a layout is found."""

    method: Literal["spectral_balanced", "fiedler", "louvain", "metis", "tsp", "random"] = setting(
        "Solver of the permutation.", source="codesign.md 1.5"
    )
    block: int = setting(
        "Channels per block where the scheme has no groups.", unit="channels", ge=2
    )

    def block_for(self, scheme: str) -> int:
        """Return the block size: that of the scheme's groups where there are any."""
        return group_size(scheme) or self.block


class RunSpec(Spec):
    """Settings of one run: one model, one seed, all arms."""

    model: str = setting("Name of the model in config/assets.yaml.")
    schemes: tuple[Scheme, ...] = setting("Quantisation schemes.")
    bits: tuple[Literal[4, 8], ...] = setting("Bits per weight.", unit="bits")
    seed: int = setting("Seed of windows, solver start and arm order.")
    affinity: AffinitySpec = setting("Affinity.")
    solver: SolverSpec = setting("Solver.")
    quality: QualitySpec = setting("Quality.")
    latency: LatencySpec = setting("Latency.")
    equivalence: EquivalenceSpec = setting("Equivalence gate.")
    threads: int = setting("Compute threads of all that is not timed.", ge=1)

    def quantizations(self) -> Iterator[Quantization]:
        """Yield every scheme with every number of bits."""
        for scheme in self.schemes:
            for bits in self.bits:
                yield Quantization(scheme, bits)


class CollectSpec(Spec):
    """Settings of the step that makes one tidy table of all run records."""

    runs: tuple[str, ...] = setting("MODEL/seed-N of every run.")

    def members(self, argument: str) -> list[str]:
        """Return the files that the step reads below the folder given as `argument`."""
        return [f"{run}/record.json" for run in self.runs]


class AnalyseSpec(Spec):
    """Settings of the statistics."""

    parity_seeds: int = setting("Seeds of the original study's n, a prefix of all seeds.", ge=2)
    alpha: float = setting("Level of every test.", gt=0, lt=1)
    margins: MarginsSpec = setting("Equivalence margins.")


class FactsSpec(Spec):
    """Settings that the caption of Figure 2 states."""

    scale: str = setting("Scale of the results.")
    seeds: int = setting("Runs per cell.")
    models: tuple[str, ...] = setting("Models, in the order of the step's inputs.")
    quality: QualitySpec = setting("Quality.")
    planted_slowdown: float = setting("Relative slow-down of the positive control.")
    margins: MarginsSpec = setting("Equivalence margins.")
    corpora: tuple[str, ...] = setting("CORPUS/TOKENIZER of each model.", default=())


class DrawSpec(Spec):
    """Settings of the figure."""

    scale: str = setting("Scale of the results.")


class PlainSpec(Spec):
    """Settings of a step that has none."""


class QuantizationSpec(Spec):
    """Figure 2: three orders of quantising and permuting, over schemes and bits."""

    models: tuple[str, ...] = setting("Models of config/assets.yaml.", min_length=1)
    schemes: tuple[Scheme, ...] = setting("Quantisation schemes.", min_length=1)
    bits: tuple[Literal[4, 8], ...] = setting("Bits per weight.", unit="bits", min_length=1)
    seeds: int = setting("Runs per cell; the n of every verdict.", ge=3)
    parity_seeds: int = setting(
        "Runs per cell in the original study, reported beside.", source="codesign.md 2.2", ge=2
    )
    alpha: float = setting("Level of every test.", default=0.05, gt=0, lt=1)
    margins: MarginsSpec = setting("Equivalence margins.")
    threads: int = setting("Compute threads of a run.", ge=1)
    affinity: AffinitySpec = setting("Affinity.")
    solver: SolverSpec = setting("Solver.")
    quality: QualitySpec = setting("Quality.")
    latency: LatencySpec = setting("Latency.")
    equivalence: EquivalenceSpec = setting("Equivalence gate.")

    @model_validator(mode="after")
    def _check(self) -> QuantizationSpec:
        if self.parity_seeds > self.seeds:
            raise ValueError("parity_seeds must not exceed seeds")
        for name in ("models", "schemes", "bits"):
            values = getattr(self, name)
            if len(set(values)) != len(values):
                raise ValueError(f"{name} holds a value twice")
        if self.latency.threads > self.threads:
            raise ValueError("latency.threads must not exceed threads")
        if self.affinity.tokens % self.affinity.window:
            raise ValueError("affinity.tokens must be a multiple of affinity.window")
        return self

    def runs(self) -> list[str]:
        """Return the folder of every run below `runs/`."""
        return [f"{model}/seed-{seed}" for model in self.models for seed in range(self.seeds)]

    def step_spec(self, step: str, wildcards: Mapping[str, str]) -> Spec | None:
        """Return exactly the settings that `step` reads, None for a step of another experiment."""
        match step:
            case "run_quantization":
                return RunSpec(
                    model=wildcards["model"],
                    schemes=self.schemes,
                    bits=self.bits,
                    seed=int(wildcards["seed"]),
                    affinity=self.affinity,
                    solver=self.solver,
                    quality=self.quality,
                    latency=self.latency,
                    equivalence=self.equivalence,
                    threads=self.threads,
                )
            case "collect_quantization":
                return CollectSpec(runs=tuple(self.runs()))
            case "analyse_quantization":
                return AnalyseSpec(
                    parity_seeds=self.parity_seeds,
                    alpha=self.alpha,
                    margins=self.margins,
                )
            case "draw_quantization":
                return DrawSpec(scale=wildcards["scale"])
            case "facts_quantization":
                return FactsSpec(
                    scale=wildcards["scale"],
                    seeds=self.seeds,
                    models=self.models,
                    quality=self.quality,
                    planted_slowdown=self.latency.planted_slowdown,
                    margins=self.margins,
                )
            case "tabulate_quantization":
                return PlainSpec()
        return None

"""One run of Figure 2: one model, one seed, all arms in one process.

The arms of one scheme and number of bits are built, checked, scored, timed against each other and
dropped before those of the next: a run holds one such set in memory at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from seqlab.data.batches import sample_windows
from seqlab.data.tokens import Tokens
from seqlab.measure.latency import Latency, Warmup, measure_interleaved, planted_slowdown
from seqlab.measure.load import ForeignLoad, measure_quietly
from seqlab.models.equivalence import Equivalence, Reference, require_equivalence
from seqlab.models.generation import decode_step, new_state, prefill
from seqlab.models.mamba import MambaForCausalLM
from seqlab.models.permuting import Layout, Site
from seqlab.provenance.record import Check, Metric
from seqlab.studies.codesign.canonical import stream
from seqlab.studies.codesign.quantization import names
from seqlab.studies.codesign.quantization.arms import Arm, Quantizer, build_arms
from seqlab.studies.codesign.quantization.layouts import (
    Affinities,
    calibration_windows,
    intra_block_affinity,
    layout_similarity,
    measure_affinities,
    random_layout,
    relative_change,
    solve_layout,
)
from seqlab.studies.codesign.quantization.spec import Quantization, RunSpec
from seqlab.threads import fewer_threads
from seqlab.training.evaluate import evaluate_windows

# Relative difference of fp32 logits between the quantised product and dequantised weights.
PRODUCT_TOLERANCE = 1e-3
# Tokens of the prompt on which it is checked: more than the matrix-vector kernels take.
CHECKED_TOKENS = 32


@dataclass
class Run:
    """Everything that the arms of one run share.

    Attributes:
        spec: Settings of the run.
        model: The dense model, in its original order.
        sites: Its permutation sites.
        train: Training tokens, for calibration.
        held_out: Held-out tokens, for quality.
        backend: Backend of the quantised product.
    """

    spec: RunSpec
    model: MambaForCausalLM
    sites: Mapping[str, Site]
    train: Tokens
    held_out: Tokens
    backend: str
    _affinities: dict[str, Affinities] = field(default_factory=dict, init=False, repr=False)
    _layouts: dict[tuple[str, int], Layout] = field(default_factory=dict, init=False, repr=False)
    _quality: dict[str, Quality] = field(default_factory=dict, init=False, repr=False)

    @property
    def device(self) -> torch.device:
        """Where the model lives."""
        return next(self.model.parameters()).device

    @cached_property
    def calibration(self) -> Tensor:
        """`(W, T)` token ids on the model's device."""
        windows = calibration_windows(self.train, self.spec.affinity, self.spec.seed)
        return windows.to(self.device)

    @cached_property
    def windows(self) -> np.ndarray:
        """`(W, T + 1)` held-out windows, the same for every arm."""
        quality = self.spec.quality
        rng = stream(self.spec.seed, "held_out")
        return sample_windows(self.held_out, quality.length + 1, quality.windows, rng)

    @cached_property
    def dense(self) -> Arm:
        """The model as it is."""
        return Arm(self.model, self.model, Layout(self.sites))

    def build(self, quantization: Quantization) -> dict[str, Arm]:
        """Return all arms but the planted one, which is a slowed call and no model of its own."""
        return build_arms(
            self.dense,
            Quantizer(*quantization, self.backend),
            random=random_layout(self.sites, stream(self.spec.seed, "random_layout")),
            solve=lambda arm: self.layout(arm, self.block(quantization)),
        )

    def block(self, quantization: Quantization) -> int:
        """Return the channels per block of every layout of these arms."""
        return self.spec.solver.block_for(quantization.scheme)

    def forget(self) -> None:
        """Drop what was found of every function but the dense one's."""
        for found in (self._affinities, self._quality):
            for function in set(found) - {self.dense.function}:
                del found[function]
        for function, block in set(self._layouts):
            if function != self.dense.function:
                del self._layouts[function, block]

    def affinities(self, arm: Arm) -> Affinities:
        """Return the affinities of an arm's function, measured once for all arms that share it."""
        if arm.function not in self._affinities:
            self._affinities[arm.function] = measure_affinities(
                arm.canonical(), self.calibration, mode=self.spec.affinity.mode
            )
        return self._affinities[arm.function]

    def layout(self, arm: Arm, block: int) -> Layout:
        """Return the layout solved on an arm's activations, once for all arms of its function."""
        key = (arm.function, block)
        if key not in self._layouts:
            self._layouts[key] = solve_layout(
                self.affinities(arm), self.sites, self.spec.solver, block, self.spec.seed
            )
        return self._layouts[key]

    def quality(self, arm: Arm) -> Quality:
        """Return the quality of an arm's function, measured once for all arms that share it."""
        if arm.function not in self._quality:
            self._quality[arm.function] = _score(self, arm.canonical())
        return self._quality[arm.function]

    @cached_property
    def dense_logits(self) -> Tensor:
        """Logits of the dense model on the windows of `probe`, fp64."""
        return _logits(self.model, self.probe)

    @property
    def probe(self) -> Tensor:
        """`(2, T)` tokens of held-out windows on which logits are compared."""
        return torch.from_numpy(self.windows[:2, :-1]).to(self.device)


def check_layouts(run: Run, arms: Mapping[str, Arm]) -> dict[str, Equivalence]:
    """Return the equivalence gate of each arm: permuted and canonical order agree in fp64.

    Raises:
        UserError: An arm's layout changes its function; it must not be timed.
    """
    equivalence = run.spec.equivalence
    rng = stream(run.spec.seed, "equivalence")
    inputs = sample_windows(run.held_out, equivalence.length, equivalence.inputs, rng)
    ids = torch.from_numpy(inputs).to(run.device)
    references: dict[str, Reference] = {}
    found = {}
    for name, arm in arms.items():
        if arm.layout == Layout(run.sites):
            continue
        if arm.function not in references:
            references[arm.function] = Reference(arm.canonical(), ids)
        found[name] = require_equivalence(
            references[arm.function],
            arm.simulated,
            tolerance=equivalence.tolerance,
            where=f"arm {name}",
        )
    return found


@dataclass(frozen=True)
class Quality:
    """Quality of one arm: a property of its function, so measured with weights in canonical order.

    Arms that share a function are scored once.

    Attributes:
        nats: `(W,)` summed loss of each window.
        bits_per_byte: Over all windows.
        logit_error: Relative RMS difference of the logits from the dense model's.
    """

    nats: np.ndarray
    bits_per_byte: float
    logit_error: float


def _score(run: Run, model: MambaForCausalLM) -> Quality:
    score = evaluate_windows(model, run.windows, run.held_out.token_bytes)
    error = (_logits(model, run.probe) - run.dense_logits).pow(2).mean().sqrt()
    return Quality(
        nats=score.nll,
        bits_per_byte=score.bits_per_byte,
        logit_error=float(error / run.dense_logits.pow(2).mean().sqrt()),
    )


def _logits(model: nn.Module, ids: Tensor) -> Tensor:
    with torch.inference_mode():
        return model(ids).logits.double()


def check_products(run: Run, arms: Mapping[str, Arm]) -> dict[str, Check]:
    """Return, for each quantised arm, whether K5 computes what its dequantised weights compute."""
    ids = torch.from_numpy(run.windows[:1, :CHECKED_TOKENS]).to(run.device)
    checks = {}
    for name, arm in arms.items():
        if arm.real is arm.simulated:
            continue
        # A prompt and a single token: the product has a kernel for each.
        error = max(
            _relative_error(_logits(arm.real, part), _logits(arm.simulated, part))
            for part in (ids, ids[:, :1])
        )
        checks[name] = Check(
            passed=error <= PRODUCT_TOLERANCE,
            value=error,
            tolerance=PRODUCT_TOLERANCE,
            detail="largest logit difference of the quantised product from its dequantised weights",
        )
    return checks


def _relative_error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


def measure_latency(
    run: Run, arms: Mapping[str, Arm], quantization: Quantization
) -> tuple[dict[str, Latency], list[ForeignLoad]]:
    """Return prefill and decode latencies of every quantised arm, interleaved, and the load beside.

    Raises:
        UserError: Other processes used more than the limit in every attempt.
    """
    latency = run.spec.latency
    models = {name: arm.real for name, arm in arms.items() if name != names.DENSE}
    prompt = torch.from_numpy(
        sample_windows(run.held_out, latency.prefill_tokens, 1, stream(run.spec.seed, "prompt"))
    ).to(run.device)

    rng = stream(run.spec.seed, f"arm_order/{quantization.name}")

    def measure() -> dict[str, Latency]:
        return {
            "prefill_ms": _timed(run, _prefills(models, prompt), latency.prefill_repeats, rng),
            "decode_ms": _timed(run, _decodes(models, prompt), latency.decode_repeats, rng),
        }

    with torch.inference_mode(), fewer_threads(latency.threads):
        return measure_quietly(
            measure,
            limit=latency.max_foreign_load,
            attempts=latency.attempts,
            key="codesign.quantization.latency.max_foreign_load",
        )


def _timed(
    run: Run, calls: dict[str, Callable[[], object]], repeats: int, rng: np.random.Generator
) -> Latency:
    latency = run.spec.latency
    calls[names.PLANTED] = planted_slowdown(calls[names.QUANTIZE_ONLY], latency.planted_slowdown)
    return measure_interleaved(
        calls,
        repeats=repeats,
        rng=rng,
        device=str(run.device),
        warmup=Warmup(window=3, max_calls=latency.warmup_max),
        threads=latency.threads,
    )


def _prefills(
    models: Mapping[str, MambaForCausalLM], prompt: Tensor
) -> dict[str, Callable[[], object]]:
    return {
        name: lambda model=model: prefill(model, prompt, new_state(model, batch=1))  # type: ignore[misc]
        for name, model in models.items()
    }


def _decodes(
    models: Mapping[str, MambaForCausalLM], prompt: Tensor
) -> dict[str, Callable[[], object]]:
    calls: dict[str, Callable[[], object]] = {}
    for name, model in models.items():
        state = new_state(model, batch=1)
        # Any state will do: a step of a recurrence costs the same after any prompt.
        prefill(model, prompt[:, :CHECKED_TOKENS], state)
        token = prompt[:, -1].clone()
        calls[name] = lambda model=model, token=token, state=state: decode_step(model, token, state)  # type: ignore[misc]
    return calls


def layout_metrics(run: Run, arms: Mapping[str, Arm], block: int) -> dict[str, dict[str, Metric]]:
    """Return what each arm's layout is worth on the activations of its own final function."""
    dense_layout = run.layout(arms[names.DENSE], block)
    dense = run.affinities(arms[names.DENSE])
    quantize_first = arms[names.QUANTIZE_PERMUTE].layout
    sites = sorted(dense)
    result = {}
    for name in (names.DENSE, names.QUANTIZE_ONLY, *names.STRATEGIES):
        layout, own = arms[name].layout, run.affinities(arms[name])
        values = {
            "intra_block_affinity": intra_block_affinity(own, layout, block),
            "affinity_change": relative_change(own, dense),
            "layout_similarity_to_dense": layout_similarity(layout, dense_layout, sites, block),
            "layout_similarity_to_quantize_permute": layout_similarity(
                layout, quantize_first, sites, block
            ),
        }
        result[name] = {
            metric: Metric(value=value, unit="1", provenance="measured")
            for metric, value in values.items()
        }
    return result

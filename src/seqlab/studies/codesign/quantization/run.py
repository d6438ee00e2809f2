"""One run of Figure 2: one cell, one seed, all arms in one process."""

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
from seqlab.models.equivalence import Equivalence, require_equivalence
from seqlab.models.generation import decode_step, new_state
from seqlab.models.mamba import MambaForCausalLM
from seqlab.models.permuting import Layout, Site
from seqlab.provenance.record import Check, Metric
from seqlab.studies.codesign.quantization import arms as names
from seqlab.studies.codesign.quantization.arms import Arm, Quantizer, build_arms, canonical
from seqlab.studies.codesign.quantization.layouts import (
    Affinities,
    calibration_windows,
    intra_block_affinity,
    layout_similarity,
    measure_affinities,
    random_layout,
    relative_change,
    solve_layout,
    stream,
)
from seqlab.studies.codesign.quantization.spec import RunSpec
from seqlab.training.evaluate import evaluate_windows

# Relative difference of fp32 logits between the quantised product and dequantised weights.
PRODUCT_TOLERANCE = 1e-3


@dataclass
class Run:
    """Everything that the arms of one run share.

    Attributes:
        spec: Settings of the run.
        model: The dense model, in its original order.
        sites: Its permutation sites.
        train: Training tokens, for calibration.
        held_out: Held-out tokens, for quality.
        dense_layout: The layout solved on the dense model for this seed and block size.
        backend: Backend of the quantised product.
    """

    spec: RunSpec
    model: MambaForCausalLM
    sites: Mapping[str, Site]
    train: Tokens
    held_out: Tokens
    dense_layout: Layout
    backend: str
    _affinities: dict[str, Affinities] = field(default_factory=dict, init=False, repr=False)

    @property
    def block(self) -> int:
        """Channels per block of every layout of this cell."""
        return self.spec.solver.block_for(self.spec.scheme)

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

    def build(self) -> dict[str, Arm]:
        """Return all arms but the planted one, which is a slowed call and no model of its own."""
        return build_arms(
            self.model,
            self.sites,
            Quantizer(self.spec.scheme, self.spec.bits, self.backend),
            dense_layout=self.dense_layout,
            random=random_layout(self.sites, stream(self.spec.seed, "random_layout")),
            resolve=self._solve_on,
        )

    def affinities(self, arm: Arm) -> Affinities:
        """Return the affinities of an arm's function, measured once, in original labels."""
        if arm.function not in self._affinities:
            self._affinities[arm.function] = measure_affinities(
                arm.simulated, self.calibration, arm.layout, mode=self.spec.affinity.mode
            )
        return self._affinities[arm.function]

    def _solve_on(self, arm: Arm) -> Layout:
        return solve_layout(
            self.affinities(arm), self.sites, self.spec.solver, self.block, self.spec.seed
        )


def check_layouts(run: Run, arms: Mapping[str, Arm]) -> dict[str, Equivalence]:
    """Return the equivalence gate of each arm: permuted and canonical order agree in fp64.

    Raises:
        UserError: An arm's layout changes its function; it must not be timed.
    """
    equivalence = run.spec.equivalence
    rng = stream(run.spec.seed, "equivalence")
    inputs = sample_windows(run.held_out, equivalence.length, equivalence.inputs, rng)
    ids = torch.from_numpy(inputs).to(run.device)
    return {
        name: require_equivalence(
            canonical(arm),
            arm.simulated,
            ids,
            tolerance=equivalence.tolerance,
            where=f"arm {name}",
        )
        for name, arm in arms.items()
        if arm.layout != Layout(run.sites)
    }


@dataclass(frozen=True)
class Quality:
    """Quality of one arm: a property of its function, so measured with weights in canonical order.

    Two arms whose canonical weights are equal bit for bit are one function and are scored once.

    Attributes:
        function: SHA-256 over the canonical weights.
        nats: `(W,)` summed loss of each window.
        bits_per_byte: Over all windows.
        logit_error: Relative RMS difference of the logits from the dense model's.
    """

    function: str
    nats: np.ndarray
    bits_per_byte: float
    logit_error: float


def measure_quality(run: Run, arms: Mapping[str, Arm]) -> dict[str, Quality]:
    """Return the quality of every arm on the same held-out windows."""
    probe = torch.from_numpy(run.windows[:4, :-1]).to(run.device)
    reference = _logits(run.model, probe)
    scored: dict[str, Quality] = {}
    result: dict[str, Quality] = {}
    for name, arm in arms.items():
        model = canonical(arm)
        function = _digest(model)
        if function not in scored:
            score = evaluate_windows(model, run.windows, run.held_out.token_bytes)
            error = (_logits(model, probe) - reference).pow(2).mean().sqrt()
            scored[function] = Quality(
                function=function,
                nats=score.nll,
                bits_per_byte=score.bits_per_byte,
                logit_error=float(error / reference.pow(2).mean().sqrt()),
            )
        result[name] = scored[function]
    return result


def _logits(model: nn.Module, ids: Tensor) -> Tensor:
    with torch.inference_mode():
        return model(ids).logits.double()


def _digest(model: nn.Module) -> str:
    import hashlib

    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def check_products(run: Run, arms: Mapping[str, Arm]) -> dict[str, Check]:
    """Return, for each quantised arm, whether K5 computes what its dequantised weights compute."""
    ids = torch.from_numpy(run.windows[:1, :-1]).to(run.device)
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
    run: Run, arms: Mapping[str, Arm], threads: int
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

    def measure() -> dict[str, Latency]:
        return {
            "prefill_ms": _timed(run, _prefills(models, prompt), latency.prefill_repeats, threads),
            "decode_ms": _timed(run, _decodes(models, prompt), latency.decode_repeats, threads),
        }

    with torch.inference_mode():
        return measure_quietly(
            measure,
            limit=latency.max_foreign_load,
            attempts=latency.attempts,
            key="codesign.quantization.latency.max_foreign_load",
        )


def _timed(run: Run, calls: dict[str, Callable[[], object]], repeats: int, threads: int) -> Latency:
    latency = run.spec.latency
    calls[names.PLANTED] = planted_slowdown(calls[names.QUANTIZE_ONLY], latency.planted_slowdown)
    return measure_interleaved(
        calls,
        repeats=repeats,
        rng=stream(run.spec.seed, "arm_order"),
        device=str(run.device),
        warmup=Warmup(window=3, max_calls=latency.warmup_max),
        threads=threads,
    )


def _prefills(models: Mapping[str, nn.Module], prompt: Tensor) -> dict[str, Callable[[], object]]:
    return {name: lambda model=model: model(prompt) for name, model in models.items()}  # type: ignore[misc]


def _decodes(
    models: Mapping[str, MambaForCausalLM], prompt: Tensor
) -> dict[str, Callable[[], object]]:
    calls: dict[str, Callable[[], object]] = {}
    for name, model in models.items():
        state = new_state(model, batch=1)
        model(prompt, state=state)
        token = prompt[:, -1].clone()
        calls[name] = lambda model=model, token=token, state=state: decode_step(model, token, state)  # type: ignore[misc]
    return calls


def layout_metrics(run: Run, arms: Mapping[str, Arm]) -> dict[str, dict[str, Metric]]:
    """Return what each arm's layout is worth on the activations of its own final function."""
    dense = run.affinities(arms[names.DENSE])
    quantize_first = arms[names.QUANTIZE_PERMUTE].layout
    sites = sorted(dense)
    result = {}
    for name in (names.DENSE, names.QUANTIZE_ONLY, *names.STRATEGIES):
        layout, own = arms[name].layout, run.affinities(arms[name])
        values = {
            "intra_block_affinity": intra_block_affinity(own, layout, run.block),
            "affinity_change": relative_change(own, dense),
            "layout_similarity_to_dense": layout_similarity(
                layout, run.dense_layout, sites, run.block
            ),
            "layout_similarity_to_quantize_permute": layout_similarity(
                layout, quantize_first, sites, run.block
            ),
        }
        result[name] = {
            metric: Metric(value=value, unit="1", provenance="measured")
            for metric, value in values.items()
        }
    return result

"""Figure 1: the first block of a Mamba in several orders, against the length of a sequence.

K0 is the whole block with dense products: no address depends on the order. K6 is the scan of the
block after pruning: channels of little energy are set to zero first, wherever they are, and the
scan skips blocks of channels of which none is left; how many there are is a matter of the order.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seqlab.errors import UserError
from seqlab.kernels.block_scan import active_blocks, block_scan
from seqlab.kernels.selective_scan import selective_scan
from seqlab.layout.permutation import Permutation
from seqlab.models.masks import keep_top
from seqlab.models.permuting import Site
from seqlab.provenance.record import Check, Metric
from seqlab.studies.codesign.canonical import stream
from seqlab.studies.codesign.sweeps.spec import LayerSpec
from seqlab.studies.codesign.workbench import names
from seqlab.studies.codesign.workbench.bench import PRODUCT_TOLERANCE, Bench, Found
from seqlab.studies.codesign.workbench.layouts import (
    activation_affinities,
    random_order,
    solve_order,
)
from seqlab.studies.codesign.workbench.mamba import MambaSubject
from seqlab.studies.codesign.workbench.metrics import latency_metric
from seqlab.studies.codesign.workbench.names import DENSE_KERNEL

ORIGINAL, AGAIN, RANDOM, OURS = "original", "original_aa", "random", "ours"
SCAN_KERNEL = "block_scan"
_ARM_OF = {
    ORIGINAL: names.DENSE,
    AGAIN: names.DENSE_AA,
    RANDOM: names.RANDOM,
    OURS: names.PERMUTE_ONLY,
}
_BLOCK = "backbone.layers.0"
_MIXER = f"{_BLOCK}.mixer"
_INNER, _HIDDEN = "inner.0", "hidden"


@dataclass(frozen=True)
class ScanInputs:
    """What a scan over T steps of I channels reads, for one sequence, and which channels are left.

    Attributes:
        u: Inputs (1, T, I).
        delta: Steps before softplus (1, T, I).
        a: Continuous state matrix (I, N).
        b: Input map (1, T, N).
        c: Output map (1, T, N).
        d: Skip connection (I,).
        z: Gates (1, T, I).
        alive: Channels that are left (I,), booleans.
    """

    u: Tensor
    delta: Tensor
    a: Tensor
    b: Tensor
    c: Tensor
    d: Tensor
    z: Tensor
    alive: Tensor

    def arranged(self, order: Permutation) -> ScanInputs:
        """Return copies with the channels in another order."""
        last = {
            name: order.apply(getattr(self, name), axis=-1).contiguous()
            for name in ("u", "delta", "d", "z", "alive")
        }
        return replace(self, a=order.apply(self.a).contiguous(), **last)

    def skipping(self, block: int) -> Callable[[], Tensor]:
        """Return the scan that skips blocks of channels of which none is left."""
        return partial(
            block_scan,
            *(self.u, self.delta, self.a, self.b, self.c),
            alive=self.alive,
            block=block,
            d=self.d,
            z=self.z,
        )

    def complete(self) -> Tensor:
        """Return the scan over every channel, pruned or not: the reference."""
        y, _ = selective_scan(self.u, self.delta, self.a, self.b, self.c, d=self.d, z=self.z)
        return y


def measure_layer(bench: Bench, spec: LayerSpec, found: Found) -> None:
    """Check and time the block in every order, at every length, under both kernels.

    Raises:
        UserError: An order changes the function, or the machine is loaded.
    """
    subject = bench.subject
    assert isinstance(subject, MambaSubject)
    # Only what the first block reads and makes is laid out.
    subject.layers = tuple(name for name in subject.layers if name.startswith(f"{_BLOCK}."))
    _measure_dense(bench, subject, spec, found)
    _measure_scan(bench, subject, spec, found)


def _measure_dense(bench: Bench, subject: MambaSubject, spec: LayerSpec, found: Found) -> None:
    arms = bench.build(list(_ARM_OF.values()))
    gates = bench.gate(arms)
    rng = stream(bench.seed, "allocation/block")
    blocks: dict[str, nn.Module] = {}
    for order in rng.permutation(list(_ARM_OF)).tolist():
        blocks[order] = copy.deepcopy(arms[_ARM_OF[order]].model.get_submodule(_BLOCK))
    back = {order: arms[arm].order.features[_HIDDEN].inverse() for order, arm in _ARM_OF.items()}
    for length in spec.lengths:
        ids = subject.text(1, length)
        calls: dict[str, Callable[[], Tensor]] = {}
        for order in rng.permutation(list(_ARM_OF)).tolist():
            embeddings = arms[_ARM_OF[order]].model.get_submodule("backbone.embeddings")
            calls[order] = partial(blocks[order], embeddings(ids).detach())
        checks = _checked(calls, back, calls[ORIGINAL])
        place = f"{DENSE_KERNEL}/{length}"
        latency, loads = bench.time(dict(calls), spec.calls.calls(length), place)
        found.add_latency(f"{place}/latency", latency, loads)
        for order, arm in _ARM_OF.items():
            metrics = {"latency_ms": latency_metric(latency, order)}
            found.add(f"{place}/{order}", metrics, {**gates[arm], "product": checks[order]})


def _measure_scan(bench: Bench, subject: MambaSubject, spec: LayerSpec, found: Found) -> None:
    alive = living_channels(subject, spec.pruned)
    pruned = without_channels(subject.model, subject.sites[_INNER], alive)
    affinities = activation_affinities(subject, pruned, bench.spec.solver)
    solved = solve_order(subject, affinities, bench.spec.solver, bench.seed).features[_INNER]
    drawn = random_order(subject, stream(bench.seed, "random_order")).features[_INNER]
    original = Permutation.identity(len(alive))
    orders = {ORIGINAL: original, AGAIN: original, RANDOM: drawn, OURS: solved}
    back = {name: order.inverse() for name, order in orders.items()}
    rng = stream(bench.seed, "allocation/scan")
    for length in spec.lengths:
        inputs = scan_inputs(pruned, subject.text(1, length), alive)
        arranged: dict[str, ScanInputs] = {}
        for name in rng.permutation(list(orders)).tolist():
            arranged[name] = inputs.arranged(orders[name])
        calls = {name: one.skipping(spec.block) for name, one in arranged.items()}
        checks = _checked(calls, back, inputs.complete)
        place = f"{SCAN_KERNEL}/{length}"
        latency, loads = bench.time(dict(calls), spec.calls.calls(length), place)
        found.add_latency(f"{place}/latency", latency, loads)
        for name in orders:
            blocks = active_blocks(arranged[name].alive, spec.block)
            share = float(blocks.double().mean())
            metrics = {
                "latency_ms": latency_metric(latency, name),
                "scanned_blocks": Metric(value=share, unit="1", provenance="counted"),
            }
            found.add(f"{place}/{name}", metrics, {"product": checks[name]})


def living_channels(subject: MambaSubject, pruned: float) -> Tensor:
    """Return which inner channels of the first block stay (I,): those of the most energy.

    Energy is the mean square of what a channel hands to the output projection, over the calibration
    text.

    Args:
        subject: The model.
        pruned: Share of channels that go.
    """
    energies: list[Tensor] = []

    def observe(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        energies.append(arguments[0].double().square().mean((0, 1)))

    hook = subject.model.get_submodule(f"{_MIXER}.out_proj").register_forward_pre_hook(observe)
    try:
        with torch.inference_mode():
            subject.calibrate(subject.model)
    finally:
        hook.remove()
    energy = torch.stack(energies).mean(0)
    kept = len(energy) - round(pruned * len(energy))
    return keep_top(energy[None], kept)[0]


def without_channels(model: nn.Module, site: Site, alive: Tensor) -> nn.Module:
    """Return a copy in which inner channels of the first block hand on nothing but zeros.

    Their rows of the input projection, of the gate and of the convolution are set to zero: input,
    gate and output of their scan are zero then.

    Args:
        model: A Mamba in original order.
        site: The inner channels of its first block.
        alive: Channels that stay (I,).
    """
    result = copy.deepcopy(model)
    state = dict(result.named_parameters())
    with torch.no_grad():
        for axis in site.axes:
            module = axis.tensor.rsplit(".", 1)[0]
            if axis.axis == 0 and module in (f"{_MIXER}.in_proj", f"{_MIXER}.conv1d"):
                for start in axis.segments:
                    state[axis.tensor][start : start + site.size][~alive] = 0.0
    return result


def scan_inputs(model: nn.Module, ids: Tensor, alive: Tensor) -> ScanInputs:
    """Return what the scan of the first block reads on token ids (1, T), each a tensor of its own.

    Args:
        model: A Mamba in original order.
        ids: Tokens.
        alive: Channels that are left (I,).
    """
    mixer: Any = model.get_submodule(_MIXER)
    seen: dict[str, Tensor] = {}
    hooks = []
    for name in ("in_proj", "x_proj", "dt_proj"):

        def observe(
            module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor, name: str = name
        ) -> None:
            seen[f"{name}.in"], seen[f"{name}.out"] = inputs[0], output

        hooks.append(mixer.get_submodule(name).register_forward_hook(observe))
    try:
        with torch.inference_mode():
            hidden = model.get_submodule("backbone.embeddings")(ids)
            model.get_submodule(_BLOCK)(hidden)
    finally:
        for hook in hooks:
            hook.remove()
    inner, states = mixer.A_log.shape
    rank = seen["x_proj.out"].shape[-1] - 2 * states
    _, b, c = seen["x_proj.out"].split([rank, states, states], -1)
    parts = {
        "u": seen["x_proj.in"],
        "delta": seen["dt_proj.out"],
        "a": -torch.exp(mixer.A_log.detach().float()),
        "b": b,
        "c": c,
        "d": mixer.D.detach(),
        "z": seen["in_proj.out"].split(inner, -1)[1],
    }
    return ScanInputs(**{name: part.clone() for name, part in parts.items()}, alive=alive)


def _checked(
    calls: Mapping[str, Callable[[], Tensor]],
    back: Mapping[str, Permutation],
    reference: Callable[[], Tensor],
) -> dict[str, Check]:
    """Return order -> whether its output, features back in original order, is the reference's.

    Raises:
        UserError: One is not; it must not be timed.
    """
    checks = {}
    with torch.inference_mode():
        wanted = reference().double()
        for name, call in calls.items():
            found = back[name].apply(call().double(), axis=-1)
            error = float((found - wanted).abs().max() / wanted.abs().max())
            if not (np.isfinite(error) and error <= PRODUCT_TOLERANCE):
                raise UserError(
                    f"its output differs by {error:.3g} of its size from the original order's",
                    where=f"order {name}",
                )
            checks[name] = Check(passed=True, value=error, tolerance=PRODUCT_TOLERANCE, detail="")
    return checks

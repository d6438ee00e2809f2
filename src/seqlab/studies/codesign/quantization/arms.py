"""The arms of Figure 2: what is quantised, in which order, and in which layout it ends.

Groups are those of the order in force when a weight is quantised; a later permutation moves values
and never changes them. Each arm exists twice: simulated (dequantised fp32 weights, for quality) and
real (integer codes under kernel K5, for latency).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from seqlab.models.mamba import MambaForCausalLM
from seqlab.models.permuting import Layout
from seqlab.models.quantize import SIMULATED, quantize_model
from seqlab.studies.codesign import canonical
from seqlab.studies.codesign.canonical import function_digest, in_layout, in_original_order
from seqlab.studies.codesign.quantization.names import (
    DENSE,
    PERMUTE_QUANTIZE,
    QUANTIZE_ONLY,
    QUANTIZE_ONLY_AA,
    QUANTIZE_PERMUTE,
    RANDOM_QUANTIZE,
    REPERMUTE,
)


@dataclass(frozen=True)
class Arm:
    """One arm of one run.

    Attributes:
        simulated: The model with dequantised weights, in `layout`.
        real: The same function computed by the quantised product, in `layout`; for the dense arm
            the model itself.
        layout: The layout that both stand in.
    """

    simulated: MambaForCausalLM
    real: MambaForCausalLM
    layout: Layout

    def canonical(self) -> MambaForCausalLM:
        """Return the function of this arm with all weights in the original order, to read only."""
        return in_original_order(self.simulated, self.layout)

    @cached_property
    def function(self) -> str:
        """SHA-256 over the canonical weights: arms that agree in it compute one function."""
        return function_digest(self.canonical())


@dataclass(frozen=True)
class Quantizer:
    """How a model is quantised: scheme, bits and the backend of the real product."""

    scheme: str
    bits: int
    backend: str

    def __call__(self, model: MambaForCausalLM, layout: Layout) -> Arm:
        """Return `model`, which stands in `layout`, quantised."""
        return Arm(
            simulated=quantize_model(model, self.scheme, self.bits, execution=SIMULATED),
            real=quantize_model(model, self.scheme, self.bits, execution=self.backend),
            layout=layout,
        )


def build_arms(
    dense: Arm, quantizer: Quantizer, *, random: Layout, solve: Callable[[Arm], Layout]
) -> dict[str, Arm]:
    """Return every arm of one scheme and number of bits.

    Args:
        dense: The unquantised model in its original order; left as it is.
        quantizer: Scheme, bits and backend.
        random: A random layout.
        solve: Solves a layout on the activations of an arm.
    """
    model, identity, layout = dense.simulated, dense.layout, solve(dense)
    quantized = quantizer(model, identity)
    permuted = quantizer(in_layout(model, layout), layout)
    return {
        DENSE: dense,
        QUANTIZE_ONLY: quantized,
        QUANTIZE_ONLY_AA: copy.deepcopy(quantized),
        RANDOM_QUANTIZE: quantizer(in_layout(model, random), random),
        QUANTIZE_PERMUTE: moved(quantized, solve(quantized)),
        PERMUTE_QUANTIZE: permuted,
        REPERMUTE: moved(permuted, solve(permuted)),
    }


def moved(arm: Arm, layout: Layout) -> Arm:
    """Return a copy of an arm in another layout; codes, scales and groups stay what they are."""
    return Arm(
        canonical.moved(arm.simulated, arm.layout, layout),
        canonical.moved(arm.real, arm.layout, layout),
        layout,
    )

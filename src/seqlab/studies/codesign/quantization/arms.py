"""The arms of Figure 2: what is quantised, in which order, and in which layout it ends.

Groups are those of the order in force when a weight is quantised; a later permutation moves values
and never changes them. Each arm exists twice: simulated (dequantised fp32 weights, for quality) and
real (integer codes under kernel K5, for latency).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from seqlab.models.mamba import MambaForCausalLM
from seqlab.models.permuting import Layout, Site, apply_layout, relayout
from seqlab.models.quantize import SIMULATED, quantize_model

DENSE = "dense"
QUANTIZE_ONLY = "quantize_only"
QUANTIZE_ONLY_AA = "quantize_only_aa"
RANDOM_QUANTIZE = "random_quantize"
QUANTIZE_PERMUTE = "quantize_permute"
PERMUTE_QUANTIZE = "permute_quantize"
REPERMUTE = "permute_quantize_repermute"
PLANTED = "quantize_only_planted"

# The three strategies of the published figure, in its order.
STRATEGIES = (QUANTIZE_PERMUTE, PERMUTE_QUANTIZE, REPERMUTE)


@dataclass(frozen=True)
class Arm:
    """One arm of one run.

    Attributes:
        simulated: The model with dequantised weights, in `layout`.
        real: The same function computed by the quantised product, in `layout`; for the dense arm
            the model itself.
        layout: The layout that both stand in.
        function: Names what is computed: arms that quantised in the same order are one function.
    """

    simulated: MambaForCausalLM
    real: MambaForCausalLM
    layout: Layout
    function: str


@dataclass(frozen=True)
class Quantizer:
    """How this cell quantises: scheme, bits and the backend of the real product."""

    scheme: str
    bits: int
    backend: str

    def __call__(self, model: MambaForCausalLM, layout: Layout, function: str) -> Arm:
        """Return `model`, which stands in `layout`, quantised."""
        return Arm(
            simulated=quantize_model(model, self.scheme, self.bits, execution=SIMULATED),
            real=quantize_model(model, self.scheme, self.bits, execution=self.backend),
            layout=layout,
            function=function,
        )


def build_arms(
    dense: MambaForCausalLM,
    sites: Mapping[str, Site],
    quantizer: Quantizer,
    *,
    dense_layout: Layout,
    random: Layout,
    resolve: Callable[[Arm], Layout],
) -> dict[str, Arm]:
    """Return every arm of a run.

    Args:
        dense: The unquantised model in its original order; left as it is.
        sites: Permutation sites of the model.
        quantizer: Scheme, bits and backend.
        dense_layout: The layout solved on the dense model.
        random: A random layout.
        resolve: Solves a layout on the activations of a quantised arm.
    """
    identity = Layout(sites)
    quantized = quantizer(dense, identity, QUANTIZE_ONLY)
    permuted = quantizer(in_layout(dense, dense_layout), dense_layout, PERMUTE_QUANTIZE)
    return {
        DENSE: Arm(dense, dense, identity, DENSE),
        QUANTIZE_ONLY: quantized,
        QUANTIZE_ONLY_AA: quantizer(dense, identity, QUANTIZE_ONLY),
        RANDOM_QUANTIZE: quantizer(in_layout(dense, random), random, RANDOM_QUANTIZE),
        QUANTIZE_PERMUTE: moved(quantized, resolve(quantized)),
        PERMUTE_QUANTIZE: permuted,
        REPERMUTE: moved(permuted, resolve(permuted)),
    }


def in_layout(model: MambaForCausalLM, layout: Layout) -> MambaForCausalLM:
    """Return a copy of a model in original order, brought into `layout`."""
    result = copy.deepcopy(model)
    apply_layout(result, layout)
    return result


def moved(arm: Arm, layout: Layout) -> Arm:
    """Return a copy of an arm in another layout; codes, scales and groups stay what they are."""
    simulated, real = copy.deepcopy(arm.simulated), copy.deepcopy(arm.real)
    relayout(simulated, arm.layout, layout)
    relayout(real, arm.layout, layout)
    return Arm(simulated, real, layout, arm.function)


def canonical(arm: Arm) -> MambaForCausalLM:
    """Return the function of an arm with all weights back in the original order."""
    result = copy.deepcopy(arm.simulated)
    relayout(result, arm.layout, Layout(arm.layout.sites))
    return result

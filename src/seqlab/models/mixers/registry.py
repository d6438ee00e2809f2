"""Mixers by the names of the architectures they make."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from seqlab.errors import UserError
from seqlab.models.mixers.attention import Attention
from seqlab.models.mixers.base import LocalMixing, Mixer
from seqlab.models.mixers.delta import DeltaNet
from seqlab.models.mixers.gla import GatedLinearAttention
from seqlab.models.mixers.mamba import Mamba
from seqlab.models.mixers.recurrent import Recurrent
from seqlab.models.mixers.retention import Retention
from seqlab.models.mixers.rwkv7 import Rwkv7

_Make = Callable[[int, int, LocalMixing, int], Mixer]
_MIXERS: dict[str, _Make] = {
    "lstm": lambda width, _heads, local, _layer: Recurrent(width, local, kind=nn.LSTM),
    "gru": lambda width, _heads, local, _layer: Recurrent(width, local, kind=nn.GRU),
    "vanilla": lambda width, heads, local, _layer: Attention(width, heads, local, rotary=False),
    # Controls of positions: fixed ones, added to the embedding, and none.
    "vanilla_sin": lambda width, heads, local, _layer: Attention(width, heads, local, rotary=False),
    "nope": lambda width, heads, local, _layer: Attention(width, heads, local, rotary=False),
    "rope": lambda width, heads, local, _layer: Attention(width, heads, local, rotary=True),
    "deltanet": lambda width, heads, local, _layer: DeltaNet(width, heads, local),
    "gated_deltanet": lambda width, heads, local, _layer: DeltaNet(width, heads, local, gated=True),
    # A control of its initial decays.
    "gated_deltanet_drawn": lambda width, heads, local, _layer: DeltaNet(
        width, heads, local, gated=True, drawn=True
    ),
    "rwkv7": lambda width, heads, local, layer: Rwkv7(width, heads, local, layer=layer),
    "retention": lambda width, heads, local, _layer: Retention(width, heads, local),
    "gla": lambda width, heads, local, _layer: GatedLinearAttention(width, heads, local),
    "mamba": lambda width, _heads, local, _layer: Mamba(width, local),
}
ARCHITECTURES = tuple(_MIXERS)


def make_mixer(architecture: str, width: int, heads: int, local: LocalMixing, layer: int) -> Mixer:
    """Return the mixer of one layer of an architecture.

    Raises:
        UserError: There is no such architecture, or the heads do not divide the width.
    """
    if architecture not in _MIXERS:
        raise UserError(
            f"unknown architecture {architecture!r}", fix=f"use one of {', '.join(ARCHITECTURES)}"
        )
    if width % (2 * heads):
        raise UserError(f"width {width} is no even multiple of {heads} heads")
    return _MIXERS[architecture](width, heads, local, layer)

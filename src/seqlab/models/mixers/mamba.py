"""Mamba's selective state-space mixer behind the interface of the others (Gu and Dao 2023).

It is the mixer of `seqlab.models.mamba`, with its own convolution, without which it is another
architecture: local mixing cannot be switched off.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seqlab.errors import UserError
from seqlab.kernels.selective_scan import resolve_backend
from seqlab.models.mamba import MambaMixer, convolved_last
from seqlab.models.mamba_config import MambaConfig
from seqlab.models.mamba_init import init_convolution, init_states
from seqlab.models.mixers.base import LocalMixing, Memory, Mixed, Mixer


class Mamba(Mixer):
    """One selective state-space mixer."""

    def __init__(self, width: int, local: LocalMixing) -> None:
        super().__init__()
        if local == "none":
            raise UserError("mamba has no form without its convolution", fix="native or all")
        self.config = MambaConfig(vocab_size=1, hidden_size=width, num_hidden_layers=1)
        self.mixer = MambaMixer(self.config, 0)

    def forward(
        self, x: Tensor, memory: Memory | None = None, start: int = 0, first: Tensor | None = None
    ) -> Mixed:
        """Mix with the selective scan; see `Mixer.forward`."""
        self.mixer.scan_backend = resolve_backend(None, x.device, x.dtype)
        past, before = (None, None) if memory is None else memory
        y, convolved, last = self.mixer.mix(x, past=past, before=before)
        if past is None:
            past = x.new_zeros(x.shape[0], convolved.shape[2], self.config.conv_kernel)
        return Mixed(y, (convolved_last(convolved, past), last))

    def state_size(self, length: int) -> int:
        """Return the numbers of the states and of the convolution's past."""
        return self.mixer.D.shape[0] * (self.config.state_size + self.config.conv_kernel)

    @torch.no_grad()
    def init_own(self, layer: int, layers: int, generator: torch.Generator) -> None:
        """Draw steps, state matrix and convolution as Mamba's own models do.

        Projections stay as they are drawn for every mixer.
        """
        init_convolution(self.mixer, generator)
        init_states(self.mixer, self.config, generator)

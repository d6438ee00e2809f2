"""LSTM and GRU layers as mixers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqlab.models.mixers.base import LocalMixing, Memory, Mixed, Mixer, ShortConv


class Recurrent(Mixer):
    """One layer of PyTorch's LSTM or GRU; with convolutions everywhere, one on its input.

    The cell is computed in the precision of its weights.
    """

    def __init__(self, width: int, local: LocalMixing, *, kind: type[nn.LSTM | nn.GRU]) -> None:
        super().__init__()
        self.conv = ShortConv(width, active=local == "all")
        self.cell = kind(width, width, batch_first=True)

    def forward(
        self, x: Tensor, memory: Memory | None = None, start: int = 0, first: Tensor | None = None
    ) -> Mixed:
        """Run the cell over the sequence; see `Mixer.forward`."""
        x, past = self.conv(x, None if memory is None else memory[0])
        # One tensor of a GRU, a pair of an LSTM.
        before = None if memory is None else memory[1:]
        # Under autocast a GPU would run the cell in fp16, of whatever type autocast is: gradients
        # would need scaling.
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(next(self.cell.parameters()).dtype)
            if isinstance(self.cell, nn.LSTM):
                y, (hidden, carried) = self.cell(x, before)
                return Mixed(y, (past, hidden, carried))
            y, hidden = self.cell(x, None if before is None else before[0])
            return Mixed(y, (past, hidden))

    def state_size(self, length: int) -> int:
        """Return the numbers of hidden state and cell."""
        lstm = isinstance(self.cell, nn.LSTM)
        return (2 if lstm else 1) * self.cell.hidden_size + self.conv.kept

    @torch.no_grad()
    def init_own(self, layer: int, layers: int, generator: torch.Generator) -> None:
        """Draw weights as PyTorch does; an LSTM's forget gate starts open, with bias 1."""
        bound = self.cell.hidden_size**-0.5
        for name, parameter in self.cell.named_parameters():
            drawn = torch.rand(parameter.shape, generator=generator) * 2 * bound - bound
            parameter.copy_(torch.zeros_like(drawn) if name.startswith("bias") else drawn)
            if name == "bias_ih_l0" and isinstance(self.cell, nn.LSTM):
                size = self.cell.hidden_size
                parameter[size : 2 * size] = 1.0

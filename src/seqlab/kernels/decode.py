"""Fused greedy decoding on CPU: packs a Mamba model's weights once, then runs the numba kernel.

Input: the tensors of every layer and the state after a prompt. Output: tokens, the last logits, and
the advanced state. All in float32. Packing copies the weights: a later change to the model is not
seen by a decoder that exists already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from seqlab.kernels.arrays import from_state_tiles, rows, state_tiles

PANEL = 64
_LOG2_E = 1.4426950408889634
# A task adds up the shares of all tasks, so more of them cost more; two panels are enough work.
_PANELS_PER_TASK = 2
_MOST_TASKS = 16


@dataclass(frozen=True)
class LayerWeights:
    """Tensors of one layer, as the model holds them.

    Attributes:
        norm: (H,).
        in_proj: (2I, H), inputs first, then gates; `in_bias` (2I,) or None.
        conv: (I, K); `conv_bias` (I,) or None.
        x_proj: (R + 2N, I).
        dt_proj: (I, R); `dt_bias` (I,) or None.
        a: (I, N), the negative continuous state matrix.
        skip: (I,).
        out_proj: (H, I); `out_bias` (H,) or None.
    """

    norm: Tensor
    in_proj: Tensor
    in_bias: Tensor | None
    conv: Tensor
    conv_bias: Tensor | None
    x_proj: Tensor
    dt_proj: Tensor
    dt_bias: Tensor | None
    a: Tensor
    skip: Tensor
    out_proj: Tensor
    out_bias: Tensor | None


def pack_panels(weight: Tensor, outputs: int, inputs: int) -> Tensor:
    """Return (O, D) as panels of 64 outputs, (outputs / 64 * inputs, 64), zero beyond O and D.

    Row `p * inputs + d` holds input d of the outputs 64 p to 64 p + 63.
    """
    padded = functional.pad(weight, (0, inputs - weight.shape[1], 0, outputs - weight.shape[0]))
    return padded.view(-1, PANEL, inputs).transpose(1, 2).reshape(-1, PANEL).contiguous()


def panel_width(count: int) -> int:
    """Return `count` rounded up to whole panels."""
    return -(-count // PANEL) * PANEL


class FusedDecoder:
    """A model's weights in the kernel's layout, and the state of a batch of sequences.

    Args:
        layers: The layers; their inner sizes may differ.
        embedding: (V, H).
        norm_f: (H,).
        head: (V, H).
        epsilon: Of the norms.
    """

    def __init__(
        self,
        layers: Sequence[LayerWeights],
        embedding: Tensor,
        norm_f: Tensor,
        head: Tensor,
        epsilon: float,
    ) -> None:
        first = layers[0]
        self._epsilon = np.float32(epsilon)
        self._channels = [layer.skip.shape[0] for layer in layers]
        self._vocabulary, self._width = embedding.shape
        self._taps, self._states = first.conv.shape[1], first.a.shape[1]
        self._rank = first.dt_proj.shape[1]
        self._inner = panel_width(max(self._channels))
        self._projected = panel_width(self._rank + 2 * self._states)
        self._tasks = max(1, min(self._inner // PANEL // _PANELS_PER_TASK, _MOST_TASKS))
        panels, panel_rows = _stacked(
            [
                *zip(*map(self._panels, layers), strict=True),
                [pack_panels(head, panel_width(self._vocabulary), self._width)],
            ]
        )
        tiles, tile_rows = _stacked([*zip(*map(self._layer_tiles, layers), strict=True)])
        norms = torch.stack([*(layer.norm for layer in layers), norm_f])
        padding = (0, panel_width(self._width) - self._width)
        self._weights = [rows(embedding), panels, tiles, rows(functional.pad(norms, padding))]
        sizes = [self._tasks, len(layers), self._width, self._taps, self._rank, self._states]
        self._plan = [*sizes, self._vocabulary, *panel_rows, *tile_rows]

    def _panels(self, layer: LayerWeights) -> list[Tensor]:
        """Return a layer's parts of `panels` in the plan's order, the head left out."""
        width, inner, channels = panel_width(self._width), self._inner, layer.skip.shape[0]
        halves = layer.in_proj.split(channels)
        biases = _or_zeros(layer.in_bias, 2 * channels).split(channels)
        return [
            torch.cat([pack_panels(half, inner, self._width) for half in halves]),
            torch.cat([_padded(half, inner).view(-1, PANEL) for half in biases]),
            pack_panels(layer.x_proj, self._projected, inner),
            pack_panels(layer.dt_proj, inner, self._rank),
            _padded(_or_zeros(layer.dt_bias, channels), inner).view(-1, PANEL),
            pack_panels(layer.out_proj, width, inner),
            _padded(_or_zeros(layer.out_bias, self._width), width).view(-1, PANEL),
        ]

    def _layer_tiles(self, layer: LayerWeights) -> list[Tensor]:
        """Return a layer's parts of `tiles` in the plan's order."""
        bias = _or_zeros(layer.conv_bias, layer.skip.shape[0])
        columns = (layer.conv, bias[:, None], layer.a * _LOG2_E, layer.skip[:, None])
        return [self._tiles(column) for column in columns]

    def _tiles(self, tensor: Tensor) -> Tensor:
        """Return (..., I, K) as tiles (..., blocks, K, 16) with the padded number of channels."""
        missing = self._inner - tensor.shape[-2]
        return state_tiles(functional.pad(tensor, (0, 0, 0, missing))).flatten(0, -2)

    def load_state(self, conv: Sequence[Tensor], ssm: Sequence[Tensor]) -> None:
        """Take the state of a batch: (B, I, K) and (B, I, N) tensors, one per layer; copied."""
        self._batch = conv[0].shape[0]
        parts = [[self._tiles(tensor) for tensor in part] for part in (conv, ssm)]
        self._state, (_, self._ssm_row) = _stacked(parts)
        shared = self._tasks * self._batch
        shapes = [
            (3 * shared, panel_width(self._width)),  # `stream` of the kernel
            (2 * shared, self._projected),  # `middle`
            (3 * self._batch, self._inner),  # `inner`
        ]
        self._buffers = [np.zeros(shape, np.float32) for shape in shapes]
        self._logits = np.zeros((self._batch, panel_width(self._vocabulary)), np.float32)

    def state(self) -> tuple[list[Tensor], list[Tensor]]:
        """Return copies of the state: (B, I, K) and (B, I, N) tensors, one per layer."""
        conv, ssm = np.split(self._state, [self._ssm_row])
        return self._untiled(conv, self._taps), self._untiled(ssm, self._states)

    def _untiled(self, array: np.ndarray, depth: int) -> list[Tensor]:
        shape = (len(self._channels), self._batch, -1, depth, array.shape[1])
        layers = torch.from_numpy(array).view(shape)
        pairs = zip(layers, self._channels, strict=True)
        return [from_state_tiles(layer, channels).clone() for layer, channels in pairs]

    def advance(self, tokens: Tensor, count: int) -> Tensor:
        """Feed tokens (B,) int64 and, greedily, what follows; return the `count` new tokens (B, M).

        The last token returned has not been fed itself.

        Raises:
            ValueError: The batch is not that of the loaded state, or a token is out of range.
        """
        from seqlab.kernels import decode_numba
        from seqlab.kernels.jit import follow_torch_threads

        if tokens.shape != (self._batch,):
            raise ValueError(f"expected {self._batch} tokens, got shape {tuple(tokens.shape)}")
        if int(tokens.min()) < 0 or int(tokens.max()) >= self._vocabulary:
            raise ValueError(f"a token lies outside 0..{self._vocabulary - 1}")
        follow_torch_threads()
        out = np.empty((self._batch, count), np.int64)
        decode_numba.decode_greedily(
            tokens.to(torch.int64).reshape(-1, 1).clone().numpy(),
            out,
            np.array([*self._plan, self._ssm_row], np.int64),
            self._epsilon,
            *self._weights,
            *self._buffers,
            self._state,
            self._logits,
        )
        return torch.from_numpy(out)

    def logits(self) -> Tensor:
        """Return a copy of the logits (B, V) of the last token fed."""
        return torch.from_numpy(self._logits[:, : self._vocabulary].copy())


def _stacked(parts: Sequence[Sequence[Tensor]]) -> tuple[np.ndarray, list[int]]:
    """Stack parts along the rows; return the array and the first row of each part.

    NumPy asks the kernel for huge pages where torch does not: streaming weights from memory is
    faster with them.
    """
    lengths = [sum(tensor.shape[0] for tensor in part) for part in parts]
    array = np.empty((sum(lengths), parts[0][0].shape[1]), np.float32)
    torch.cat([tensor for part in parts for tensor in part], out=torch.from_numpy(array))
    return array, [sum(lengths[:index]) for index in range(len(lengths))]


def _padded(vector: Tensor, width: int) -> Tensor:
    """Return (C,) as (1, width), zero beyond C."""
    return functional.pad(vector, (0, width - vector.shape[0]))[None]


def _or_zeros(bias: Tensor | None, count: int) -> Tensor:
    return torch.zeros(count) if bias is None else bias

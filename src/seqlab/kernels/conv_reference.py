"""Causal depthwise convolution in plain PyTorch, for every device and floating-point type."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def reference_conv(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve each channel with its own filter over the past; zero before the first token.

    Args:
        x: Inputs (B, T, I).
        weight: Filters (I, K).
        bias: Offsets (I,) or None.
    """
    width, length = weight.shape[1], x.shape[1]
    if x.device.type != "cpu":
        padded = functional.pad(x.transpose(1, 2), (width - 1, 0))
        return functional.conv1d(padded, weight[:, None], bias, groups=len(weight)).transpose(1, 2)
    # A sum over shifts: PyTorch's depthwise convolution on a CPU takes ten times as long.
    padded = functional.pad(x, (0, 0, width - 1, 0))
    y = padded[:, :length] * weight[:, 0]
    for tap in range(1, width):
        y = y + padded[:, tap : tap + length] * weight[:, tap]
    return y if bias is None else y + bias

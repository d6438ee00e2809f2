"""Rotary positions against transformers, and their gradients."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

from seqlab.kernels.rotary import rotated


def draw(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("start", [0, 7])
def test_equals_transformers(start: int) -> None:
    heads, length, width = 3, 11, 8
    config = LlamaConfig(hidden_size=heads * width, num_attention_heads=heads)
    x = draw(2, heads, length, width, dtype=torch.float32)
    positions = torch.arange(start, start + length)[None]
    cos, sin = LlamaRotaryEmbedding(config)(x, positions)
    expected, _ = apply_rotary_pos_emb(x, x, cos, sin)
    torch.testing.assert_close(rotated(x, start), expected, rtol=1e-5, atol=1e-6)


def test_gradients_of_first_and_second_order() -> None:
    x = draw(2, 2, 5, 6).requires_grad_()
    assert torch.autograd.gradcheck(lambda at: rotated(at, 3), (x,))
    assert torch.autograd.gradgradcheck(lambda at: rotated(at, 3), (x,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_heads_that_are_views_of_a_projection(dtype: torch.dtype) -> None:
    flat = draw(2, 5, 12, dtype=dtype).requires_grad_()
    view = flat.unflatten(-1, (2, 6)).transpose(1, 2)
    weight = draw(2, 2, 5, 6, dtype=dtype)
    got = torch.autograd.grad((rotated(view, 0) * weight).sum(), flat)[0]
    copied = flat.detach().unflatten(-1, (2, 6)).transpose(1, 2).contiguous().requires_grad_()
    expected = torch.autograd.grad((rotated(copied, 0) * weight).sum(), copied)[0]
    torch.testing.assert_close(got, expected.transpose(1, 2).flatten(2))


def test_lengths_and_angles_are_kept() -> None:
    q, k = draw(1, 1, 1, 8), draw(1, 1, 1, 8) + 1
    at = [float((rotated(q, i + 4) * rotated(k, i)).sum()) for i in (0, 9, 300)]
    assert at == pytest.approx([at[0]] * 3, rel=1e-9)
    assert float(rotated(q, 5).norm()) == pytest.approx(float(q.norm()))


def test_fused_equals_plain() -> None:
    x = draw(3, 2, 17, 32)
    fused = rotated(x.float(), 5)
    torch.testing.assert_close(fused.double(), rotated(x, 5), rtol=1e-4, atol=1e-5)


def test_training_after_evaluation_at_the_same_length() -> None:
    # Tables are shared: one that inference made must serve a backward pass.
    with torch.inference_mode():
        rotated(draw(1, 1, 13, 4), 0)
    x = draw(1, 1, 13, 4).requires_grad_()
    rotated(x, 0).sum().backward()
    assert x.grad is not None

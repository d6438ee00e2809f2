"""Greedy decoding: the cached path, the fused kernel and transformers give the same tokens."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from seqlab.errors import UserError
from seqlab.models import generation
from seqlab.models.generation import decode_backend, decode_step, greedy_decode, new_state
from seqlab.models.mamba import MambaForCausalLM, Projection
from seqlab.models.mamba_config import MambaConfig

# Odd sizes on purpose: no width is a multiple of 16, and channels do not fill a panel of 64.
SHAPES = {
    "odd": {"hidden_size": 10, "state_size": 3, "conv_kernel": 4, "vocab_size": 37},
    "biased": {"hidden_size": 8, "state_size": 5, "conv_kernel": 2, "use_bias": True},
    "bare": {"hidden_size": 8, "conv_kernel": 1, "use_conv_bias": False, "state_size": 1},
    "untied": {"hidden_size": 12, "tie_word_embeddings": False, "time_step_rank": 5},
    "pruned": {"hidden_size": 8, "inner_sizes": (16, 5)},
    "wide": {"hidden_size": 40, "expand": 4, "state_size": 2, "vocab_size": 70},
}


def build(seed: int = 0, **changes: object) -> MambaForCausalLM:
    """A model whose tokens vary: its mixers outweigh the embedding of the token just fed."""
    values = {"vocab_size": 29, "num_hidden_layers": 2, "state_size": 4, **changes}
    model = MambaForCausalLM(MambaConfig(**values))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            scale = 0.1 if "embeddings" in name else 0.5
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return model.eval()


def prompts(batch: int, length: int, vocabulary: int = 29) -> Tensor:
    generator = torch.Generator().manual_seed(batch * 100 + length)
    return torch.randint(0, vocabulary, (batch, length), generator=generator)


def assert_close(found: Tensor, expected: Tensor) -> None:
    """Agreement to 1e-5 of the largest value."""
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


@torch.no_grad()
def decode_without_state(model: MambaForCausalLM, ids: Tensor, count: int) -> Tensor:
    """The oracle: run the whole prefix through the model again for every token."""
    length = ids.shape[1]
    for _ in range(count):
        ids = torch.cat([ids, model(ids).logits[:, -1].argmax(-1, keepdim=True)], 1)
    return ids[:, length:]


@pytest.mark.parametrize("shape", SHAPES)
def test_both_backends_give_the_tokens_of_the_full_forward(shape: str) -> None:
    model = build(**SHAPES[shape])
    ids = prompts(2, 5)
    expected = decode_without_state(model, ids, 6)
    assert decode_backend(model) == "numba"
    assert torch.equal(greedy_decode(model, ids, 6), expected)
    assert torch.equal(greedy_decode(model, ids, 6, backend="modules"), expected)


@pytest.mark.parametrize("batch", [1, 4, 7])
def test_every_row_of_a_batch_is_decoded_as_if_alone(batch: int) -> None:
    model = build(hidden_size=8)
    ids = prompts(batch, 3)
    together = greedy_decode(model, ids, 4)
    alone = torch.cat([greedy_decode(model, row[None], 4) for row in ids])
    assert torch.equal(together, alone)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_fused_logits_and_state_are_those_of_the_modules(shape: str) -> None:
    model = build(**SHAPES[shape])
    ids = prompts(3, 4)
    decoder, state = generation.fused_decoder(model), new_state(model, 3)
    decoder.load_state(state.conv, state.ssm)
    for position in range(ids.shape[1]):
        expected = decode_step(model, ids[:, position], state)
        following = decoder.advance(ids[:, position], 1)
        assert_close(decoder.logits(), expected)
        assert torch.equal(following[:, 0], expected.argmax(-1))
    conv, ssm = decoder.state()
    for found, kept in zip(conv + ssm, state.conv + state.ssm, strict=True):
        assert_close(found, kept)


def test_steps_give_the_logits_of_one_pass() -> None:
    model = build(hidden_size=8)
    ids = prompts(2, 6)
    with torch.no_grad():
        expected = model(ids).logits
    state = new_state(model, 2)
    for position in range(ids.shape[1]):
        logits = decode_step(model, ids[:, position], state)
        assert_close(logits, expected[:, position])


def test_a_step_after_a_prompt_continues_it() -> None:
    model = build(hidden_size=8)
    ids = prompts(2, 6)
    state = new_state(model, 2)
    with torch.no_grad():
        expected = model(ids).logits[:, -1]
        model(ids[:, :-1], state=state)
    kept = state.clone()
    assert_close(decode_step(model, ids[:, -1], state), expected)
    assert_close(decode_step(model, ids[:, -1], kept), expected)


def test_the_tokens_are_those_of_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    model = build(seed=3, hidden_size=16, vocab_size=50)
    values = {k: v for k, v in model.config.to_hf_dict().items() if k != "architectures"}
    config = transformers.MambaConfig(**values)
    peer = transformers.MambaForCausalLM(config).eval()
    peer.load_state_dict(model.state_dict())
    ids = prompts(3, 7, 50)
    with torch.no_grad():
        found = peer.generate(
            ids, max_new_tokens=12, min_new_tokens=12, do_sample=False, use_cache=True,
            attention_mask=torch.ones_like(ids), eos_token_id=None, pad_token_id=0,
        )  # fmt: skip
    assert torch.equal(greedy_decode(model, ids, 12), found[:, 7:])
    assert len(found[:, 7:].unique()) > 8


class Scaled(nn.Module):
    """Stands for a quantised projection: callable, with the sizes of the layer it replaces."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base
        self.in_features, self.out_features = base.in_features, base.out_features

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) * 1.5


def test_replaced_projections_and_gates_go_through_the_modules() -> None:
    model = build(hidden_size=8)
    mixer = model.backbone.layers[1].mixer
    ids = prompts(2, 4)
    plain = greedy_decode(model, ids, 8)

    mixer.out_proj = Scaled(mixer.out_proj)
    assert decode_backend(model) == "modules"
    assert "out_proj is a Scaled" in generation.why_not_fused(model)
    assert torch.equal(greedy_decode(model, ids, 8), decode_without_state(model, ids, 8))

    mixer.out_proj = mixer.out_proj.base
    mixer.channel_gate = nn.ReLU()
    assert "channel gate" in generation.why_not_fused(model)
    gated = greedy_decode(model, ids, 8)
    assert torch.equal(gated, decode_without_state(model, ids, 8))
    assert not torch.equal(gated, plain)


def test_whatever_the_kernel_would_pass_over_is_named() -> None:
    model = build(hidden_size=8)
    layer = model.backbone.layers[0]
    handle = layer.mixer.in_proj.register_forward_hook(lambda *_: None)
    assert "in_proj has a forward hook" in generation.why_not_fused(model)
    handle.remove()
    layer.mixer.state_observer = lambda t, h: None
    assert "state observer" in generation.why_not_fused(model)
    layer.mixer.state_observer = None
    norm, layer.norm = layer.norm, nn.LayerNorm(8)
    assert "norm is a LayerNorm" in generation.why_not_fused(model)
    layer.norm = norm
    head, model.lm_head = model.lm_head, Projection(8, 29)
    assert "lm_head" in generation.why_not_fused(model)
    model.lm_head = head
    assert generation.why_not_fused(model) is None
    assert "float64" in generation.why_not_fused(model.double())
    with pytest.raises(UserError, match="float64"):
        greedy_decode(model, prompts(1, 2), 2, backend="numba")
    with pytest.raises(UserError, match="float64"):
        generation.fused_decoder(model)


def test_double_precision_is_decoded_through_the_modules() -> None:
    model = build(hidden_size=8).double()
    ids = prompts(1, 3)
    assert torch.equal(greedy_decode(model, ids, 5), decode_without_state(model, ids, 5))


def test_of_equal_logits_the_first_token_wins() -> None:
    model = build(hidden_size=8, vocab_size=40)
    with torch.no_grad():
        model.backbone.norm_f.weight.zero_()
    assert greedy_decode(model, prompts(2, 2), 3).eq(0).all()


def test_packing_puts_every_weight_where_the_kernel_reads_it() -> None:
    from seqlab.kernels.decode import pack_panels

    weight = torch.arange(70 * 3, dtype=torch.float32).view(70, 3) + 1
    packed = pack_panels(weight, 128, 4)
    assert packed.shape == (2 * 4, 64)
    for output, column in ((0, 0), (63, 2), (64, 1), (69, 2)):
        assert packed[output // 64 * 4 + column, output % 64] == weight[output, column]
    assert packed.sum() == weight.sum()


def test_wrong_inputs_are_refused() -> None:
    model = build(hidden_size=8)
    with pytest.raises(ValueError, match="cannot add 0 tokens"):
        greedy_decode(model, prompts(1, 2), 0)
    with pytest.raises(ValueError, match="cannot add 3 tokens"):
        greedy_decode(model, prompts(1, 0), 3)
    decoder, state = generation.fused_decoder(model), new_state(model, 2)
    decoder.load_state(state.conv, state.ssm)
    with pytest.raises(ValueError, match="expected 2 tokens"):
        decoder.advance(torch.zeros(3, dtype=torch.int64), 1)
    with pytest.raises(ValueError, match=r"outside 0\.\.28"):
        decoder.advance(torch.tensor([0, 29]), 1)

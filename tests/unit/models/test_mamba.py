"""Our Mamba against transformers' on the same weights and against an oracle in float64."""

from __future__ import annotations

import copy
import subprocess
import sys

import mamba_oracle
import pytest
import torch
from torch import nn

from seqlab.errors import UserError
from seqlab.models.mamba import (
    MambaForCausalLM,
    set_gradient_checkpointing,
    set_scan_backend,
)
from seqlab.models.mamba_config import MambaConfig
from seqlab.models.mamba_init import init_weights
from seqlab.models.state import MambaState

SHAPES = {
    "ragged": {"hidden_size": 48, "state_size": 8},
    "odd": {
        "hidden_size": 25,
        "expand": 1,
        "state_size": 5,
        "conv_kernel": 3,
        "use_bias": True,
        "time_step_rank": 3,
    },
    "untied": {"hidden_size": 32, "tie_word_embeddings": False, "use_conv_bias": False},
    "short-filter": {"hidden_size": 20, "conv_kernel": 2, "num_hidden_layers": 1},
}


def config(**changes):
    values = {"vocab_size": 37, "hidden_size": 24, "state_size": 4, "num_hidden_layers": 2}
    return MambaConfig(**(values | changes))


def make(seed=3, **changes):
    model = init_weights(MambaForCausalLM(config(**changes)), seed)
    # Biases start at zero: give them values, so that a lost one is seen.
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if name.endswith("bias") and "dt_proj" not in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) / 4
    return model


def tokens(model, batch=3, length=14, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, model.config.vocab_size, (batch, length), generator=generator)


def relative(got, expected):
    return float((got.double() - expected.double()).norm() / expected.double().norm())


def assert_same(model, peer, run, bound):
    """Compare logits, loss and the gradient of every weight."""
    for network in (model, peer):
        network.zero_grad()
    ours, theirs = run(model), run(peer)
    ours.loss.backward()
    theirs.loss.backward()
    assert relative(ours.logits, theirs.logits) < bound
    assert abs(float(ours.loss) - float(theirs.loss)) < bound * float(theirs.loss)
    expected = dict(peer.named_parameters())
    found = dict(model.named_parameters())
    assert found.keys() == expected.keys()
    for name, parameter in found.items():
        assert relative(parameter.grad, expected[name].grad) < bound, name


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip("transformers")


@pytest.mark.parametrize("padded", [False, True], ids=["full", "padded"])
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_transformers(transformers, shape, padded):
    model = make(**SHAPES[shape])
    values = model.config.to_hf_dict()
    del values["architectures"]
    peer = transformers.MambaForCausalLM(transformers.MambaConfig(**values))
    peer.load_state_dict(model.state_dict())
    ids = tokens(model)
    mask, labels = None, ids
    if padded:
        mask = torch.ones_like(ids)
        mask[0, :5] = mask[2, 9:] = 0
        labels = ids.masked_fill(mask == 0, -100)

    def run(network):
        extra = {} if network is model else {"use_cache": False}
        return network(input_ids=ids, labels=labels, attention_mask=mask, **extra)

    assert_same(model, peer, run, 1e-5)


def test_equals_the_oracle_in_float64():
    settings = mamba_oracle.odd_config(use_bias=True, conv_kernel=3)
    oracle = mamba_oracle.OracleMamba(settings).double()
    model = MambaForCausalLM(settings).double()
    model.load_state_dict(
        {
            name: value.reshape(model.state_dict()[name].shape)
            for name, value in oracle.state_dict().items()
        }
    )
    assert model.scan_backend == "torch"
    ids = mamba_oracle.fixed_inputs(settings)

    class WithLoss:
        def __init__(self, network):
            self.logits = network(ids).logits
            self.loss = nn.functional.cross_entropy(
                self.logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()
            )

    assert_same(model, oracle, WithLoss, 1e-10)
    ours = model(ids, labels=ids).loss
    assert abs(float(ours) - float(WithLoss(oracle).loss)) < 1e-12


def test_numba_equals_float64():
    model = make(**SHAPES["odd"])
    assert model.scan_backend == "numba"
    wide = copy.deepcopy(model).double()
    ids = tokens(model)
    assert_same(model, wide, lambda network: network(ids, labels=ids), 5e-6)


def test_backend_follows_type_and_wish():
    model = make()
    set_scan_backend(model, "torch")
    assert {mixer.scan_backend for mixer in model.mixers()} == {"torch"}
    set_scan_backend(model, None)
    assert model.scan_backend == "numba"
    assert model.double().scan_backend == "torch"
    assert model.float().scan_backend == "numba"
    with pytest.raises(UserError, match="unknown"):
        set_scan_backend(model, "cuda")


def test_checkpointing_gives_the_same_gradients():
    model = make()
    ids = tokens(model)
    again = copy.deepcopy(model)
    set_gradient_checkpointing(again, True)
    calls = []
    again.backbone.layers[0].mixer.register_forward_pre_hook(lambda *_: calls.append(1))
    assert_same(model, again, lambda network: network(ids, labels=ids), 1e-12)
    assert len(calls) == 2


def test_a_model_used_twice_adds_its_gradients():
    model = make()
    first, second = tokens(model, seed=1), tokens(model, seed=2)
    (model(first, labels=first).loss + model(second, labels=second).loss).backward()
    together = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    model(first, labels=first).loss.backward()
    model(second, labels=second).loss.backward()
    for name, parameter in model.named_parameters():
        assert relative(parameter.grad, together[name]) < 1e-6, name


@pytest.mark.parametrize("cut", [1, 2, 9])
def test_state_of_a_prefix(cut):
    model = make(**SHAPES["odd"])
    ids = tokens(model)
    inner = [mixer.D.shape[0] for mixer in model.mixers()]
    state = MambaState.zeros(3, inner, model.config.conv_kernel, model.config.state_size)
    with torch.no_grad():
        parts = [model(piece, state=state).logits for piece in (ids[:, :cut], ids[:, cut:])]
        whole = model(ids).logits
    assert relative(torch.cat(parts, 1), whole) < 1e-6


class Doubled(nn.Module):
    """A projection of another class, which only has a forward."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x) * 2


@pytest.mark.parametrize("name", ["in_proj", "x_proj", "dt_proj", "out_proj"])
def test_projections_are_called_as_modules(name):
    model = make()
    ids = tokens(model)
    scaled = copy.deepcopy(model)
    for mixer in model.mixers():
        setattr(mixer, name, Doubled(getattr(mixer, name)))
    with torch.no_grad():
        for mixer in scaled.mixers():
            projection = getattr(mixer, name)
            projection.weight.mul_(2)
            if projection.bias is not None:
                projection.bias.mul_(2)
        assert relative(model(ids).logits, scaled(ids).logits) < 1e-6


class Mask(nn.Module):
    def __init__(self, kept, channels):
        super().__init__()
        self.register_buffer("mask", torch.zeros(channels).index_fill(0, kept, 1.0))

    def forward(self, x):
        return x * self.mask


def test_a_gated_channel_can_be_removed():
    """The gate sits where masking and physical removal are the same function."""
    model = make(use_bias=True)
    kept = torch.tensor([0, 3, 4, 7, 11, 20, 21, 40])
    inner = model.config.intermediate_size
    smaller = MambaForCausalLM(config(use_bias=True, inner_sizes=(len(kept),) * 2))
    weights = model.state_dict()
    for name, value in smaller.state_dict().items():
        full = weights[name]
        if "in_proj" in name:
            full = full[torch.cat([kept, kept + inner])]
        elif any(part in name for part in ("x_proj", "out_proj.weight")):
            full = full[:, kept]
        elif "mixer" in name and "out_proj.bias" not in name:
            full = full[kept]
        value.copy_(full)
    for mixer in model.mixers():
        mixer.channel_gate = Mask(kept, inner)
    ids = tokens(model)
    with torch.no_grad():
        gated, pruned = model(ids).logits, smaller(ids).logits
        ungated = make(use_bias=True)(ids).logits
    assert relative(gated, pruned) < 1e-6
    assert relative(gated, ungated) > 1e-3


def test_states_can_be_observed_without_changing_the_output():
    model = make()
    ids = tokens(model, batch=2, length=6)
    with torch.no_grad():
        expected = model(ids).logits
        seen = {}
        for layer, mixer in enumerate(model.mixers()):
            mixer.state_observer = lambda t, h, layer=layer: seen.__setitem__((layer, t), h)
        observed = model(ids).logits
        state = MambaState.zeros(2, [48, 48], 4, 4)
        model(ids, state=state)
    assert relative(observed, expected) < 1e-6
    assert set(seen) == {(layer, t) for layer in range(2) for t in range(6)}
    assert torch.equal(seen[1, 5], state.ssm[1])


def test_loss_alone_and_ignored_labels():
    model = make()
    ids = tokens(model)
    output = model(ids, labels=ids, return_logits=False)
    assert output.logits is None
    labels = ids.clone()
    labels[:, 8:] = -100
    masked = model(ids, labels=labels).loss
    assert float(masked) == pytest.approx(float(model(ids[:, :8], labels=ids[:, :8]).loss), 1e-6)
    assert model(ids).loss is None


def test_half_precision_weights_keep_the_residual_wide():
    model = make()
    ids = tokens(model)
    expected = model(ids).logits
    half = copy.deepcopy(model).bfloat16()
    streams = []
    half.backbone.layers[1].register_forward_hook(lambda *a: streams.append(a[-1].dtype))
    logits = half(ids).logits
    assert streams == [torch.float32]
    assert logits.dtype == torch.float32
    assert relative(logits, expected) < 3e-2


def test_initial_weights_have_the_distributions_of_transformers(transformers):
    settings = config(hidden_size=96, vocab_size=64, rescale_prenorm_residual=True)
    ours = init_weights(MambaForCausalLM(settings), 0).state_dict()
    values = settings.to_hf_dict()
    del values["architectures"]
    torch.manual_seed(0)
    theirs = transformers.MambaForCausalLM(transformers.MambaConfig(**values)).state_dict()
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert ours[name].shape == value.shape, name
        spread, expected = float(ours[name].std()), float(value.std())
        six_errors = 6 * expected / value.numel() ** 0.5 + 1e-6
        assert float(ours[name].mean()) == pytest.approx(float(value.mean()), abs=six_errors), name
        assert spread == pytest.approx(expected, rel=0.15, abs=1e-6), name
        bound = float(value.abs().max())
        assert float(ours[name].abs().max()) == pytest.approx(bound, rel=0.4, abs=1e-6), name


def test_initial_weights_follow_the_seed_alone():
    torch.manual_seed(1)
    first = make().state_dict()
    torch.manual_seed(2)
    second = make().state_dict()
    other = make(seed=4).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["backbone.embeddings.weight"], other["backbone.embeddings.weight"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_act": "gelu"}, "hidden_act 'gelu'"),
        ({"hidden_size": 0}, "hidden_size must be at least 1"),
        ({"time_step_init_scheme": "zeros"}, "time_step_init_scheme 'zeros'"),
        ({"inner_sizes": (3,)}, "inner_sizes has 1 entries for 2 layers"),
        ({"time_step_rank": "large"}, "time_step_rank 'large'"),
    ],
)
def test_bad_configurations_are_named(change, message):
    with pytest.raises(UserError, match=message):
        config(**change)


def test_importing_the_model_is_light():
    code = (
        "import sys, seqlab.models.pretrained; "
        "print([m for m in ('numba', 'transformers', 'pandas', 'mamba_ssm') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr

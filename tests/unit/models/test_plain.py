"""The plain form computes what the model does, without any kernel of ours."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from seqlab.errors import UserError
from seqlab.models.mamba import MambaForCausalLM
from seqlab.models.mamba_config import MambaConfig
from seqlab.models.mamba_init import init_weights
from seqlab.models.masks import Pattern, magnitude_mask
from seqlab.models.plain import plain_copy
from seqlab.models.quantize import QuantizedLinear, quantize_model
from seqlab.models.sparse_linear import SparseLinear, apply_masks, use_kernel

IN_PROJ = "backbone.layers.1.mixer.in_proj"


def model() -> MambaForCausalLM:
    config = MambaConfig(vocab_size=50, hidden_size=32, num_hidden_layers=2)
    return init_weights(MambaForCausalLM(config), seed=0).eval()


@pytest.mark.parametrize("tokens", [1, 2, 16, 29])
def test_plain_mamba_in_fp64(tokens: int) -> None:
    given = model().double()
    inputs = torch.randint(50, (3, tokens), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(inputs)
    mask[0, tokens // 2 + 1 :] = 0
    with torch.inference_mode():
        expected = given(inputs, attention_mask=mask).logits
        found = plain_copy(given)(inputs, attention_mask=mask).logits
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_plain_form_of_sparse_layers_and_gates() -> None:
    given = model()
    layer = given.get_submodule(IN_PROJ)
    apply_masks(given, {IN_PROJ: magnitude_mask(layer.weight, Pattern("unstructured", 0.5))})
    use_kernel(given, [IN_PROJ], "csr")
    next(given.mixers()).channel_gate = nn.Linear(64, 64)
    inputs = torch.randint(50, (2, 9))
    plain = plain_copy(given)
    with torch.inference_mode():
        torch.testing.assert_close(plain(inputs).logits, given(inputs).logits, rtol=1e-4, atol=1e-5)
    kinds = {type(module).__module__ for module in plain.modules()}
    assert "seqlab.models.sparse_linear" not in kinds
    assert isinstance(given.get_submodule(IN_PROJ), SparseLinear)
    assert plain.lm_head.weight is plain.backbone.embeddings.weight


def test_plain_form_of_quantised_layers() -> None:
    given = quantize_model(model(), "group32", 4, execution="numba")
    inputs = torch.randint(50, (2, 9))
    plain = plain_copy(given)
    with torch.inference_mode():
        torch.testing.assert_close(plain(inputs).logits, given(inputs).logits, rtol=1e-4, atol=1e-5)
    assert isinstance(given.get_submodule(IN_PROJ), QuantizedLinear)
    assert type(plain.get_submodule(IN_PROJ)) is nn.Linear


def test_plain_form_traces_into_standard_operators() -> None:
    inputs = torch.randint(50, (1, 20))
    plain = plain_copy(model()).backbone
    program = torch.export.export(plain, (inputs,))
    operators = {
        node.target.namespace
        for node in program.graph.nodes
        if node.op == "call_function"
        if hasattr(node.target, "namespace")
    }
    assert operators == {"aten"}


def test_no_plain_form_of_what_is_observed_or_continued() -> None:
    given = model()
    mixer = plain_copy(given).backbone.layers[0].mixer
    with pytest.raises(UserError, match="cannot start from a state"):
        mixer(torch.zeros(1, 2, 32), state=object())
    next(given.mixers()).state_observer = lambda t, h: None
    with pytest.raises(UserError, match="state observer"):
        plain_copy(given)

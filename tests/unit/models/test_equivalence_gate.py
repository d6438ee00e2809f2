import copy
import re
from dataclasses import replace

import pytest
import torch
from mamba_oracle import OracleMamba, fixed_inputs, odd_config, randomize
from permutation_cases import moving, one_missing

from seqlab.errors import UserError
from seqlab.models.equivalence import (
    Reference,
    check_equivalence,
    multiset_digest,
    reference_copy,
    require_equivalence,
)
from seqlab.models.mamba import MambaForCausalLM
from seqlab.models.quantize import quantize_model
from seqlab.models.sites import Layout, apply_layout, mamba_sites

CONFIG = odd_config(use_bias=True, tie_word_embeddings=False)
INPUTS = fixed_inputs(CONFIG)


def full_layout():
    sites = mamba_sites(CONFIG)
    return Layout(sites, {name: moving(site.size) for name, site in sites.items()})


def permuted(model, layout):
    result = copy.deepcopy(model)
    apply_layout(result, layout)
    return result


def test_a_permuted_fp32_model_passes_in_fp64_and_both_stay_as_they_are():
    model = OracleMamba(CONFIG)
    candidate = permuted(model, full_layout())
    result = check_equivalence(Reference(model, INPUTS), candidate)
    assert result.passed and result.detail == ""
    assert 0 < result.max_abs <= result.tolerance == 1e-10
    assert (result.dtype, result.n_inputs) == ("float64", 8)
    assert model.lm_head.weight.dtype == candidate.lm_head.weight.dtype == torch.float32


def test_the_gate_catches_every_tensor_left_out():
    model = OracleMamba(CONFIG)
    for site in mamba_sites(CONFIG).values():
        layout = Layout({site.name: site}, {site.name: moving(site.size)})
        for what, incomplete in one_missing(site):
            candidate = permuted(
                model, Layout({site.name: incomplete}, {site.name: moving(site.size)})
            )
            result = check_equivalence(Reference(model, INPUTS), candidate, layout=layout)
            assert not result.passed, what
            assert result.max_abs > 1e-3, what
            assert f"out of place: {what.split('[')[0]}" in result.detail


def test_an_incomplete_site_is_told_from_a_misplaced_tensor():
    model = OracleMamba(CONFIG)
    site = mamba_sites(CONFIG)["inner.0"]
    incomplete = next(one_missing(site))[1]
    layout = Layout({site.name: incomplete}, {site.name: moving(site.size)})
    result = check_equivalence(Reference(model, INPUTS), permuted(model, layout), layout=layout)
    assert not result.passed and "the site is incomplete" in result.detail
    unknown = check_equivalence(Reference(model, INPUTS), permuted(model, layout))
    assert not unknown.passed and unknown.detail.startswith("logits differ")


def test_changed_values_are_named_worst_first():
    model = OracleMamba(CONFIG)
    candidate = permuted(model, full_layout())
    with torch.no_grad():
        candidate.backbone.norm_f.weight[3] += 1e-9 + 1e-6
        candidate.backbone.layers[1].mixer.D[:4] *= 1.01
    expected = r"values changed.*in backbone\.layers\.1\.mixer\.D, backbone\.norm_f\.weight"
    with pytest.raises(UserError, match=rf"arm x.*{expected}"):
        require_equivalence(Reference(model, INPUTS), candidate, where="arm x")


def test_a_change_too_small_for_the_logits_is_still_caught():
    model = OracleMamba(CONFIG).double()
    candidate = copy.deepcopy(model)
    with torch.no_grad():
        candidate.lm_head.weight[0, 0].mul_(1 + 2.0**-52)
    result = check_equivalence(Reference(model, INPUTS), candidate)
    assert result.max_abs <= result.tolerance
    assert not result.passed and "lm_head.weight" in result.detail


def test_shapes_names_and_nans():
    model = OracleMamba(CONFIG)
    wider = OracleMamba(odd_config(use_bias=True, tie_word_embeddings=False, vocab_size=32))
    result = check_equivalence(Reference(model, INPUTS), wider)
    assert not result.passed and re.search(r"\(32, 25\), was \(31, 25\)", result.detail)
    bare = OracleMamba(odd_config(tie_word_embeddings=False))
    assert "out_proj.bias" in check_equivalence(Reference(model, INPUTS), bare).detail
    broken = copy.deepcopy(model)
    with torch.no_grad():
        broken.backbone.norm_f.weight[0] = float("nan")
    assert not check_equivalence(Reference(broken, INPUTS), copy.deepcopy(broken)).passed


def test_too_few_inputs_are_refused():
    model = OracleMamba(CONFIG)
    with pytest.raises(UserError, match="7 inputs are too few"):
        check_equivalence(Reference(model, INPUTS[:7]), model)


def test_require_returns_the_outcome():
    model = OracleMamba(CONFIG)
    assert require_equivalence(Reference(model, INPUTS), copy.deepcopy(model)).max_abs == 0.0


@pytest.mark.parametrize("scheme", ["per_tensor", "per_channel", "group5"])
@pytest.mark.parametrize("execution", ["simulated", "numba"])
def test_a_quantised_model_follows_a_layout(scheme, execution):
    model = quantize_model(OracleMamba(CONFIG), scheme, 4, execution=execution)
    candidate = permuted(model, full_layout())
    result = check_equivalence(Reference(model, INPUTS), candidate, layout=full_layout())
    assert result.passed, result.detail
    if execution == "numba":
        with torch.inference_mode():
            torch.testing.assert_close(
                model(INPUTS).logits, candidate(INPUTS).logits, rtol=1e-4, atol=1e-4
            )
        candidate.backbone.layers[0].mixer.out_proj.order.copy_(torch.arange(75))
        assert not check_equivalence(Reference(model, INPUTS), candidate).passed


def test_the_digest_sees_values_and_not_their_order():
    values = torch.tensor([[0.0, -0.0, float("nan")], [1.5, -2.0, 0.0]])
    shuffled = values.reshape(-1)[torch.tensor([5, 3, 1, 0, 4, 2])].reshape(3, 2)
    assert multiset_digest(values) == multiset_digest(shuffled)
    for other in (values.abs(), values.bfloat16(), values.half(), torch.cat((values, values))):
        assert multiset_digest(values) != multiset_digest(other)
    assert multiset_digest(values[:, ::2]) == multiset_digest(values[:, ::2].contiguous())


@pytest.mark.parametrize("tied", [True, False])
def test_the_model_of_this_package_passes_and_agrees_with_the_oracle(tied):
    config = replace(CONFIG, tie_word_embeddings=tied)
    model = MambaForCausalLM(config)
    randomize(model, torch.Generator().manual_seed(0))
    candidate = permuted(model, full_layout())
    result = require_equivalence(Reference(model, INPUTS), candidate, layout=full_layout())
    assert 0 < result.max_abs <= 1e-10
    assert model.scan_backend == "numba"
    oracle = OracleMamba(config)
    oracle.load_state_dict(model.state_dict())
    with torch.inference_mode():
        ours, expected = reference_copy(model)(INPUTS).logits, oracle.double()(INPUTS).logits
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-10)

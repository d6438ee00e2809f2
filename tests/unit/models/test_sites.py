import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from mamba_oracle import OracleMamba, fixed_inputs, odd_config
from permutation_cases import moving, one_missing

from seqlab.errors import UserError
from seqlab.layout.permutation import Permutation
from seqlab.models.permuting import permute_state_dict
from seqlab.models.sites import Layout, Site, TensorAxis, apply_layout, mamba_sites, relayout

CONFIGS = {
    "ragged": odd_config(),
    "biased": odd_config(use_bias=True, tie_word_embeddings=False),
    "bare": odd_config(use_conv_bias=False),
    "pruned": odd_config(
        hidden_size=7,
        inner_sizes=(13, 11, 12),
        state_size=3,
        time_step_rank=2,
        num_hidden_layers=3,
        use_bias=True,
        use_conv_bias=False,
        conv_kernel=3,
    ),
}
EXACT = 1e-10
VISIBLE = 1e-3


@pytest.fixture(params=CONFIGS, scope="module")
def config(request):
    return CONFIGS[request.param]


def logits(config, state_dict):
    """Run the oracle on a state dict whose tied tensors may have come apart."""
    model = OracleMamba(replace(config, tie_word_embeddings=False)).double()
    model.load_state_dict(state_dict)
    with torch.inference_mode():
        return model(fixed_inputs(config)).logits


def original(config):
    return OracleMamba(config).double().state_dict()


def test_every_site_keeps_the_function_and_every_tensor_of_it_is_needed(config):
    before = original(config)
    expected = logits(config, before)
    for site in mamba_sites(config).values():
        move = moving(site.size)
        permuted = logits(config, permute_state_dict(before, site, move))
        assert (permuted - expected).abs().max() <= EXACT, site.name
        for what, incomplete in one_missing(site):
            wrong = logits(config, permute_state_dict(before, incomplete, move))
            assert (wrong - expected).abs().max() > VISIBLE, f"{site.name} without {what}"


def test_sites_and_scopes(config):
    sites = mamba_sites(config)
    assert len(sites) == 1 + 3 * config.num_hidden_layers
    assert sites["hidden"].scope == "global"
    assert {s.scope for n, s in sites.items() if n != "hidden"} == {"layer"}
    assert sites["inner.1"].size == config.inner_size(1)
    assert sites["state.0"].size == config.state_size
    assert sites["rank.0"].size == config.step_rank
    assert all("layers.1." in tensor for tensor in sites["inner.1"].tensors())


def test_every_parameter_belongs_to_a_site(config):
    named = {t for site in mamba_sites(config).values() for t in site.tensors()}
    assert named == set(original(config))


def test_all_sites_together_in_place(config):
    model = OracleMamba(config)
    sites = mamba_sites(config)
    layout = Layout(sites, {name: moving(s.size, i) for i, (name, s) in enumerate(sites.items())})
    permuted = copy.deepcopy(model)
    apply_layout(permuted, layout)
    expected = model.state_dict()
    for name, site in sites.items():
        expected = permute_state_dict(expected, site, layout[name])
    for name, tensor in permuted.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    with torch.inference_mode():
        inputs = fixed_inputs(config)
        difference = model.double()(inputs).logits - permuted.double()(inputs).logits
    assert difference.abs().max() <= EXACT


def test_round_trip_is_bit_exact(config):
    before = original(config)
    after = before
    for site in mamba_sites(config).values():
        after = permute_state_dict(after, site, moving(site.size))
        after = permute_state_dict(after, site, moving(site.size).inverse())
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_tied_weights_are_permuted_once_and_stay_tied():
    config = CONFIGS["ragged"]
    model = OracleMamba(config)
    site = mamba_sites(config)["hidden"]
    move = moving(site.size)
    expected = move.apply(model.backbone.embeddings.weight.detach(), axis=1)
    permuted = permute_state_dict(model.state_dict(), site, move)
    assert torch.equal(permuted["lm_head.weight"], expected)
    assert permuted["lm_head.weight"] is permuted["backbone.embeddings.weight"]
    apply_layout(model, Layout({"hidden": site}, {"hidden": move}))
    assert torch.equal(model.lm_head.weight, expected)
    assert model.lm_head.weight is model.backbone.embeddings.weight


def test_a_tied_tensor_may_be_absent_from_a_state_dict():
    config = CONFIGS["ragged"]
    site = mamba_sites(config)["hidden"]
    stored = original(config)
    del stored["lm_head.weight"]
    permuted = permute_state_dict(stored, site, moving(site.size))
    assert permuted.keys() == stored.keys()


def test_tensors_of_other_sites_are_shared():
    before = original(CONFIGS["ragged"])
    site = mamba_sites(CONFIGS["ragged"])["state.0"]
    after = permute_state_dict(before, site, moving(site.size))
    changed = {name for name in before if after[name] is not before[name]}
    assert changed == set(site.tensors())


def test_relayout_follows_canonical_labels_however_it_got_there():
    config = CONFIGS["pruned"]
    sites = mamba_sites(config)
    rng = np.random.default_rng(5)
    model = OracleMamba(config)
    start = copy.deepcopy(model)
    layout = Layout(sites)
    for _ in range(4):
        target = layout
        for name, site in sites.items():
            target = target.then(name, Permutation.random(site.size, rng))
        relayout(model, layout, target)
        layout = target
    direct = copy.deepcopy(start)
    apply_layout(direct, layout)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, direct.state_dict()[name]), name
    relayout(model, layout, Layout(sites))
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, start.state_dict()[name]), name


def test_then_composes_on_current_positions_and_replace_on_original_labels():
    sites = {"s": Site("s", 4, "global", ())}
    first, second = Permutation([2, 0, 3, 1]), Permutation([1, 0, 3, 2])
    layout = Layout(sites, {"s": first})
    labels = np.array(["a", "b", "c", "d"])
    current = labels[first.indices]
    moved = layout.then("s", second)
    assert list(labels[moved["s"].indices]) == list(current[second.indices])
    assert moved.replace("s", second)["s"] == second
    assert moved == Layout(sites, {"s": first.then(second)})
    assert moved != layout


def test_to_canonical_restores_original_labels():
    sites = {"s": Site("s", 6, "global", ())}
    layout = Layout(sites, {"s": moving(6)})
    affinity = np.random.default_rng(0).random((6, 6))
    order = layout["s"].indices
    seen = affinity[np.ix_(order, order)]
    assert np.array_equal(layout.to_canonical("s", seen, axes=(0, 1)), affinity)


def test_blocks_move_together():
    site = Site("heads", 3, "layer", (TensorAxis("q", 0, (1,), block=2),))
    tensor = torch.arange(8)
    permuted = permute_state_dict({"q": tensor}, site, [2, 0, 1])["q"]
    assert permuted.tolist() == [0, 5, 6, 1, 2, 3, 4, 7]


def test_an_axis_or_tensor_the_model_lacks_is_named():
    site = Site("s", 3, "global", (TensorAxis("w", 2),))
    with pytest.raises(UserError, match=r"w: shape \(3, 3\) has no axis 2, which site 's'"):
        permute_state_dict({"w": torch.zeros(3, 3)}, site, [2, 0, 1])
    bias = Site("s", 31, "global", (TensorAxis("lm_head.bias", 0),))
    with pytest.raises(UserError, match=r"'lm_head\.bias' of site 's' is missing"):
        apply_layout(OracleMamba(CONFIGS["bare"]), Layout({"s": bias}, {"s": moving(31)}))


def test_both_axes_of_one_tensor():
    site = Site("s", 3, "global", (TensorAxis("w", 0), TensorAxis("w", 1)))
    weight = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    move = [2, 0, 1]
    permuted = permute_state_dict({"w": weight}, site, move)["w"]
    assert torch.equal(permuted, weight[move][:, move])


def test_wrong_permutations_are_refused_by_site_and_size():
    config = CONFIGS["ragged"]
    sites = mamba_sites(config)
    with pytest.raises(UserError, match=r"inner\.0.*25 elements.*site of 75"):
        Layout(sites, {"inner.0": Permutation.identity(25)})
    with pytest.raises(UserError, match=r"unknown permutation site 'inner\.7'.*inner\.1"):
        Layout(sites, {"inner.7": Permutation.identity(75)})
    # The broken rule of repeating each hidden index `expand` times is no permutation.
    repeated = np.repeat(moving(25).indices, 3)
    with pytest.raises(UserError, match=r"inner\.0.*repeated"):
        permute_state_dict(original(config), sites["inner.0"], repeated)
    with pytest.raises(UserError, match=r"hidden.*75 elements.*site of 25"):
        Layout(sites).then("hidden", moving(75))
    with pytest.raises(UserError, match="unknown permutation site"):
        Layout(sites)["outer"]


def test_a_model_that_does_not_match_is_refused_and_left_alone():
    sites = mamba_sites(replace(CONFIGS["ragged"], inner_sizes=(77, 77)))
    model = OracleMamba(CONFIGS["ragged"])
    before = copy.deepcopy(model.state_dict())
    layout = Layout(sites, {n: moving(s.size) for n, s in sites.items() if n != "rank.0"})
    with pytest.raises(UserError, match=r"in_proj\.weight.*axis 0 has 150.*inner\.0.*77"):
        apply_layout(model, layout)
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())
    deeper = mamba_sites(replace(CONFIGS["ragged"], num_hidden_layers=3))
    with pytest.raises(UserError, match=r"layers\.2.*'inner\.2' is missing"):
        apply_layout(model, Layout(deeper, {"inner.2": moving(75)}))
    with pytest.raises(UserError, match="different sites"):
        relayout(model, Layout(sites), Layout(deeper))
    with pytest.raises(UserError, match=r"layers\.2.*missing"):
        permute_state_dict(before, deeper["state.2"], moving(5))

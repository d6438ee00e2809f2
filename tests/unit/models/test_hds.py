"""Sparsity masks and HDS: magnitude start, gradients, noise, recovery of a planted mask."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from seqlab.errors import UserError
from seqlab.models import hds
from seqlab.models.masks import Pattern, density, keep_top, magnitude_mask, pattern_mask

TWO_OF_FOUR = Pattern.parse("2:4")


def weight(rows: int = 8, columns: int = 16, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("name", "n", "m"), [("2:4", 2, 4), ("1:8", 1, 8)])
def test_n_of_m_keeps_the_largest_of_every_group(name: str, n: int, m: int) -> None:
    values = weight()
    mask = magnitude_mask(values, Pattern.parse(name)).numpy().reshape(8, -1, m)
    magnitude = values.abs().numpy().reshape(8, -1, m)
    assert (mask.sum(-1) == n).all()
    kept = np.where(mask, magnitude, np.inf).min(-1)
    dropped = np.where(mask, -np.inf, magnitude).max(-1)
    assert (kept >= dropped).all()


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_unstructured_masks_drop_the_smallest(share: float) -> None:
    values = weight()
    mask = magnitude_mask(values, Pattern("unstructured", sparsity=share))
    assert density(mask) == pytest.approx(1 - share, abs=1 / values.numel())
    if share:
        assert values.abs()[mask].min() >= values.abs()[~mask].max()


def test_shares_may_have_decimals() -> None:
    pattern = Pattern.parse("tile16-20.55")
    assert (pattern.group, pattern.sparsity) == (16, pytest.approx(0.2055))
    assert Pattern.parse("unstructured12.5").sparsity == 0.125
    assert density(magnitude_mask(weight(), Pattern.parse("unstructured12.5"))) == 0.875


def test_tiles_are_kept_whole_by_their_energy() -> None:
    values = weight(16, 32)
    mask = magnitude_mask(values, Pattern.parse("tile8-75"))
    tiles = mask.reshape(2, 8, 4, 8)
    full = tiles.all(dim=3).all(dim=1)
    assert torch.equal(full, tiles.any(dim=3).any(dim=1))
    energy = values.square().reshape(2, 8, 4, 8).sum((1, 3))
    assert full.sum() == 2
    assert energy[full].min() > energy[~full].max()


def test_equal_scores_keep_the_lower_index() -> None:
    assert keep_top(torch.zeros(1, 4), 2).tolist() == [[True, True, False, False]]


@pytest.mark.parametrize("name", ["2:2", "0:4", "dense", "tile1-50", "unstructured100", "4"])
def test_names_that_are_no_pattern_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="sparsity pattern"):
        Pattern.parse(name)


def test_patterns_that_do_not_divide_are_refused() -> None:
    with pytest.raises(UserError, match="groups of 4 do not divide 15 inputs"):
        magnitude_mask(weight(8, 15), TWO_OF_FOUR)
    with pytest.raises(UserError, match="tiles of 8 do not divide a weight of 12 x 16"):
        magnitude_mask(weight(12, 16), Pattern.parse("tile8-50"))


def test_output_permutations_keep_the_mask_and_input_permutations_break_it() -> None:
    values = weight()
    mask = magnitude_mask(values, TWO_OF_FOUR)
    rows = torch.randperm(8, generator=torch.Generator().manual_seed(1))
    assert torch.equal(magnitude_mask(values[rows], TWO_OF_FOUR), mask[rows])
    columns = torch.randperm(16, generator=torch.Generator().manual_seed(1))
    assert not torch.equal(magnitude_mask(values[:, columns], TWO_OF_FOUR), mask[:, columns])
    groups = torch.arange(16).reshape(4, 4)[torch.tensor([2, 0, 3, 1])].reshape(-1)
    assert torch.equal(magnitude_mask(values[:, groups], TWO_OF_FOUR), mask[:, groups])


def test_step_zero_is_the_magnitude_mask() -> None:
    values = weight()
    mask = hds.LearnedMask(values, TWO_OF_FOUR)
    assert torch.equal(mask.hard_mask(), magnitude_mask(values, TWO_OF_FOUR))
    # m + p - p rounds.
    expected = values * magnitude_mask(values, TWO_OF_FOUR)
    torch.testing.assert_close(mask(values), expected, rtol=0, atol=1e-6)


def test_zero_weights_have_finite_logits() -> None:
    mask = hds.LearnedMask(torch.zeros(2, 8), TWO_OF_FOUR)
    assert mask.theta.isfinite().all()
    assert mask.hard_mask().sum() == 8


def test_every_logit_gets_the_gradient_of_the_softmax() -> None:
    values = weight(2, 4)
    mask = hds.LearnedMask(values, TWO_OF_FOUR)
    mask.temperature = 0.7
    target = weight(2, 4, seed=1)
    (mask(values) * target).sum().backward()
    soft = mask.theta.detach().clone().requires_grad_()
    (values * torch.softmax(soft / 0.7, -1).reshape(2, 4) * target).sum().backward()
    torch.testing.assert_close(mask.theta.grad, soft.grad)
    assert (mask.theta.grad != 0).all()


def test_noise_depends_on_its_seed_alone_and_keeps_the_count() -> None:
    values = weight()
    mask = hds.LearnedMask(values, TWO_OF_FOUR)
    mask.sampling = True
    drawn = {}
    for seed in (1, 2, 1):
        mask.generator_seed = seed
        state = torch.get_rng_state()
        drawn.setdefault(seed, []).append(mask(values).detach())
        assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(*drawn[1])
    assert not torch.equal(drawn[1][0], drawn[2][0])
    counts = (drawn[1][0].abs() > 1e-5).reshape(8, -1, 4).sum(-1)
    assert (counts == 2).all()
    # What is scored between steps is the mask that will be exported.
    expected = values * mask.hard_mask()
    torch.testing.assert_close(mask.eval()(values), expected, rtol=0, atol=1e-6)


def test_temperature_goes_linearly_and_seeds_differ() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    masks = hds.attach(model, ("0", "1"), TWO_OF_FOUR)
    seen = []
    for step in range(5):
        hds.schedule(model, step, 5, 1.0, 0.2, seed=3)
        seen += [mask.generator_seed for mask in masks.values()]
        assert masks["0"].temperature == pytest.approx(1.0 - 0.2 * step)
    assert len(set(seen)) == 10


def test_training_recovers_a_planted_mask() -> None:
    """The magnitudes mislead: the teacher uses the two smallest of every four."""
    generator = torch.Generator().manual_seed(0)
    values = weight(6, 16)
    planted = pattern_mask(1.0 / values.abs(), TWO_OF_FOUR)
    model = nn.Sequential(nn.Linear(16, 6, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(values)
    masks = hds.attach(model, ("0",), TWO_OF_FOUR)
    start = (masks["0"].hard_mask() == planted).double().mean()
    optimizer = torch.optim.Adam([masks["0"].theta], lr=0.05)
    for step in range(400):
        hds.schedule(model, step, 400, 1.0, 0.1, seed=0)
        x = torch.randn(64, 16, generator=generator)
        loss = (model(x) - x @ (values * planted).T).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    hard = hds.harden(model, masks)
    assert start < 0.1
    assert (hard["0"] == planted).double().mean() > 0.95
    assert hds.achieved_sparsity(hard) == 0.5


def test_hardened_layers_are_plain_again() -> None:
    model = nn.Sequential(nn.Linear(8, 4))
    original = model[0].weight.detach().clone()
    names = list(model.state_dict())
    masks = hds.attach(model, ("0",), TWO_OF_FOUR)
    assert list(hds.learned_masks(model)) == list(masks.values())
    hard = hds.harden(model, masks)
    assert sorted(model.state_dict()) == sorted(names)
    assert isinstance(model[0].weight, nn.Parameter)
    assert torch.equal(model[0].weight, original * hard["0"])
    assert torch.equal(hard["0"], magnitude_mask(original, TWO_OF_FOUR))


def test_layers_that_cannot_carry_a_mask_are_named() -> None:
    model = nn.Sequential(nn.Linear(6, 4))
    with pytest.raises(UserError, match="groups of 4 do not divide 6 inputs"):
        hds.attach(model, ("0",), TWO_OF_FOUR)
    with pytest.raises(UserError, match="not ReLU"):
        hds.attach(nn.Sequential(nn.ReLU()), ("0",), TWO_OF_FOUR)
    with pytest.raises(UserError, match="not tile"):
        hds.LearnedMask(weight(), Pattern.parse("tile8-50"))

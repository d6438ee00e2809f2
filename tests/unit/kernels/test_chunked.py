"""Chunked forms of linear recurrences against one token at a time, and special cases."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from seqlab.kernels import chunked, recurrences

BATCH, HEADS, KEYS, VALUES = 2, 2, 8, 6
Form = Callable[..., tuple[Tensor, Tensor]]
FORMS: dict[str, tuple[Form, Form, int]] = {
    "decayed": (chunked.chunked_decayed, recurrences.decayed_recurrence, 32),
    "gated": (chunked.chunked_gated, recurrences.gated_recurrence, 16),
    "delta": (chunked.chunked_delta, recurrences.delta_recurrence, 32),
    "gated_delta": (chunked.chunked_gated_delta, recurrences.gated_delta_recurrence, 32),
    "generalized_delta": (
        chunked.chunked_generalized_delta,
        recurrences.generalized_delta_recurrence,
        32,
    ),
}


def inputs(form: str, length: int, dtype: torch.dtype, extreme: float = 1.0) -> list[Tensor]:
    """Return what a form takes, gates as the mixers make them from logits of a given size."""
    generator = torch.Generator().manual_seed(length)

    def normal(*size: int) -> Tensor:
        return torch.randn(BATCH, HEADS, length, *size, generator=generator, dtype=torch.float64)

    q, k, v = normal(KEYS), normal(KEYS), normal(VALUES)
    beta = (extreme * normal()).sigmoid()
    unit = functional.normalize(k, dim=-1)
    per_head = -functional.softplus(extreme * normal())
    per_key = functional.logsigmoid(extreme * normal(KEYS)).clamp(min=chunked.GATE_MIN)
    bounded = -(0.6065 * (extreme * normal(KEYS)).sigmoid())
    rate = (extreme * normal(KEYS)).sigmoid()
    made = {
        "decayed": [q, k, v, per_head],
        "gated": [q, k, v, per_key],
        "delta": [q, unit, v, beta],
        "gated_delta": [q, unit, v, beta, per_head],
        "generalized_delta": [q, k, v, -unit, unit * rate, bounded],
    }[form]
    return [tensor.to(dtype) for tensor in made]


def lengths(chunk: int) -> list[int]:
    return [1, chunk - 1, chunk, chunk + 1, 3 * chunk + 5]


CASES = [(form, length) for form, (*_, chunk) in FORMS.items() for length in lengths(chunk)]


@pytest.mark.parametrize("dtype,tolerance", [(torch.float64, 1e-9), (torch.float32, 1e-4)])
@pytest.mark.parametrize("form,length", CASES)
def test_chunks_compute_the_recurrence(
    form: str, length: int, dtype: torch.dtype, tolerance: float
) -> None:
    in_chunks, step_by_step, _ = FORMS[form]
    made = inputs(form, length, dtype)
    for ours, theirs in zip(in_chunks(*made), step_by_step(*made), strict=True):
        assert ours.dtype == dtype
        assert (ours - theirs).abs().max() <= tolerance * theirs.abs().max()


@pytest.mark.parametrize("form,length", CASES)
def test_gradients_are_those_of_the_recurrence(form: str, length: int) -> None:
    found = []
    for function in FORMS[form][:2]:
        made = [tensor.requires_grad_() for tensor in inputs(form, length, torch.float64)]
        output, state = function(*made)
        weights = torch.linspace(-1, 1, output.numel(), dtype=torch.float64)
        ((output.flatten() * weights).sum() + state.square().sum()).backward()
        found.append([tensor.grad for tensor in made])
    for ours, theirs in zip(*found, strict=True):
        assert ours is not None and theirs is not None
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("form", FORMS)
def test_gradients_are_those_of_finite_differences(form: str) -> None:
    made = [tensor[:1, :1].requires_grad_() for tensor in inputs(form, 5, torch.float64)]
    assert torch.autograd.gradcheck(FORMS[form][0], made)


@pytest.mark.parametrize("form", FORMS)
def test_a_carried_state_continues_the_sequence(form: str) -> None:
    for function in FORMS[form][:2]:
        made = inputs(form, 75, torch.float64)
        whole, last = function(*made)
        first, state = function(*(tensor[:, :, :40] for tensor in made))
        second, final = function(*(tensor[:, :, 40:] for tensor in made), state)
        torch.testing.assert_close(torch.cat((first, second), 2), whole, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(final, last, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("form", FORMS)
def test_extreme_gates_stay_finite(form: str) -> None:
    made = [t.requires_grad_() for t in inputs(form, 1024, torch.float32, extreme=40.0)]
    output, state = FORMS[form][0](*made)
    (output.square().mean() + state.square().mean()).backward()
    assert output.isfinite().all() and state.isfinite().all()
    for tensor in made:
        assert tensor.grad is not None and tensor.grad.isfinite().all()


@pytest.mark.parametrize("form", FORMS)
def test_later_tokens_do_not_reach_earlier_outputs(form: str) -> None:
    made = inputs(form, 70, torch.float32)
    before, _ = FORMS[form][0](*made)
    changed = [torch.cat((x[:, :, :50], x[:, :, 50:].flip(2)), 2) for x in made]
    after, _ = FORMS[form][0](*changed)
    assert torch.equal(before[:, :, :50], after[:, :, :50])
    assert not torch.equal(before[:, :, 50:], after[:, :, 50:])


def test_without_a_write_the_state_stays() -> None:
    q, k, v, beta = inputs("delta", 40, torch.float64)
    state = torch.randn(BATCH, HEADS, KEYS, VALUES, dtype=torch.float64)
    _, final = chunked.chunked_delta(q, k, v, torch.zeros_like(beta), state)
    assert torch.equal(final, state)


def test_without_decay_the_gated_delta_rule_is_the_delta_rule() -> None:
    q, k, v, beta = inputs("delta", 70, torch.float64)
    ours = chunked.chunked_gated_delta(q, k, v, beta, torch.zeros_like(beta))
    for a, b in zip(ours, chunked.chunked_delta(q, k, v, beta), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_a_constant_gate_is_retention() -> None:
    q, k, v, _ = inputs("gated", 70, torch.float64)
    g = torch.full_like(k, -0.03)
    ours = chunked.chunked_gated(q, k, v, g)
    for a, b in zip(ours, chunked.chunked_decayed(q, k, v, g[..., 0]), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_full_rate_without_decay_is_the_delta_rule_that_writes_all() -> None:
    q, unit, v, beta = inputs("delta", 70, torch.float64)
    ours = chunked.chunked_generalized_delta(q, unit, v, -unit, unit, torch.zeros_like(unit))
    theirs = chunked.chunked_delta(q, unit, v, torch.ones_like(beta))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_of_equal_keys_the_last_value_stays() -> None:
    key = functional.normalize(torch.ones(1, 1, 64, KEYS), dim=-1)
    values = torch.randn(1, 1, 64, VALUES, generator=torch.Generator().manual_seed(0))
    output, _ = chunked.chunked_delta(key, key, values, torch.ones(1, 1, 64))
    torch.testing.assert_close(output, values, rtol=1e-5, atol=1e-5)


def test_decay_comes_before_the_read_of_the_gated_delta_rule() -> None:
    key = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    state = torch.full((1, 1, 1, 1), 3.0, dtype=torch.float64)
    half = torch.full((1, 1, 1), 0.5, dtype=torch.float64)
    # 0.5 * 3 = 1.5; written 0.5 * (2 - 1.5) = 0.25.
    _, found = chunked.chunked_gated_delta(key, key, 2 * key, half, half.log(), state)
    assert found.item() == pytest.approx(1.75)


def test_removal_of_rwkv7_reads_the_state_before_it_decays() -> None:
    one = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    state = 3 * one
    # 0.5 * 3 - 1 * 3 * 0.25 + 2 = 2.75.
    found = chunked.chunked_generalized_delta(
        one, one, 2 * one, -one, 0.25 * one, (0.5 * one).log(), state
    )[1]
    assert found.item() == pytest.approx(2.75)


@pytest.mark.parametrize("form", FORMS)
def test_half_precision_is_computed_in_full(form: str) -> None:
    made = inputs(form, 40, torch.float32)
    halves = [tensor.bfloat16() for tensor in made]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, state = FORMS[form][0](*halves)
    wanted, last = FORMS[form][0](*(half.float() for half in halves))
    assert (output.dtype, state.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(output, wanted.bfloat16())
    torch.testing.assert_close(state, last)

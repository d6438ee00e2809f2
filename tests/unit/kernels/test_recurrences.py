"""Chunked and compiled linear recurrences against one token at a time, and special cases."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from seqlab.kernels import chunked, recurrences, recurrences_numba
from seqlab.kernels.matrix_state_numba import CHUNK
from seqlab.kernels.recurrences import Form

BATCH, HEADS, KEYS, VALUES = 2, 2, 8, 6
# Tokens of a chunk of batched products.
FORMS = {"decayed": 32, "gated": 16, "delta": 32, "gated_delta": 32, "generalized_delta": 32}
DTYPES = {"chunked": torch.float64, "numba": torch.float32}
EITHER = pytest.mark.parametrize("computed", DTYPES)
EVERY = pytest.mark.parametrize("form", FORMS)


def function_of(form: str, computed: str) -> Form:
    module = {"chunked": chunked, "numba": recurrences_numba}[computed]
    function: Form = getattr(module, f"{computed}_{form}")
    return function


def step_by_step(form: str) -> Form:
    function: Form = getattr(recurrences, f"{form}_recurrence")
    return function


def inputs(
    form: str,
    length: int,
    dtype: torch.dtype,
    *,
    extreme: float = 1.0,
    keys: int = KEYS,
    values: int = VALUES,
) -> list[Tensor]:
    """Return what a form takes, gates as the mixers make them from logits of a given size."""
    generator = torch.Generator().manual_seed(length)

    def normal(*size: int) -> Tensor:
        return torch.randn(BATCH, HEADS, length, *size, generator=generator, dtype=torch.float64)

    q, k, v = normal(keys), normal(keys), normal(values)
    beta = (extreme * normal()).sigmoid()
    unit = functional.normalize(k, dim=-1)
    per_head = -functional.softplus(extreme * normal())
    per_key = functional.logsigmoid(extreme * normal(keys)).clamp(min=chunked.GATE_MIN)
    bounded = -(0.6065 * (extreme * normal(keys)).sigmoid())
    rate = (extreme * normal(keys)).sigmoid()
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


CASES = [
    (form, length)
    for form, chunk in FORMS.items()
    for length in sorted({*lengths(chunk), *lengths(CHUNK)})
]
PRECISIONS = [
    ("chunked", torch.float64, 1e-9),
    ("chunked", torch.float32, 1e-4),
    ("numba", torch.float32, 1e-5),
]


@pytest.mark.parametrize("computed,dtype,tolerance", PRECISIONS)
@pytest.mark.parametrize("form,length", CASES)
def test_each_computes_the_recurrence(
    form: str, length: int, computed: str, dtype: torch.dtype, tolerance: float
) -> None:
    made = inputs(form, length, dtype)
    theirs = step_by_step(form)(*(tensor.double() for tensor in made))
    for found, wanted in zip(function_of(form, computed)(*made), theirs, strict=True):
        assert found.dtype == dtype
        assert (found - wanted).abs().max() <= tolerance * wanted.abs().max()


def gradients(function: Form, made: list[Tensor], state: Tensor | None) -> list[Tensor]:
    made = [tensor.clone().requires_grad_() for tensor in made]
    before = [] if state is None else [state.clone().requires_grad_()]
    output, last = function(*made, *before)
    weights = torch.linspace(-1, 1, output.numel(), dtype=output.dtype)
    loss = (output.flatten() * weights).sum() + last.square().sum()
    return list(torch.autograd.grad(loss, [*made, *before]))


@EITHER
@pytest.mark.parametrize("form,length", CASES)
def test_gradients_are_those_of_the_recurrence(form: str, length: int, computed: str) -> None:
    dtype, tolerance = DTYPES[computed], {"chunked": 1e-9, "numba": 1e-5}[computed]
    generator = torch.Generator().manual_seed(1)
    given = torch.randn(BATCH, HEADS, KEYS, VALUES, generator=generator, dtype=dtype)
    for state in (None, given):
        made = inputs(form, length, dtype)
        exact = [tensor.double() for tensor in made]
        ours = gradients(function_of(form, computed), made, state)
        theirs = gradients(step_by_step(form), exact, None if state is None else state.double())
        for found, wanted in zip(ours, theirs, strict=True):
            # Of one token without a state before it the decay has no gradient.
            assert (found - wanted).norm() <= tolerance * max(float(wanted.norm()), 1e-3)


@EVERY
def test_segments_of_a_long_sequence_compute_the_recurrence(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunked, "SEGMENT", 48)
    for length in (48, 49, 150):
        made = inputs(form, length, torch.float64)
        ours = gradients(function_of(form, "chunked"), made, None)
        theirs = gradients(step_by_step(form), made, None)
        for found, wanted in zip(ours, theirs, strict=True):
            assert (found - wanted).norm() <= 1e-9 * wanted.norm()


@EVERY
def test_gradients_are_those_of_finite_differences(form: str) -> None:
    made = [tensor[:1, :1].requires_grad_() for tensor in inputs(form, 5, torch.float64)]
    assert torch.autograd.gradcheck(function_of(form, "chunked"), made)


@EITHER
@EVERY
def test_a_carried_state_continues_the_sequence(form: str, computed: str) -> None:
    dtype = DTYPES[computed]
    tolerance = {"chunked": 1e-9, "numba": 1e-5}[computed]
    for function in (function_of(form, computed), step_by_step(form)):
        made = inputs(form, 75, dtype)
        whole, last = function(*made)
        first, state = function(*(tensor[:, :, :40] for tensor in made))
        second, final = function(*(tensor[:, :, 40:] for tensor in made), state)
        joined = torch.cat((first, second), 2)
        torch.testing.assert_close(joined, whole, rtol=tolerance, atol=tolerance)
        torch.testing.assert_close(final, last, rtol=tolerance, atol=tolerance)


@EITHER
@EVERY
def test_extreme_gates_stay_finite(form: str, computed: str) -> None:
    made = [t.requires_grad_() for t in inputs(form, 1024, torch.float32, extreme=40.0)]
    output, state = function_of(form, computed)(*made)
    (output.square().mean() + state.square().mean()).backward()
    assert output.isfinite().all() and state.isfinite().all()
    for tensor in made:
        assert tensor.grad is not None and tensor.grad.isfinite().all()


@EITHER
@EVERY
def test_later_tokens_do_not_reach_earlier_outputs(form: str, computed: str) -> None:
    function, made = function_of(form, computed), inputs(form, 70, torch.float32)
    before, _ = function(*made)
    changed = [torch.cat((x[:, :, :50], x[:, :, 50:].flip(2)), 2) for x in made]
    after, _ = function(*changed)
    assert torch.equal(before[:, :, :50], after[:, :, :50])
    assert not torch.equal(before[:, :, 50:], after[:, :, 50:])


@pytest.mark.parametrize("keys,values", [(1, 1), (5, 32), (16, 33), (64, 64), (32, 96)])
@EVERY
def test_the_kernel_takes_states_of_any_size(form: str, keys: int, values: int) -> None:
    made = inputs(form, CHUNK + 3, torch.float32, keys=keys, values=values)
    state = torch.randn(BATCH, HEADS, keys, values, generator=torch.Generator().manual_seed(2))
    ours = gradients(function_of(form, "numba"), made, state)
    theirs = gradients(step_by_step(form), [tensor.double() for tensor in made], state.double())
    for found, wanted in zip(ours, theirs, strict=True):
        assert (found - wanted).norm() <= 1e-5 * wanted.norm()


@EVERY
def test_the_kernel_takes_views_of_heads(form: str) -> None:
    made = inputs(form, 40, torch.float32)
    views = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in made]
    assert not any(view.is_contiguous() for view in views)
    found = gradients(function_of(form, "numba"), views, None)
    for ours, theirs in zip(found, gradients(function_of(form, "numba"), made, None), strict=True):
        assert torch.equal(ours, theirs)


@EVERY
def test_each_input_may_want_its_gradient_alone(form: str) -> None:
    function, made = function_of(form, "numba"), inputs(form, 40, torch.float32)
    wanted = gradients(function, made, None)
    weights = torch.linspace(-1, 1, made[2].numel())
    for i, (tensor, whole) in enumerate(zip(made, wanted, strict=True)):
        given = tensor.clone().requires_grad_()
        output, last = function(*made[:i], given, *made[i + 1 :])
        ((output.flatten() * weights).sum() + last.square().sum()).backward()
        torch.testing.assert_close(given.grad, whole)


@EVERY
def test_the_last_state_alone_has_gradients(form: str) -> None:
    found = []
    for function, dtype in (
        (function_of(form, "numba"), torch.float32),
        (step_by_step(form), torch.float64),
    ):
        made = [x.to(dtype).requires_grad_() for x in inputs(form, 40, torch.float32)]
        function(*made)[1].square().sum().backward()
        found.append([x.grad for x in made[1:]])
    for ours, theirs in zip(*found, strict=True):
        assert ours is not None and theirs is not None
        assert (ours - theirs).norm() <= 1e-5 * theirs.norm()


@EVERY
def test_outputs_of_the_kernel_may_be_changed_in_place(form: str) -> None:
    made = [x.requires_grad_() for x in inputs(form, 40, torch.float32)]
    output, _ = function_of(form, "numba")(*made)
    output.mul_(2).sum().backward()
    assert made[0].grad is not None and made[0].grad.isfinite().all()


@EVERY
def test_the_kernel_does_not_depend_on_threads(form: str) -> None:
    made, most = inputs(form, 70, torch.float32), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(gradients(function_of(form, "numba"), made, None))
    finally:
        torch.set_num_threads(most)
    for one, two in zip(*found, strict=True):
        assert torch.equal(one, two)


def test_the_kernel_refuses_what_it_would_read_outside_of() -> None:
    made = inputs("generalized_delta", 40, torch.float32)
    q, k, v, a, b, g = made
    function = recurrences_numba.numba_generalized_delta
    for given, named in (
        ((q, k[:, :1], v, a, b, g), "k has shape"),
        ((q, k, v[:, :1], a, b, g), "v has shape"),
        ((q, k, v, a[:, :, :20], b, g), "a has shape"),
        ((q, k, v, a, b[..., :4], g), "b has shape"),
        ((q, k, v, a, b, g[:1]), "decays has shape"),
        (([*made, torch.zeros(1, HEADS, KEYS, VALUES)]), "state has shape"),
        ([x[:, :, :0] for x in made], "nothing to compute"),
        ([x.double() for x in made], "float32 on a CPU, not"),
    ):
        with pytest.raises(ValueError, match=named):
            function(*given)


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


@EITHER
@EVERY
def test_half_precision_is_computed_in_full(form: str, computed: str) -> None:
    function, made = function_of(form, computed), inputs(form, 40, torch.float32)
    halves = [tensor.bfloat16() for tensor in made]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, state = function(*halves)
    wanted, last = function(*(half.float() for half in halves))
    assert (output.dtype, state.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(output, wanted.bfloat16())
    torch.testing.assert_close(state, last)

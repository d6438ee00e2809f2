"""The three scan backends against each other and against an oracle written as nested loops."""

from __future__ import annotations

import logging
import math
import sys
import types

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqlab.errors import UserError
from seqlab.kernels import selective_scan as module
from seqlab.kernels.selective_scan import resolve_backend, selective_scan

NAMES = ("u", "delta", "a", "b", "c", "d", "z", "initial_state")


def make(batch, tokens, channels, states, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator).to(dtype)

    return {
        "u": draw(batch, tokens, channels),
        "delta": draw(batch, tokens, channels) * 2 - 2,
        "a": -torch.exp(draw(channels, states) / 2),
        "b": draw(batch, tokens, states),
        "c": draw(batch, tokens, states),
        "d": draw(channels),
        "z": draw(batch, tokens, channels),
        "initial_state": draw(batch, channels, states),
    }


def oracle(u, delta, a, b, c, d, z, initial_state):
    """The recurrence for single numbers, in NumPy float64."""
    u, delta, a, b, c, d, z, h = (
        np.array(t.double()) for t in (u, delta, a, b, c, d, z, initial_state)
    )
    y = np.empty_like(u)
    for i, t, channel in np.ndindex(u.shape):
        dt = math.log1p(math.exp(delta[i, t, channel]))
        total = d[channel] * u[i, t, channel]
        for n in range(a.shape[1]):
            decay = math.exp(dt * a[channel, n])
            h[i, channel, n] = decay * h[i, channel, n] + dt * b[i, t, n] * u[i, t, channel]
            total += c[i, t, n] * h[i, channel, n]
        gate = z[i, t, channel]
        y[i, t, channel] = total * gate / (1 + math.exp(-gate))
    return y, h


def relative(got, expected):
    got, expected = (torch.as_tensor(x).detach().double() for x in (got, expected))
    return float((got - expected).norm() / expected.norm().clamp(min=1e-30))


def run(inputs, backend, dtype, leave_out=()):
    """Return output, state and gradients of a fixed random functional of both."""
    given_ = {
        name: value.to(dtype).clone().requires_grad_()
        for name, value in inputs.items()
        if name not in leave_out
    }
    y, state = selective_scan(**given_, backend=backend)
    generator = torch.Generator().manual_seed(99)
    into_y = torch.randn(y.shape, generator=generator).to(dtype)
    into_state = torch.randn(state.shape, generator=generator).to(dtype)
    ((y * into_y).sum() + (state * into_state).sum()).backward()
    return {"y": y, "state": state} | {name: value.grad for name, value in given_.items()}


def test_reference_is_the_recurrence():
    inputs = make(2, 7, 3, 4, dtype=torch.float64)
    y, state = selective_scan(**inputs, backend="torch")
    expected_y, expected_state = oracle(**inputs)
    assert relative(y, expected_y) < 1e-13
    assert relative(state, expected_state) < 1e-13


def test_reference_gradients_by_finite_differences():
    inputs = make(2, 4, 2, 3, dtype=torch.float64)
    # A step in `a` may not make it positive.
    assert float(inputs["a"].max()) < -1e-3
    values = [value.requires_grad_() for value in inputs.values()]

    def call(*tensors):
        return selective_scan(**dict(zip(NAMES, tensors, strict=True)), backend="torch")

    assert torch.autograd.gradcheck(call, values)


@pytest.mark.parametrize(
    "shape",
    [(2, 19, 37, 5), (1, 8, 16, 16), (3, 1, 1, 1), (1, 9, 150, 3)],
    ids=["tails", "exact", "single", "two-groups"],
)
def test_numba_equals_reference(shape):
    inputs = make(*shape)
    expected = run(inputs, "torch", torch.float64)
    got = run(inputs, "numba", torch.float32)
    for name, value in expected.items():
        assert relative(got[name], value) < 1e-6, name


@pytest.mark.parametrize("left_out", [("z",), ("d",), ("initial_state",), NAMES[5:]])
def test_numba_optional_inputs(left_out):
    inputs = make(1, 11, 18, 3)
    expected = run(inputs, "torch", torch.float64, left_out)
    got = run(inputs, "numba", torch.float32, left_out)
    assert set(got) == set(expected)
    for name, value in expected.items():
        assert relative(got[name], value) < 1e-6, name


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    batch=st.integers(1, 3),
    tokens=st.integers(1, 18),
    channels=st.integers(1, 34),
    states=st.integers(1, 5),
    seed=st.integers(0, 2**16),
)
def test_numba_any_shape(batch, tokens, channels, states, seed):
    inputs = make(batch, tokens, channels, states, seed)
    expected = run(inputs, "torch", torch.float64)
    got = run(inputs, "numba", torch.float32)
    for name, value in expected.items():
        assert relative(got[name], value) < 3e-6, name


def test_numba_reads_slices_in_place_and_writes_nothing_else():
    inputs = make(2, 10, 20, 3)
    wide = torch.full((2, 10, 60), 7.0)
    wide[..., :20], wide[..., 20:40] = inputs["u"], inputs["z"]
    before = wide.clone()
    sliced = inputs | {"u": wide[..., :20], "z": wide[..., 20:40]}
    assert torch.equal(
        selective_scan(**sliced, backend="numba")[0], selective_scan(**inputs, backend="numba")[0]
    )
    assert torch.equal(wide, before)


def test_continuing_from_a_state_equals_one_run():
    inputs = make(2, 21, 17, 4)
    whole, last = selective_scan(**inputs, backend="numba")
    head = {k: v[:, :8] if v.ndim == 3 and v.shape[1] == 21 else v for k, v in inputs.items()}
    tail = {k: v[:, 8:] if v.ndim == 3 and v.shape[1] == 21 else v for k, v in inputs.items()}
    first, middle = selective_scan(**head, backend="numba")
    second, end = selective_scan(**(tail | {"initial_state": middle}), backend="numba")
    assert torch.equal(torch.cat([first, second], 1), whole)
    assert torch.equal(end, last)


def test_extreme_values_stay_finite_and_right():
    inputs = make(1, 6, 16, 2)
    inputs["delta"] = torch.tensor([-90.0, -30.0, 0.0, 25.0, 60.0, 200.0])[None, :, None].expand(
        1, 6, 16
    )
    inputs["z"] = torch.tensor([-100.0, -20.0, 0.0, 20.0, 100.0, 1.0])[None, :, None].expand(
        1, 6, 16
    )
    expected = run(inputs, "torch", torch.float64)
    got = run(inputs, "numba", torch.float32)
    for name, value in expected.items():
        assert bool(torch.isfinite(got[name]).all()), name
        assert relative(got[name], value) < 2e-6, name


def test_nan_is_not_hidden():
    inputs = make(1, 5, 16, 2)
    inputs["u"][0, 2, 3] = float("nan")
    y, _ = selective_scan(**inputs, backend="numba")
    bad = torch.isnan(y[0, :, 3])
    assert bad.tolist() == [False, False, True, True, True]
    assert not bool(torch.isnan(y[0, :, :3]).any())


def test_threads_do_not_change_the_result():
    inputs = make(3, 9, 40, 3)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = run(inputs, "numba", torch.float32)
        torch.set_num_threads(2)
        two = run(inputs, "numba", torch.float32)
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_kept_memory_grows_linearly():
    def kept(tokens):
        sizes = []
        inputs = {k: v.requires_grad_() for k, v in make(1, tokens, 16, 2).items()}
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: sizes.append(t.numel()) or t, lambda t: t
        ):
            selective_scan(**inputs, backend="numba")
        return sum(sizes)

    small, large = kept(16), kept(64)
    assert small < large <= 4 * small


def test_half_precision_is_scanned_in_float32():
    inputs = make(1, 12, 16, 4)
    half = {name: value.bfloat16() for name, value in inputs.items()}
    y, state = selective_scan(**half, backend="numba")
    expected, _ = selective_scan(**{k: v.float() for k, v in half.items()}, backend="numba")
    assert (y.dtype, state.dtype) == (torch.bfloat16, torch.float32)
    assert torch.equal(y, expected.bfloat16())


def test_autocast_leaves_the_reference_in_float32():
    inputs = make(1, 12, 16, 4)
    expected, _ = selective_scan(**inputs, backend="torch")
    with torch.autocast("cpu", torch.bfloat16):
        y, _ = selective_scan(**inputs, backend="torch")
    assert torch.equal(y, expected)


def test_observer_sees_every_state():
    inputs = make(2, 5, 3, 2, dtype=torch.float64)
    seen = []
    _, last = selective_scan(
        **inputs, backend="torch", observer=lambda t, h: seen.append((t, h.clone()))
    )
    assert [t for t, _ in seen] == list(range(5))
    prefix = {k: v[:, :3] if v.ndim == 3 and v.shape[1] == 5 else v for k, v in inputs.items()}
    assert relative(seen[2][1], oracle(**prefix)[1]) < 1e-13
    assert torch.equal(seen[-1][1], last)
    with pytest.raises(UserError, match="cannot show"):
        selective_scan(**make(1, 2, 2, 1), backend="numba", observer=lambda t, h: None)


def test_wrong_inputs_are_named():
    inputs = make(2, 5, 3, 2)
    with pytest.raises(ValueError, match=r"b has shape .* expected \(2, 5, 2\)"):
        selective_scan(**(inputs | {"b": inputs["b"][:, :4]}))
    with pytest.raises(ValueError, match="must not be positive"):
        selective_scan(**(inputs | {"a": -inputs["a"]}))
    with pytest.raises(UserError, match="unknown"):
        selective_scan(**inputs, backend="cuda")


def fake_mamba_ssm(monkeypatch):
    """Install a module with mamba-ssm's interface, made of the reference; returns its calls."""
    calls = []

    def selective_scan_fn(u, delta, A, B, C, D=None, z=None, **options):
        calls.append({"u": u, "delta": delta, "B": B, **options})
        assert all(t.is_contiguous() for t in (u, delta, A, B, C))
        y, state = module.reference_scan(
            u.transpose(1, 2),
            delta.transpose(1, 2),
            A,
            B.transpose(1, 2),
            C.transpose(1, 2),
            D,
            None if z is None else z.transpose(1, 2),
            None,
        )
        return y.transpose(1, 2), state

    interface = types.ModuleType("mamba_ssm.ops.selective_scan_interface")
    interface.selective_scan_fn = selective_scan_fn
    for name in ("mamba_ssm", "mamba_ssm.ops"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, interface.__name__, interface)
    monkeypatch.setattr(module, "mamba_ssm_importable", lambda: True)
    return calls


def test_mamba_ssm_gets_its_layout(monkeypatch):
    calls = fake_mamba_ssm(monkeypatch)
    # There is no GPU here: let the name resolve as it would there.
    monkeypatch.setattr(module, "resolve_backend", lambda *_: "mamba_ssm")
    inputs = make(2, 6, 5, 3)
    del inputs["initial_state"]
    y, state = selective_scan(**inputs)
    expected, expected_state = module.reference_scan(*inputs.values(), None)
    assert torch.equal(y, expected)
    assert torch.equal(state, expected_state)
    assert calls[0]["u"].shape == (2, 5, 6)
    assert calls[0]["B"].shape == (2, 3, 6)
    assert calls[0]["delta_softplus"] is True
    assert calls[0]["return_last_state"] is True
    assert calls[0]["delta_bias"] is None
    before = torch.randn(2, 5, 3)
    y, state = selective_scan(**inputs, initial_state=before)
    expected, expected_state = module.reference_scan(*inputs.values(), before)
    assert torch.equal(y, expected) and torch.equal(state, expected_state)
    assert len(calls) == 1, "mamba_ssm cannot start from a state"


def test_backends_resolve_by_device_and_type(monkeypatch, caplog):
    monkeypatch.setattr(module, "_reported", set())
    monkeypatch.setattr(module, "mamba_ssm_importable", lambda: False)
    assert resolve_backend(None, "cpu") == "numba"
    assert resolve_backend("torch", "cpu") == "torch"
    assert resolve_backend(None, "cpu", torch.float64) == "torch"
    assert resolve_backend(None, "meta") == "torch"
    with pytest.raises(UserError, match="not installed"):
        resolve_backend("mamba_ssm", "cuda")
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        assert resolve_backend(None, "cuda") == "torch"
        assert resolve_backend("numba", "cpu", torch.float64) == "torch"
        assert resolve_backend("numba", "cpu", torch.float64) == "torch"
    assert [record.args[:2] for record in caplog.records] == [
        ("mamba_ssm", "torch"),
        ("numba", "torch"),
    ]
    monkeypatch.setattr(module, "mamba_ssm_importable", lambda: True)
    assert resolve_backend(None, "cuda", torch.bfloat16) == "mamba_ssm"
    assert resolve_backend("torch", "cuda") == "torch"
    assert resolve_backend("mamba_ssm", "cpu") == "numba"

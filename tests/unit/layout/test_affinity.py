"""Affinities against direct computation."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqlab.errors import UserError
from seqlab.layout.affinity import (
    StreamingCoactivation,
    StreamingCorrelation,
    affinity,
    sensitivity,
    structural_coaccess,
)


def _batches(samples, cuts):
    return np.split(samples, sorted(cuts))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(0, 40), max_size=4))
def test_streaming_in_any_batches_is_corrcoef(seed, cuts):
    rng = np.random.default_rng(seed)
    samples = rng.normal(size=(40, 5)) @ rng.normal(size=(5, 5))
    stream = StreamingCorrelation(5)
    for batch in _batches(samples, cuts):
        stream.update(batch)
    np.testing.assert_allclose(stream.correlation(), np.corrcoef(samples, rowvar=False), atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 30))
def test_merging_two_streams_is_one_stream(seed, cut):
    samples = np.random.default_rng(seed).normal(size=(30, 4)) * [1, 10, 0.1, 5]
    parts = [StreamingCorrelation(4), StreamingCorrelation(4)]
    parts[0].update(samples[:cut])
    parts[1].update(samples[cut:])
    parts[0].merge(parts[1])
    np.testing.assert_allclose(
        parts[0].correlation(), np.corrcoef(samples, rowvar=False), atol=1e-12
    )


def test_a_huge_offset_that_drifts_costs_no_precision():
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(600, 3)) @ rng.normal(size=(3, 3))
    stream = StreamingCorrelation(3)
    for batch in np.split(samples + 1e8, 6):
        stream.update(batch)
    shifted = (samples + 1e8) - 1e8
    np.testing.assert_allclose(stream.correlation(), np.corrcoef(shifted, rowvar=False), atol=1e-9)


def test_sequences_are_flattened_not_averaged_and_torch_is_taken():
    tensor = torch.randn(3, 7, 4, generator=torch.Generator().manual_seed(0))
    stream = StreamingCorrelation(4)
    stream.update(tensor.to(torch.bfloat16).requires_grad_())
    flat = tensor.to(torch.bfloat16).double().reshape(-1, 4).numpy()
    assert stream.count == 21
    np.testing.assert_allclose(stream.correlation(), np.corrcoef(flat, rowvar=False), atol=1e-12)


def test_constant_channels_correlate_with_nothing():
    samples = np.random.default_rng(0).normal(size=(50, 3))
    samples[:, 1] = 0.1
    stream = StreamingCorrelation(3)
    for batch in np.split(samples, 5):
        stream.update(batch)
    correlation = stream.correlation()
    assert (correlation[1] == 0).all()
    assert (correlation[:, 1] == 0).all()
    assert correlation[0, 0] == 1


def test_correlation_is_exactly_symmetric_and_bounded():
    samples = np.random.default_rng(1).normal(size=(30, 2))
    stream = StreamingCorrelation(4)
    stream.update(np.concatenate([samples, -3 * samples], axis=1))
    correlation = stream.correlation()
    assert (correlation == correlation.T).all()
    assert np.abs(correlation).max() <= 1
    np.testing.assert_allclose(correlation[0, 2], -1, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.update(np.zeros((2, 5))), "do not end in 3"),
        (lambda s: s.update([[0.0, np.nan, 1.0]]), "channel 1 hold"),
        (lambda s: s.correlation(), "at least 2 samples, not 0"),
        (lambda s: s.merge(StreamingCorrelation(2)), "3 and 2 channels"),
    ],
)
def test_bad_samples_are_named(call, message):
    with pytest.raises(UserError, match=message):
        call(StreamingCorrelation(3))


def test_affinity_modes():
    correlation = np.array([[1.0, -0.5], [-0.5, 1.0]])
    assert (affinity(correlation, "abs") == [[0, 0.5], [0.5, 0]]).all()
    assert (affinity(correlation, "relu") == 0).all()
    assert correlation[0, 0] == 1
    with pytest.raises(UserError, match="mode is 'both'"):
        affinity(correlation, "both")


def test_coactivation_by_threshold_counts_pairs():
    samples = np.array([[3.0, -3.0, 0.0], [3.0, 0.5, -2.0], [0.0, 4.0, 0.1]])
    stream = StreamingCoactivation(3, threshold=1.0)
    stream.update(samples[:1])
    stream.update(samples[1:])
    active = (np.abs(samples) > 1).astype(float)
    expected = active.T @ active / 3
    probability = np.diag(expected).copy()
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(stream.affinity(), expected)
    np.testing.assert_allclose(
        stream.affinity(normalised=True),
        expected / np.sqrt(np.outer(probability, probability)),
    )


def test_coactivation_of_flags_streamed_in_batches():
    active = np.random.default_rng(3).random((50, 6)) < [0.1, 0.3, 0.5, 0.7, 0.9, 0.0]
    stream = StreamingCoactivation(6, threshold=0.0)
    for batch in np.split(active, [7, 30]):
        stream.update(batch)
    plain = np.array(
        [[np.mean(active[:, i] & active[:, j]) * (i != j) for j in range(6)] for i in range(6)]
    )
    np.testing.assert_allclose(stream.affinity(), plain)
    often = np.sqrt(np.outer(active.mean(axis=0), active.mean(axis=0)))
    expected = np.divide(plain, often, out=np.zeros_like(plain), where=often > 0)
    np.testing.assert_allclose(stream.affinity(normalised=True), expected)


def test_sensitivity_is_the_first_order_change_and_streams():
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(6, 5, 4, generator=generator, requires_grad=True)
    target = torch.randn(6, 5, 4, generator=generator)
    loss = ((hidden - target) ** 2).sum()
    loss.backward()
    found = sensitivity(hidden, hidden.grad)
    for place in [(0, 0, 0), (5, 4, 3), (2, 1, 0)]:
        scaled = hidden.detach().double().clone()
        scaled[place] *= 1 - 1e-6
        before = ((hidden.detach().double() - target.double()) ** 2).sum()
        change = ((scaled - target.double()) ** 2).sum() - before
        assert found[place] == pytest.approx(abs(float(change)) / 1e-6, rel=1e-3)
    stream = StreamingCorrelation(4)
    for half in (slice(0, 2), slice(2, 6)):
        stream.update(sensitivity(hidden[half], hidden.grad[half]))
    flat = np.abs((hidden * hidden.grad).detach().double().numpy()).reshape(-1, 4)
    np.testing.assert_allclose(stream.correlation(), np.corrcoef(flat, rowvar=False), atol=1e-6)


def test_sensitivity_of_half_precision_does_not_underflow_and_shapes_must_fit():
    tiny = torch.full((2, 3), 1e-6, dtype=torch.float16)
    assert (sensitivity(tiny, tiny) > 0).all()
    with pytest.raises(UserError, match=r"\(3, 2\) do not fit activations of shape \(2, 3\)"):
        sensitivity(tiny, tiny.T)


def test_coactivation_keeps_the_top_fraction_and_never_zeros():
    stream = StreamingCoactivation(4, top_fraction=0.5)
    stream.update([[5.0, -4.0, 1.0, 0.0], [0.0, 0.0, 0.0, 2.0]])
    expected = np.zeros((4, 4))
    expected[0, 1] = expected[1, 0] = 0.5
    np.testing.assert_array_equal(stream.affinity(), expected)


def test_coactivation_rules_are_checked():
    with pytest.raises(UserError, match="either"):
        StreamingCoactivation(3)
    with pytest.raises(UserError, match="either"):
        StreamingCoactivation(3, threshold=0.0, top_fraction=0.1)
    with pytest.raises(UserError, match="outside"):
        StreamingCoactivation(3, top_fraction=1.5)
    with pytest.raises(UserError, match="below zero"):
        StreamingCoactivation(3, threshold=-1.0)
    with pytest.raises(UserError, match="no samples"):
        StreamingCoactivation(3, threshold=1.0).affinity()


@pytest.mark.parametrize("kind", ["numpy", "torch", "sparse"])
@pytest.mark.parametrize("axis", ["columns", "rows"])
@pytest.mark.parametrize("density", [0.5, 0.03])
def test_structural_coaccess_counts_shared_lines(kind, axis, density):
    rng = np.random.default_rng(2)
    weight = rng.normal(size=(12, 9)) * (rng.random((12, 9)) < density)
    given_weight = {
        "numpy": weight,
        "torch": torch.from_numpy(weight),
        "sparse": sp.csr_array(weight),
    }[kind]
    sets = [set(np.flatnonzero(v)) for v in (weight.T if axis == "columns" else weight)]
    plain = np.array([[len(a & b) * (a is not b) for b in sets] for a in sets], dtype=float)
    sizes = np.maximum([len(a) for a in sets], 1)
    assert (structural_coaccess(given_weight, axis, cosine=False) == plain).all()
    np.testing.assert_allclose(
        structural_coaccess(given_weight, axis), plain / np.sqrt(np.outer(sizes, sizes))
    )


def test_structural_coaccess_refuses_other_axes_and_shapes():
    with pytest.raises(UserError, match="'inputs'"):
        structural_coaccess(np.eye(2), "inputs")
    with pytest.raises(UserError, match="two axes"):
        structural_coaccess(np.ones(3), "rows")

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqlab.data.batches import TokenBatches, sample_windows, scoring_windows
from seqlab.data.tokens import Tokens
from seqlab.errors import UserError


def _stream(length: int) -> Tokens:
    """Return a stream whose ids are their positions, so that a window shows where it starts."""
    return Tokens(np.arange(length, dtype=np.uint32), np.array([0, length]), np.ones(length, int))


@given(st.integers(1, 9), st.integers(2, 200))
def test_scoring_windows_predict_every_token_once(length: int, size: int) -> None:
    tokens = _stream(size)
    if size <= length:
        with pytest.raises(UserError, match="do not fill a window"):
            scoring_windows(tokens, length)
        return
    windows = scoring_windows(tokens, length)
    assert windows.dtype == np.int64 and windows.shape[1] == length + 1
    predicted = windows[:, 1:].ravel()
    assert np.array_equal(predicted, np.arange(1, len(predicted) + 1))
    assert size - 1 - len(predicted) < length
    assert tokens.bytes_of(windows[:, 1:]) == len(predicted)


@given(st.integers(1, 9), st.integers(0, 30), st.integers(0, 2**32))
def test_sampled_windows_are_runs_of_the_stream_without_overlap(
    length: int, count: int, seed: int
) -> None:
    tokens = _stream(211)
    if count * length > 211:
        with pytest.raises(UserError, match="available"):
            sample_windows(tokens, length, count, np.random.default_rng(seed))
        return
    windows = sample_windows(tokens, length, count, np.random.default_rng(seed))
    assert windows.shape == (count, length)
    assert np.array_equal(windows, windows[:, :1] + np.arange(length))
    assert len(np.unique(windows)) == windows.size
    again = sample_windows(tokens, length, count, np.random.default_rng(seed))
    assert np.array_equal(windows, again)


def test_samples_reach_both_ends_of_the_stream() -> None:
    rng = np.random.default_rng(0)
    seen = {int(i) for _ in range(200) for i in sample_windows(_stream(23), 5, 2, rng).ravel()}
    assert seen == set(range(23))


@given(st.integers(1, 8), st.integers(1, 40), st.integers(0, 2**32))
def test_an_epoch_visits_disjoint_windows_of_nearly_everything(
    length: int, batch: int, seed: int
) -> None:
    batches = TokenBatches(_stream(300), length, batch, seed)
    epoch = batches.windows_per_epoch
    visits = np.concatenate([batches.batch_at(step) for step in range(-(-epoch // batch))])[:epoch]
    assert np.array_equal(visits, visits[:, :1] + np.arange(length + 1))
    predicted = visits[:, 1:]
    assert len(np.unique(predicted)) == predicted.size
    assert predicted.size > 300 - 2 * length - 1


def test_a_batch_is_a_function_of_seed_and_step_alone() -> None:
    tokens = _stream(1000)
    forward = TokenBatches(tokens, 8, 6, seed=3)
    steps = {step: forward.batch_at(step) for step in range(100)}
    resumed = TokenBatches(tokens, 8, 6, seed=3)
    for step in (99, 3, 57, 20, 21, 0):
        assert np.array_equal(resumed.batch_at(step), steps[step])
    assert not np.array_equal(TokenBatches(tokens, 8, 6, seed=4).batch_at(0), steps[0])


def test_epochs_differ_in_order_and_in_where_they_cut() -> None:
    batches = TokenBatches(_stream(1000), 8, batch=124, seed=0)
    assert batches.windows_per_epoch == 124
    starts = [batches.batch_at(epoch)[:, 0] for epoch in range(6)]
    assert len({int(s.min()) % 8 for s in starts}) > 1
    assert len({tuple(s - s.min()) for s in starts}) == 6


def test_a_batch_larger_than_an_epoch_goes_on_into_the_next() -> None:
    batches = TokenBatches(_stream(50), 8, batch=20, seed=0)
    assert batches.windows_per_epoch == 5
    small = TokenBatches(_stream(50), 8, batch=1, seed=0)
    expected = np.concatenate([small.batch_at(step) for step in range(20, 40)])
    assert np.array_equal(batches.batch_at(1), expected)


def test_too_short_a_stream_and_odd_sizes_are_refused() -> None:
    with pytest.raises(UserError, match="too few for windows of 8"):
        TokenBatches(_stream(15), 8, 1, 0)
    assert TokenBatches(_stream(16), 8, 1, 0).windows_per_epoch == 1
    with pytest.raises(ValueError, match="positive"):
        TokenBatches(_stream(50), 0, 1, 0)

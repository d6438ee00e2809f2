"""Permutations: the gather convention, composition, validation."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqlab.errors import UserError
from seqlab.layout.permutation import Permutation

orders = st.integers(0, 30).flatmap(lambda size: st.permutations(range(size)))


@settings(max_examples=50, deadline=None)
@given(orders)
def test_gather_and_positions_are_inverse(order):
    pi = Permutation(np.array(order, dtype=np.int64))
    values = np.arange(len(order)) * 10
    assert (pi.apply(values) == np.array([values[i] for i in order], dtype=values.dtype)).all()
    assert all(pi.positions()[old] == new for new, old in enumerate(order))
    assert (pi.inverse().apply(pi.apply(values)) == values).all()
    assert pi.then(pi.inverse()) == Permutation.identity(len(order))


def test_then_gathers_by_the_first_and_then_the_second():
    rng = np.random.default_rng(0)
    a, b = Permutation.random(9, rng), Permutation.random(9, rng)
    values = rng.normal(size=(9, 2))
    assert (a.then(b).apply(values) == b.apply(a.apply(values))).all()
    assert (a.then(b).indices == a.indices[b.indices]).all()


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_apply_equals_index_select(axis):
    tensor = torch.arange(60.0).reshape(5, 3, 4)
    pi = Permutation.random(tensor.shape[axis], np.random.default_rng(3))
    expected = tensor.index_select(axis, torch.from_numpy(pi.indices.copy()))
    assert torch.equal(pi.apply(tensor, axis), expected)
    assert (pi.apply(tensor.numpy(), axis) == expected.numpy()).all()


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ([0, 1, 1], "1 repeated, 2 missing"),
        ([0, 3, 1], "3 is outside 0..2"),
        ([0, -1], "-1 is outside"),
        ([0.0, 1.0], "integers"),
        ([[0, 1]], "one axis"),
    ],
)
def test_what_is_not_a_permutation_is_named(indices, message):
    with pytest.raises(UserError, match=message):
        Permutation(indices)


def test_a_wrong_axis_or_length_is_refused():
    pi = Permutation.identity(3)
    with pytest.raises(UserError, match="axis 2"):
        pi.apply(np.zeros((3, 3)), 2)
    with pytest.raises(UserError, match="3 elements"):
        pi.apply(np.zeros((4, 3)), 0)
    with pytest.raises(UserError, match="3 and 4"):
        pi.then(Permutation.identity(4))


def test_it_is_immutable_hashable_and_picklable():
    source = np.array([2, 0, 1])
    pi = Permutation(source)
    source[0] = 0
    assert pi == Permutation([2, 0, 1])
    with pytest.raises(ValueError, match="read-only"):
        pi.indices[0] = 0
    assert pickle.loads(pickle.dumps(pi)) == pi
    assert len({pi, Permutation([2, 0, 1]), Permutation.identity(3)}) == 2
    assert pi != "201"

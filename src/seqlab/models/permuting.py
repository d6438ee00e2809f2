"""Move the features of a model: sites as data, layouts as bookkeeping, models in place.

A site is data: a size and the tensor axes that carry its index; `seqlab.models.sites` lists those
of each architecture, and nothing here knows one. Permutations are those of
`seqlab.layout.permutation`: `pi[new] = old`; outputs permute as `W[pi, :]`, inputs as `W[:, pi]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from seqlab.errors import UserError
from seqlab.layout.permutation import Permutation


@dataclass(frozen=True)
class TensorAxis:
    """One axis of one tensor on which a site's index lives.

    Attributes:
        tensor: Name of the tensor in the state dict.
        axis: The axis that carries the index.
        segments: First position of each copy of the index on the axis; positions outside the copies
            stay where they are.
        block: Consecutive positions that one index moves together, as the rows of a head.
        tied_to: Name of the tensor this one shares its storage with, where the model ties them; a
            tied tensor may be absent from a state dict.
    """

    tensor: str
    axis: int
    segments: tuple[int, ...] = (0,)
    block: int = 1
    tied_to: str | None = None


@dataclass(frozen=True)
class Site:
    """A feature dimension that can be reordered without changing the model's function.

    Attributes:
        name: As `inner.0` or `hidden`.
        size: Number of features.
        scope: "layer" where each layer has its own, "global" where the whole model shares one.
        axes: Every tensor axis that must be permuted.
    """

    name: str
    size: int
    scope: Literal["layer", "global"]
    axes: tuple[TensorAxis, ...]

    def tensors(self) -> tuple[str, ...]:
        """Return the names of the tensors, each once, in order of first mention."""
        return tuple(dict.fromkeys(axis.tensor for axis in self.axes))


@runtime_checkable
class PermutesOwnStorage(Protocol):
    """A module that keeps a tensor in another form and knows how to reorder it."""

    def axis_length(self, tensor: str, axis: int) -> int:
        """Return the length that the named tensor would have along `axis`."""

    def permute_axis(self, tensor: str, axis: int, index: Tensor) -> None:
        """Reorder in place as `tensor.index_select(axis, index)` would."""


class Layout:
    """The order of every site of a model, as a map from current position to original label.

    One index space is canonical: that of the model before any permutation. A layout always relates
    the current order to it, however many permutations led there, so that a solution found in
    original labels can be put in force on a model that already stands in another order.

    Args:
        sites: All sites of the model, by name.
        permutations: Order of each site, `permutations[name][current] = original`; a site that is
            not named stands in its original order.

    Raises:
        UserError: An unknown site, or a permutation that is none or does not fit its site.
    """

    def __init__(
        self,
        sites: Mapping[str, Site],
        permutations: Mapping[str, Permutation | npt.ArrayLike] | None = None,
    ) -> None:
        self.sites = dict(sites)
        given = {
            name: _fitting(self._site(name), order) for name, order in (permutations or {}).items()
        }
        identities = {name: Permutation.identity(site.size) for name, site in self.sites.items()}
        self.permutations: dict[str, Permutation] = identities | given

    def __getitem__(self, site: str) -> Permutation:
        return self.permutations[self._site(site).name]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Layout):
            return NotImplemented
        return self.sites == other.sites and self.permutations == other.permutations

    __hash__ = None  # type: ignore[assignment]

    def replace(self, site: str, permutation: Permutation | npt.ArrayLike) -> Layout:
        """Return this layout with the order of one site replaced, in original labels."""
        return Layout(self.sites, self.permutations | {site: permutation})

    def then(self, site: str, permutation: Permutation | npt.ArrayLike) -> Layout:
        """Return this layout after a further move: `permutation` indexes current positions."""
        move = _fitting(self._site(site), permutation)
        return Layout(self.sites, self.permutations | {site: self[site].then(move)})

    def to_canonical(self, site: str, values: Any, *, axes: tuple[int, ...] = (0,)) -> Any:
        """Return `values` measured on the current order with `axes` back in original labels."""
        restore = self[site].inverse()
        for axis in axes:
            values = restore.apply(values, axis)
        return values

    def _site(self, name: str) -> Site:
        if name not in self.sites:
            known = ", ".join(sorted(self.sites))
            raise UserError(f"unknown permutation site {name!r}", fix=f"use one of {known}")
        return self.sites[name]


def permute_state_dict(
    state_dict: Mapping[str, Tensor], site: Site, permutation: Permutation | npt.ArrayLike
) -> dict[str, Tensor]:
    """Return a state dict with one site permuted; tensors of other sites are shared, not copied.

    Tensors that share storage are permuted once and still share it.

    Raises:
        UserError: A tensor of the site is missing or too short, or the permutation does not fit.
    """
    move = _fitting(site, permutation)
    result, done = dict(state_dict), {}
    for name, axes in _axes_by_tensor(site).items():
        if name not in state_dict:
            if axes[0].tied_to in state_dict:
                continue
            raise _missing(site, name)
        source = state_dict[name]
        if _storage_key(source) not in done:
            tensor = source
            for axis in axes:
                index = _axis_index(site, axis, move, _length(site, axis, tuple(tensor.shape)))
                tensor = tensor.index_select(axis.axis, index.to(tensor.device))
            done[_storage_key(source)] = tensor
        result[name] = done[_storage_key(source)]
    return result


def apply_layout(model: nn.Module, layout: Layout) -> None:
    """Bring a model that stands in its original order into `layout`, in place.

    A module that keeps a weight in another form, as a quantised linear does, is asked to reorder it
    (`PermutesOwnStorage`). Every site is checked before anything moves.

    Raises:
        UserError: A tensor of a site is missing or its length does not match.
    """
    relayout(model, Layout(layout.sites), layout)


def relayout(model: nn.Module, from_layout: Layout, to_layout: Layout) -> None:
    """Move a model from one layout to another, in place; both are in original labels.

    Raises:
        UserError: The layouts are of different sites, or a tensor is missing or of another length.
    """
    if from_layout.sites != to_layout.sites:
        raise UserError("the two layouts describe different sites", where="relayout")
    moves = []
    for name, site in to_layout.sites.items():
        move = from_layout[name].inverse().then(to_layout[name])
        if move != Permutation.identity(site.size):
            moves += _moves_of_site(model, site, move)
    with torch.no_grad():
        for module, attribute, axis, index in moves:
            _move(module, attribute, axis, index)


def _moves_of_site(
    model: nn.Module, site: Site, permutation: Permutation
) -> list[tuple[nn.Module, str, int, Tensor]]:
    """Return `(module, attribute, axis, index)` of each move, each storage once."""
    moves: list[tuple[nn.Module, str, int, Tensor]] = []
    seen: set[tuple[object, ...]] = set()
    for name, axes in _axes_by_tensor(site).items():
        key: tuple[object, ...]
        path, _, attribute = name.rpartition(".")
        try:
            module = model.get_submodule(path)
        except AttributeError as error:
            raise _missing(site, name) from error
        if isinstance(module, PermutesOwnStorage):
            key = (id(module), attribute)
            lengths = {axis.axis: module.axis_length(attribute, axis.axis) for axis in axes}
        else:
            tensor = getattr(module, attribute, None)
            if not isinstance(tensor, Tensor):
                raise _missing(site, name)
            key = _storage_key(tensor)
            lengths = {axis.axis: _length(site, axis, tuple(tensor.shape)) for axis in axes}
        if key in seen:
            continue
        seen.add(key)
        for axis in axes:
            index = _axis_index(site, axis, permutation, lengths[axis.axis])
            moves.append((module, attribute, axis.axis, index))
    return moves


def _move(module: nn.Module, attribute: str, axis: int, index: Tensor) -> None:
    if isinstance(module, PermutesOwnStorage):
        module.permute_axis(attribute, axis, index)
        return
    tensor = getattr(module, attribute)
    tensor.copy_(tensor.index_select(axis, index.to(tensor.device)))


def _axes_by_tensor(site: Site) -> dict[str, list[TensorAxis]]:
    grouped: dict[str, list[TensorAxis]] = {}
    for axis in site.axes:
        grouped.setdefault(axis.tensor, []).append(axis)
    return grouped


def _axis_index(site: Site, axis: TensorAxis, permutation: Permutation, length: int) -> Tensor:
    """Return the gather index of a whole axis: the permutation in each segment, else identity."""
    index = np.arange(length)
    span = site.size * axis.block
    blocks = permutation.indices[:, None] * axis.block + np.arange(axis.block)
    for start in axis.segments:
        if start + span > length:
            raise UserError(
                f"axis {axis.axis} has {length} positions, site {site.name!r} of size {site.size} "
                f"needs {start + span}",
                where=axis.tensor,
                fix="build the sites from the configuration of this very model",
            )
        index[start : start + span] = start + blocks.reshape(-1)
    return torch.from_numpy(index)


def _length(site: Site, axis: TensorAxis, shape: tuple[int, ...]) -> int:
    if axis.axis >= len(shape):
        raise UserError(
            f"shape {shape} has no axis {axis.axis}, which site {site.name!r} permutes",
            where=axis.tensor,
        )
    return shape[axis.axis]


def _fitting(site: Site, permutation: Permutation | npt.ArrayLike) -> Permutation:
    """Return the permutation, or say which site it does not fit and why."""
    if not isinstance(permutation, Permutation):
        try:
            permutation = Permutation(permutation)
        except UserError as error:
            raise UserError(error.what, where=f"site {site.name}", fix=error.fix) from error
    if len(permutation) != site.size:
        raise UserError(
            f"a permutation of {len(permutation)} elements does not fit a site of {site.size}",
            where=f"site {site.name}",
        )
    return permutation


def _missing(site: Site, tensor: str) -> UserError:
    return UserError(
        f"tensor {tensor!r} of site {site.name!r} is missing",
        fix="build the sites from the configuration of this very model",
    )


def _storage_key(tensor: Tensor) -> tuple[object, ...]:
    return (tensor.device, tensor.data_ptr(), tuple(tensor.shape), tensor.stride())

"""Sparsity patterns of a weight (O, I) and their magnitude masks.

A pattern says which elements stay: N of every M neighbours along the inputs (the pattern that
sparse tensor cores take), a share of all elements, or a share of square tiles by their sum of
squares. Permuting outputs keeps an N:M pattern; permuting inputs destroys it unless whole groups
move, and a mask made after such a permutation is another mask.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from seqlab.errors import UserError

_NAMES = re.compile(
    r"(?P<n>\d+):(?P<m>\d+)"
    r"|unstructured(?P<share>\d+(?:\.\d+)?)"
    r"|tile(?P<tile>\d+)-(?P<of>\d+(?:\.\d+)?)"
)


@dataclass(frozen=True)
class Pattern:
    """Which elements of a weight may be non-zero.

    Attributes:
        kind: "n_of_m", "unstructured" or "tile".
        keep: Elements kept of each group (n_of_m), else 0.
        group: Elements of a group (n_of_m) or edge of a tile (tile), else 1.
        sparsity: Share of elements (unstructured) or tiles (tile) that are zero.

    Raises:
        UserError: Numbers that make no pattern.
    """

    kind: Literal["n_of_m", "unstructured", "tile"]
    keep: int = 0
    group: int = 1
    sparsity: float = 0.0

    def __post_init__(self) -> None:
        possible = {
            "n_of_m": 0 < self.keep < self.group,
            "unstructured": 0.0 <= self.sparsity < 1.0,
            "tile": 0.0 <= self.sparsity < 1.0 and self.group > 1,
        }
        if not possible.get(self.kind, False):
            raise UserError(f"no sparsity pattern: {self}", fix="see seqlab.models.masks.Pattern")

    @classmethod
    def parse(cls, name: str) -> Pattern:
        """Read "2:4", "unstructured70" (percent zero) or "tile16-90.5" (edge, percent zero).

        Raises:
            UserError: The name is none of these.
        """
        match = _NAMES.fullmatch(name)
        if match is None:
            raise UserError(
                f"unknown sparsity pattern {name!r}", fix="as 2:4, unstructured70 or tile16-90"
            )
        if match["n"]:
            return cls("n_of_m", keep=int(match["n"]), group=int(match["m"]))
        if match["share"]:
            return cls("unstructured", sparsity=float(match["share"]) / 100)
        return cls("tile", group=int(match["tile"]), sparsity=float(match["of"]) / 100)


def magnitude_mask(weight: Tensor, pattern: Pattern) -> Tensor:
    """Return the mask (O, I) of booleans that keeps the largest magnitudes of a pattern.

    Of equal magnitudes the one with the lower index stays, on every machine.

    Raises:
        UserError: The pattern does not divide the weight.
    """
    return pattern_mask(weight.detach().abs(), pattern)


def pattern_mask(scores: Tensor, pattern: Pattern) -> Tensor:
    """Return the mask (O, I) that keeps the highest non-negative scores of a pattern.

    Raises:
        UserError: The pattern does not divide the weight.
    """
    if pattern.kind == "n_of_m":
        return keep_top(grouped(scores, pattern.group), pattern.keep).reshape(scores.shape)
    if pattern.kind == "unstructured":
        kept = scores.numel() - round(pattern.sparsity * scores.numel())
        return keep_top(scores.reshape(1, -1), kept).reshape(scores.shape)
    rows, columns, edge = *scores.shape, pattern.group
    if rows % edge or columns % edge:
        raise UserError(f"tiles of {edge} do not divide a weight of {rows} x {columns}")
    tiles = scores.double().square().reshape(rows // edge, edge, columns // edge, edge)
    energy = tiles.sum((1, 3))
    kept = energy.numel() - round(pattern.sparsity * energy.numel())
    mask = keep_top(energy.reshape(1, -1), kept).reshape(energy.shape)
    return mask.repeat_interleave(edge, 0).repeat_interleave(edge, 1)


def grouped(weight: Tensor, size: int) -> Tensor:
    """Return (O, I) as groups of inputs (O, I / size, size).

    Raises:
        UserError: The size does not divide the inputs.
    """
    if weight.shape[-1] % size:
        raise UserError(f"groups of {size} do not divide {weight.shape[-1]} inputs")
    return weight.reshape(weight.shape[0], -1, size)


def keep_top(scores: Tensor, count: int) -> Tensor:
    """Return a mask of the `count` largest along the last axis; of equals, the lower index."""
    order = torch.argsort(scores, dim=-1, descending=True, stable=True)
    mask = torch.zeros_like(scores, dtype=torch.bool)
    return mask.scatter(-1, order[..., :count], True)


def density(mask: Tensor) -> float:
    """Return the share of elements that are not zero."""
    return float((mask != 0).double().mean())

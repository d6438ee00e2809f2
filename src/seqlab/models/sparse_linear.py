"""Linear layers whose weight is multiplied by a sparse kernel: K0 (dense), K1 (CSR) or K2 (tiles).

The weight stays a dense tensor with zeros, so that a layout moves it like any other; its sparse
form is made anew when the weight has changed. Nothing here is differentiable: sparse layers are for
measuring what a trained and masked model costs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from seqlab.errors import UserError
from seqlab.kernels.sparse import TILES, BsrWeight, CsrWeight

KERNELS = ("dense", "csr", *(f"bsr{tile}" for tile in TILES))
_TILED = re.compile(r"bsr(\d+)")


class SparseLinear(nn.Module):
    """y = W x + b with a weight (O, I) that has zeros.

    Attributes:
        weight: (O, I) float32, zeros included.
        bias: (O,) or None.
        kernel: One of `KERNELS`.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, kernel: str) -> None:
        super().__init__()
        if kernel not in KERNELS:
            raise UserError(f"unknown sparse kernel {kernel!r}", fix=f"one of {', '.join(KERNELS)}")
        self.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone(), False)
        self.kernel = kernel
        self._stored: CsrWeight | BsrWeight | None = None
        self._stored_of: tuple[int, int] | None = None

    @property
    def stored(self) -> CsrWeight | BsrWeight:
        """The sparse form of the weight as it is now.

        It is kept until the weight is written to, as autograd counts writes, or is another tensor,
        as it is in a copy of the layer. Writes through `.data` are not seen.

        Raises:
            UserError: The kernel is dense, or its tiles do not divide the weight.
        """
        if self.weight.is_inference():
            # Writes to these are not counted.
            return self._compressed()
        current = (self.weight.data_ptr(), self.weight._version)
        if self._stored is None or self._stored_of != current:
            self._stored, self._stored_of = self._compressed(), current
        return self._stored

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., I) to (..., O); in other types than float32 as the dense layer does."""
        if self.kernel == "dense" or x.dtype != torch.float32:
            return nn.functional.linear(x, self.weight, self.bias)
        flat = x.reshape(-1, x.shape[-1])
        y = (self.stored @ flat.t().contiguous()).t()
        if self.bias is not None:
            y = y + self.bias
        return y.reshape(*x.shape[:-1], -1)

    def extra_repr(self) -> str:
        """Say the sizes and the kernel, as torch's own layers do."""
        outputs, inputs = self.weight.shape
        return f"in_features={inputs}, out_features={outputs}, kernel={self.kernel}"

    def _compressed(self) -> CsrWeight | BsrWeight:
        weight = self.weight.detach()
        match = _TILED.fullmatch(self.kernel)
        if match is not None:
            try:
                return BsrWeight.of(weight, int(match[1]))
            except ValueError as error:
                raise UserError(str(error), fix="choose tiles that divide the weight") from error
        if self.kernel == "csr":
            return CsrWeight.of(weight)
        raise UserError("a dense layer has no sparse form", where="SparseLinear.stored")


def apply_masks(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Set to zero what the masks (O, I) of linear layers leave out, in place.

    Args:
        model: The model.
        masks: Layer name -> booleans, True where the weight stays.

    Raises:
        UserError: A mask has another shape than its weight.
    """
    with torch.no_grad():
        for name, mask in masks.items():
            weight = _weight(model, name)
            if mask.shape != weight.shape:
                raise UserError(
                    f"a mask of {tuple(mask.shape)} for a weight of {tuple(weight.shape)}",
                    where=name,
                )
            weight.mul_(mask)


def use_kernel(model: nn.Module, names: Sequence[str], kernel: str) -> dict[str, SparseLinear]:
    """Replace linear layers by sparse ones, in place.

    Args:
        model: The model.
        names: Names of the layers.
        kernel: One of `KERNELS`.

    Returns:
        Layer name -> the new layer.

    Raises:
        UserError: A layer is not linear, or the kernel is unknown.
    """
    replaced = {}
    for name in names:
        layer = model.get_submodule(name)
        weight = _weight(model, name)
        replaced[name] = SparseLinear(weight, getattr(layer, "bias", None), kernel)
        parent, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(parent), attribute, replaced[name])
    return replaced


def _weight(model: nn.Module, name: str) -> Tensor:
    layer = model.get_submodule(name)
    if not isinstance(layer, nn.Linear | SparseLinear):
        raise UserError(f"not a linear layer but {type(layer).__name__}", where=name)
    return layer.weight


def weight_matrix(layer: nn.Module) -> Tensor:
    """Return the weight (O, I) of a linear layer or a 1x1 convolution, detached."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight.detach().flatten(1)

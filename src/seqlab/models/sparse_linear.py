"""Layers whose weight is multiplied by a sparse kernel: K0 (dense), K1 (CSR) or K2 (tiles).

They are linear layers, and convolutions of 1 x 1, which are the product of W (O, I) with the pixels
X (I, H W) of an image. The weight stays a dense tensor with zeros, so that a layout moves it like
any other; its sparse form is made anew when the weight has changed. Nothing here is differentiable:
sparse layers are for measuring what a trained and masked model costs.

| kernel | float32 on CPU | float32 and half precision on CUDA |
|---|---|---|
| `dense` | dense | dense |
| `csr` | numba | cusparse |
| `bsr16`, `bsr32`, `bsr64` | numba | triton; torch where Triton is not installed |
| `bsr8` | numba | torch: Triton's products start at 16 |
| `bsr8_torch` to `bsr64_torch` | torch | torch |

Other types, such as the float64 of the equivalence gate, are dense. `backend` says which it is.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor, nn

from seqlab.errors import UserError
from seqlab.kernels.sparse import TILES, BsrWeight, CsrWeight
from seqlab.kernels.sparse_cuda import BsrTensor, CsrTensor
from seqlab.kernels.tile_triton import TRITON_TILES, TileWeight, triton_importable

Backend = Literal["dense", "numba", "cusparse", "triton", "torch"]
Stored = CsrWeight | BsrWeight | CsrTensor | BsrTensor | TileWeight

KERNELS = (
    *("dense", "csr"),
    *(f"bsr{tile}" for tile in TILES),
    *(f"bsr{tile}_torch" for tile in TILES),
)
_TILED = re.compile(r"bsr(\d+)(_torch)?")
_TYPES = {
    "cpu": (torch.float32,),
    "cuda": (torch.float32, torch.float16, torch.bfloat16),
}
_log = logging.getLogger(__name__)
_reported: set[tuple[str, str]] = set()


@cache
def resolve_backend(kernel: str, device: torch.device | str, dtype: torch.dtype) -> Backend:
    """Return what multiplies a weight; what is slower than the kernel's own is logged once.

    Args:
        kernel: One of `KERNELS`.
        device: Where weight and operand are.
        dtype: Type of the product.

    Raises:
        UserError: The kernel is unknown.
    """
    if kernel not in KERNELS:
        raise UserError(f"unknown sparse kernel {kernel!r}", fix=f"one of {', '.join(KERNELS)}")
    kind = torch.device(device).type
    if kernel == "dense":
        return "dense"
    if dtype not in _TYPES.get(kind, ()):
        # The checks in float64 are no measurement, nothing is lost there.
        if dtype != torch.float64:
            _substitute(kernel, "dense", f"it has no {dtype} on {kind}")
        return "dense"
    tile, by_torch = _parse(kernel)
    if by_torch:
        return "torch"
    if kind == "cpu":
        return "numba"
    if tile is None:
        return "cusparse"
    if tile not in TRITON_TILES:
        return _substitute(kernel, "torch", f"Triton takes tiles of {TRITON_TILES}")
    if not triton_importable():
        return _substitute(kernel, "torch", "Triton is not installed")
    return "triton"


class SparseLayer(nn.Module):
    """A layer with a weight that has zeros, and the kernel that multiplies it.

    Attributes:
        weight: (O, I) or (O, I, 1, 1), zeros included.
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
        self._stored: Stored | None = None
        self._stored_of: tuple[object, ...] | None = None

    @property
    def backend(self) -> Backend:
        """What multiplies the weight where it is now, for operands of its own type."""
        return resolve_backend(self.kernel, self.weight.device, self.weight.dtype)

    @property
    def stored(self) -> Stored:
        """The sparse form of the weight as it is now, in its own type.

        It is kept until the weight is written to, as autograd counts writes, or is another tensor,
        as it is in a copy of the layer. Writes through `.data` are not seen.

        Raises:
            UserError: The weight is multiplied dense, or its tiles do not divide it.
        """
        return self._stored_as(self.weight.dtype)

    def __getstate__(self) -> dict[str, Any]:
        # Torch cannot copy its BSR tensors, and a copy makes its own sparse form anyway.
        return self.__dict__ | {"_stored": None, "_stored_of": None}

    def _stored_as(self, dtype: torch.dtype) -> Stored:
        weight = self.weight
        if weight.is_inference():
            # Writes to these are not counted.
            return self._compressed(dtype)
        current = (weight.data_ptr(), weight._version, weight.device, weight.dtype, dtype)
        if self._stored is None or self._stored_of != current:
            self._stored, self._stored_of = self._compressed(dtype), current
        return self._stored

    def _compressed(self, dtype: torch.dtype) -> Stored:
        backend = resolve_backend(self.kernel, self.weight.device, dtype)
        if backend == "dense":
            raise UserError(
                "a dense layer has no sparse form", where=f"{type(self).__name__}.stored"
            )
        weight = self.weight.detach().flatten(1).to(dtype)
        tile, _ = _parse(self.kernel)
        if tile is None:
            return CsrWeight.of(weight) if backend == "numba" else CsrTensor.of(weight)
        try:
            if backend == "numba":
                return BsrWeight.of(weight, tile)
            if backend == "triton":
                return TileWeight.of(weight, tile)
            return BsrTensor.of(weight, tile)
        except ValueError as error:
            raise UserError(str(error), fix="choose tiles that divide the weight") from error

    def _operands(self, x: Tensor) -> tuple[Stored, Tensor] | None:
        """Return the sparse form and the input in the type of their product, None if it is dense.

        That type is the input's; on CUDA it is autocast's, as for a dense layer there.

        Raises:
            ValueError: Outside autocast, weight and input are of different types.
        """
        device, dtype = x.device, x.dtype
        autocast = torch.is_autocast_enabled(device.type)
        if autocast and x.is_cuda:
            dtype = torch.get_autocast_dtype("cuda")
        if resolve_backend(self.kernel, device, dtype) == "dense":
            return None
        stored = self._stored_as(dtype)
        if not autocast and self.weight.dtype != dtype:
            raise ValueError(f"an input of {dtype} and a weight of {self.weight.dtype}")
        return stored, x if x.dtype == dtype else x.to(dtype)


class SparseLinear(SparseLayer):
    """y = W x + b with a weight (O, I) that has zeros."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., I) to (..., O); in types that have no sparse product as the dense layer does.

        Raises:
            ValueError: Weight and input are of different types or devices.
        """
        operands = self._operands(x)
        if operands is None:
            return nn.functional.linear(x, self.weight, self.bias)
        stored, x = operands
        y = (stored @ x.reshape(-1, x.shape[-1]).t()).t()
        if self.bias is not None:
            y = y + self.bias.to(y.dtype)
        return y.reshape(*x.shape[:-1], y.shape[-1])

    def extra_repr(self) -> str:
        """Say the sizes and the kernel, as torch's own layers do."""
        outputs, inputs = self.weight.shape
        return f"in_features={inputs}, out_features={outputs}, kernel={self.kernel}"


class SparsePointwise(SparseLayer):
    """A convolution of 1 x 1 with a weight (O, I, 1, 1) that has zeros: Y = W X + b per image.

    Attributes:
        stride: Steps between the pixels that are read, (rows, columns).
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, kernel: str, stride: tuple[int, int] = (1, 1)
    ) -> None:
        super().__init__(weight, bias, kernel)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, I, H, W) to (B, O, ceil(H / rows), ceil(W / columns)), or the same without B.

        Types that have no sparse product are convolved as the dense layer does.

        Raises:
            ValueError: Weight and input are of different types or devices.
        """
        operands = self._operands(x)
        if operands is None:
            return nn.functional.conv2d(x, self.weight, self.bias, self.stride)
        stored, x = operands
        pixels = x[..., :: self.stride[0], :: self.stride[1]]
        batch, (inputs, height, width) = pixels.shape[:-3], pixels.shape[-3:]
        images = pixels.reshape(batch.numel(), inputs, height * width)
        if len(images) == 1:
            y = (stored @ images[0])[None]
        else:
            y = images.new_empty(len(images), len(self.weight), height * width)
            for image, result in zip(images, y, strict=True):
                result.copy_(stored @ image)
        if self.bias is not None:
            y += self.bias.to(y.dtype)[:, None]
        return y.reshape(*batch, len(self.weight), height, width)

    def extra_repr(self) -> str:
        """Say the sizes and the kernel, as torch's own layers do."""
        outputs, inputs = self.weight.shape[:2]
        return f"{inputs}, {outputs}, stride={self.stride}, kernel={self.kernel}"


def apply_masks(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Set to zero what the masks (O, I) leave out, in place.

    Args:
        model: A model with linear layers and 1 x 1 convolutions.
        masks: Layer name -> booleans, True where the weight stays.

    Raises:
        UserError: A mask has another shape than its weight (O, I), or a layer is none of these.
    """
    with torch.no_grad():
        for name, mask in masks.items():
            weight = _layer(model, name).weight
            if mask.shape != weight.shape[:2]:
                raise UserError(
                    f"a mask of {tuple(mask.shape)} for a weight of {tuple(weight.shape[:2])}",
                    where=name,
                )
            weight.mul_(mask.reshape(weight.shape))


def use_kernel(model: nn.Module, names: Sequence[str], kernel: str) -> dict[str, SparseLayer]:
    """Replace linear layers and 1 x 1 convolutions by sparse ones, in place.

    Args:
        model: The model.
        names: Names of the layers.
        kernel: One of `KERNELS`.

    Returns:
        Layer name -> the new layer.

    Raises:
        UserError: A layer is none of these, or the kernel is unknown.
    """
    replaced: dict[str, SparseLayer] = {}
    for name in names:
        layer = _layer(model, name)
        if isinstance(layer, nn.Linear | SparseLinear):
            replaced[name] = SparseLinear(layer.weight, layer.bias, kernel)
        else:
            rows, columns = layer.stride
            stride = (int(rows), int(columns))
            replaced[name] = SparsePointwise(layer.weight, layer.bias, kernel, stride)
        parent, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(parent), attribute, replaced[name])
    return replaced


def _layer(model: nn.Module, name: str) -> nn.Linear | nn.Conv2d | SparseLinear | SparsePointwise:
    layer = model.get_submodule(name)
    if isinstance(layer, nn.Linear | SparseLinear | SparsePointwise):
        return layer
    if not isinstance(layer, nn.Conv2d):
        raise UserError(f"not a linear layer but {type(layer).__name__}", where=name)
    if layer.kernel_size != (1, 1) or layer.groups != 1 or layer.padding not in ((0, 0), "valid"):
        raise UserError(
            f"not a convolution of 1 x 1 without padding and groups: {layer}", where=name
        )
    return layer


def _parse(kernel: str) -> tuple[int | None, bool]:
    """Return the edge of the tiles, None for CSR, and whether torch is asked for by name."""
    match = _TILED.fullmatch(kernel)
    return (None, False) if match is None else (int(match[1]), match[2] is not None)


def _substitute(kernel: str, used: Backend, reason: str) -> Backend:
    if (kernel, reason) not in _reported:
        _reported.add((kernel, reason))
        _log.warning("sparse kernel %s is multiplied by %s: %s", kernel, used, reason)
    return used


def weight_matrix(layer: nn.Module) -> Tensor:
    """Return the weight (O, I) of a linear layer or a 1x1 convolution, detached."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight.detach().flatten(1)

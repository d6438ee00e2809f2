"""The few operations of Triton that our kernel uses, done one program after another in torch.

It runs the source of the kernel where Triton cannot be installed. It knows nothing of the kernel:
a pointer is a storage and an offset, and a load or store outside the storage is an IndexError.
"""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import torch
from torch import Tensor


class Pointer:
    def __init__(self, flat: Tensor, offset: Tensor) -> None:
        self.flat, self.offset = flat, offset
        self.dtype = SimpleNamespace(element_ty=flat.dtype)

    def __add__(self, more: Tensor | int) -> Pointer:
        return Pointer(self.flat, self.offset + more)


class Language(ModuleType):
    constexpr = object
    int64, float32 = torch.int64, torch.float32
    arange, zeros = staticmethod(torch.arange), staticmethod(torch.zeros)

    def __init__(self) -> None:
        super().__init__("triton.language")
        self.program = 0
        self.products: list[tuple[int, ...]] = []

    def program_id(self, axis: int) -> Tensor:
        assert axis == 0
        return torch.tensor(self.program, dtype=torch.int32)

    def load(self, at: Pointer, mask: Tensor | None = None, other: float = 0.0) -> Tensor:
        if mask is None:
            return at.flat[at.offset]
        kept = mask.expand(at.offset.shape)
        result = torch.full(at.offset.shape, other, dtype=at.flat.dtype)
        result[kept] = at.flat[at.offset[kept]]
        return result

    def store(self, at: Pointer, value: Tensor, mask: Tensor) -> None:
        kept = mask.expand(at.offset.shape)
        assert value.dtype == at.flat.dtype
        assert (at.offset[kept] >= 0).all()
        at.flat[at.offset[kept]] = value[kept]

    def dot(self, a: Tensor, b: Tensor, acc: Tensor, input_precision: str) -> Tensor:
        assert a.dtype == b.dtype
        assert acc.dtype == torch.float32
        assert input_precision in ("ieee", "tf32")
        sizes = (*a.shape, b.shape[1])
        assert all(size >= 16 and size & (size - 1) == 0 for size in sizes)
        self.products.append(sizes)
        return acc + a.float() @ b.float()


class Kernel:
    def __init__(self, language: Language, body) -> None:
        self.language, self.body = language, body

    def __getitem__(self, grid: tuple[int]):
        def run(*arguments, **settings) -> None:
            converted = [pointer(a) if isinstance(a, Tensor) else a for a in arguments]
            for self.language.program in range(grid[0]):
                self.body(*converted, **settings)

        return run


def pointer(tensor: Tensor) -> Pointer:
    start = tensor.storage_offset()
    flat = torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage())
    return Pointer(flat, torch.tensor(start))


def install(monkeypatch) -> Language:
    """Stand in for Triton until the test ends; return the language, which counts products."""
    language = Language()
    triton = ModuleType("triton")
    triton.language = language
    triton.jit = lambda body: Kernel(language, body)
    triton.cdiv = lambda a, b: -(-a // b)
    monkeypatch.setitem(sys.modules, "triton", triton)
    monkeypatch.setitem(sys.modules, "triton.language", language)
    return language

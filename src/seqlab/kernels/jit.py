"""Compile kernels with numba: one decorator, one threading layer, a cache that follows the sources.

Numba keys its on-disk cache by the file of the compiled function alone, so an edit to a module
that the kernel calls (`simd`, for instance) would leave a stale binary in use. `kernel` adds a
fingerprint of every module of this package to the key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Torch first: numba's OpenMP pool then binds to the runtime torch has loaded, one pool for both.
import torch
from numba import config, get_num_threads, njit, set_num_threads
from numba.core.caching import FunctionCache

# Its attributes are made at run time, out of sight of a type checker.
_settings: Any = config
_settings.THREADING_LAYER = "omp"
JIT_DISABLED = bool(_settings.DISABLE_JIT)


def _start_threads() -> None:
    """Start numba's threads, and let torch keep its number.

    Starting them, which the first compilation would do, tells the OpenMP runtime that both share
    how many there are, and torch would use as many from then on.
    """
    before = torch.get_num_threads()
    get_num_threads()
    if torch.get_num_threads() != before:
        torch.set_num_threads(before)


_start_threads()


def _sources_fingerprint() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


_FINGERPRINT = _sources_fingerprint()


class _PackageCache(FunctionCache):
    """Numba's function cache, whose key also covers the sources of this package."""

    def _index_key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        return (*super()._index_key(sig, codegen), _FINGERPRINT)


def kernel(signature: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compile a parallel entry point for one signature, at once, cached on disk.

    One explicit signature (arrays of any layout, `float32[:, :]` in numba's notation) keeps a
    strided view from compiling the kernel a second time. The body should be a `prange` over tasks
    that call functions decorated with `device`. With `NUMBA_DISABLE_JIT=1` the function is
    returned as it is.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        if JIT_DISABLED:
            return function
        compiled: Any = njit(parallel=True, error_model="numpy")(function)
        # What `cache=True` and a signature do in `njit`, with the wider cache key.
        compiled._cache = _PackageCache(function)
        compiled.compile(signature)
        compiled.disable_compile()
        return compiled

    return decorate


def device(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function` for use inside kernels only; LLVM inlines what is small."""
    return njit(error_model="numpy")(function)


def follow_torch_threads() -> None:
    """Give numba as many threads as torch has now (never more than numba started with)."""
    wanted = min(torch.get_num_threads(), _settings.NUMBA_NUM_THREADS)
    if get_num_threads() != wanted:
        set_num_threads(wanted)

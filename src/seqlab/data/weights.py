"""Files of a model folder: which to take, how to link them, and old pickled weights converted.

Pickles are opened with `weights_only=True`, which builds tensors and refuses everything else.
"""

from __future__ import annotations

import logging
import os
import pickle
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from seqlab.errors import UserError
from seqlab.provenance.atomic import atomic_path, write_json

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

CONFIG = "config.json"
_SMALL = (
    CONFIG,
    "generation_config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "README.md",
    "LICENSE",
    "LICENSE.txt",
    "LICENSE.md",
)
_SAFETENSORS = re.compile(r"model(-\d+-of-\d+)?\.safetensors(\.index\.json)?")
_PICKLED = re.compile(r"pytorch_model(-\d+-of-\d+)?\.bin(\.index\.json)?")
_INDEX = "pytorch_model.bin.index.json"
_OPENED = (CONFIG, "generation_config.json", "model.safetensors.index.json")


def choose_model_files(paths: Iterable[str]) -> list[str]:
    """Return the files of a model repository or folder to take.

    Configuration, tokenizer and licence, and the weights once: safetensors where there are any,
    else pickled PyTorch weights. Nothing in sub-folders, no code, no other frameworks.

    Raises:
        UserError: There is no config.json, or there are no weights.
    """
    found = sorted(paths)
    if CONFIG not in found:
        raise UserError("no config.json among its files", fix="give a model in Hugging Face format")
    weights = [path for path in found if _SAFETENSORS.fullmatch(path)]
    weights = weights or [path for path in found if _PICKLED.fullmatch(path)]
    if not any(path.endswith((".safetensors", ".bin")) for path in weights):
        raise UserError(
            "no model.safetensors and no pytorch_model.bin among its files",
            fix="give a model with PyTorch weights",
        )
    return [path for path in found if path in _SMALL] + weights


def link_or_copy(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`, or a copy where the two are on different disks."""
    try:
        # The file itself: a download cache holds symbolic links.
        os.link(source.resolve(), target)
    except OSError as error:
        log.warning("%s cannot be linked (%s), so it is copied", source.name, error.strerror)
        shutil.copyfile(source, target)


def link_weights(source: Path, target: Path) -> None:
    """Put the configuration and the safetensors weights of one model folder into another.

    They are hard links: weights at paper scale are not worth a second copy.
    """
    for path in sorted(source.iterdir()):
        if path.name in _OPENED or path.suffix == ".safetensors":
            link_or_copy(path, target / path.name)


def convert_pickled(folder: Path) -> dict[str, str]:
    """Replace pickled weights in `folder` by safetensors; return old name -> new name.

    Tensors that share memory are written once, under the first name in alphabetical order, and the
    others are named in the file's metadata, as `safetensors.torch.save_model` does.

    Raises:
        UserError: A file is damaged, or holds something that is not a tensor.
    """
    pickled = sorted(path for path in folder.iterdir() if _PICKLED.fullmatch(path.name))
    renamed: dict[str, str] = {}
    places: dict[str, str] = {}
    total = 0
    for path in pickled:
        if path.name == _INDEX:
            continue
        new = path.with_name(path.name.replace("pytorch_model", "model")).with_suffix(
            ".safetensors"
        )
        tensors = _convert_file(path, new)
        places |= dict.fromkeys(tensors, new.name)
        total += sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        del tensors
        path.unlink()
        renamed[path.name] = new.name
    if (folder / _INDEX).is_file():
        index = {"metadata": {"total_size": total}, "weight_map": places}
        write_json(folder / "model.safetensors.index.json", index)
        (folder / _INDEX).unlink()
    return renamed


def _convert_file(path: Path, target: Path) -> dict[str, Tensor]:
    import torch
    from safetensors.torch import save_file

    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise UserError(
            f"not a file of plain tensors: {str(error).splitlines()[0]}",
            where=path.name,
            fix="take another revision, or convert it to safetensors yourself and use path:DIR",
        ) from error
    if not isinstance(state, dict) or not all(torch.is_tensor(value) for value in state.values()):
        raise UserError("holds something besides named tensors", where=path.name)
    kept, aliases = _without_aliases(state)
    with atomic_path(target) as temporary:
        save_file(kept, temporary, metadata={"format": "pt"} | aliases)
    return kept


def _without_aliases(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return contiguous tensors of their own memory, and the names left out with their twins."""
    seen: dict[tuple[object, ...], str] = {}
    kept: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    for name in sorted(state):
        tensor = state[name]
        # Empty tensors have no memory to share.
        place = (tensor.data_ptr() or name, tuple(tensor.shape), tensor.stride(), tensor.dtype)
        if place in seen:
            aliases[name] = seen[place]
            continue
        seen[place] = name
        # A view of a larger block would drag the whole block along.
        whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
        kept[name] = tensor.contiguous() if whole else tensor.clone().contiguous()
    return kept, aliases

"""Step: train a tokenizer on a corpus, or take one that exists."""

from __future__ import annotations

import shutil
from pathlib import Path

from seqlab.assets.spec import TokenizerSpec
from seqlab.data.corpus import texts
from seqlab.data.sources import parse_source
from seqlab.data.tokenizer import (
    CONFIG_FILE,
    TOKENIZER_FILE,
    load_tokenizer,
    resource_tokenizer,
    save_tokenizer,
    train_bpe,
)
from seqlab.errors import UserError
from seqlab.provenance.atomic import atomic_folder
from seqlab.spec import Ins, Out

_FILES = (TOKENIZER_FILE, CONFIG_FILE, "special_tokens_map.json")


def tokenizer(spec: TokenizerSpec, *, corpus: Ins, model: Ins, out: Out) -> None:
    """Write `tokenizer.json` and `tokenizer_config.json` to the folder `out`.

    Args:
        spec: Where the tokenizer is from.
        corpus: One corpus folder where `source` is `train`, else none.
        model: One model folder where `source` is `model`, else none.
        out: Tokenizer folder.

    Raises:
        UserError: The inputs do not fit the source, or there is no tokenizer in the folder.
    """
    if spec.source == "train":
        trained = train_bpe(texts(_only(corpus, "corpus"), "train"), spec.vocabulary)
        with atomic_folder(out) as folder:
            save_tokenizer(trained, folder)
        return
    if spec.source == "model":
        _copy(_only(model, "model"), out)
        return
    source = parse_source(spec.source, ("vendored", "path"))
    if source.kind == "path":
        _copy(Path(source.name).expanduser(), out)
        return
    with atomic_folder(out) as folder:
        save_tokenizer(resource_tokenizer(source.name), folder)


def _only(paths: list[Path], name: str) -> Path:
    if len(paths) != 1:
        raise UserError(f"--{name}: one folder is needed, {len(paths)} given")
    return paths[0]


def _copy(source: Path, out: Path) -> None:
    opened = load_tokenizer(source)
    with atomic_folder(out) as folder:
        if not (source / CONFIG_FILE).is_file():
            save_tokenizer(opened, folder)
            return
        for name in _FILES:
            if (source / name).is_file():
                shutil.copyfile(source / name, folder / name)

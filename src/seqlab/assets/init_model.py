"""Step: a model to start from: fresh weights, the user's own, or a fetch from the hub.

One of the steps that may use a network.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqlab.assets.spec import BertShape, InitModelSpec, MambaShape
from seqlab.data.datasets_folder import licence_of
from seqlab.data.examples import classifier_tokenizer
from seqlab.data.hub import fetch_snapshot
from seqlab.data.sources import Origin, Source, parse_source, write_origin
from seqlab.data.tokenizer import (
    CONFIG_FILE,
    TOKENIZER_FILE,
    end_of_text_id,
    load_tokenizer,
    save_tokenizer,
)
from seqlab.data.weights import choose_model_files, convert_pickled, link_or_copy
from seqlab.errors import UserError
from seqlab.provenance.atomic import atomic_folder
from seqlab.provenance.hashing import tree_files
from seqlab.spec import Ins, Out

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def init_model(spec: InitModelSpec, *, tokenizer: Ins, out: Out) -> None:
    """Write a Hugging Face model folder with safetensors weights and a `source.json`.

    Args:
        spec: Where the weights are from.
        tokenizer: One tokenizer folder for fresh weights, whose vocabulary and files the model
            gets; none for a model that brings its own.
        out: Model folder.

    Raises:
        UserError: The source is missing, damaged, not reachable or no model.
    """
    source = parse_source(spec.source, ("init", "path", "hub"))
    if source.kind == "init":
        _fresh(source, spec, tokenizer, out)
    elif tokenizer:
        raise UserError(f"--tokenizer: {spec.source} brings its own", fix="give none")
    elif source.kind == "path":
        _from_path(source, out)
    else:
        _from_hub(source, spec, out)


def _fresh(source: Source, spec: InitModelSpec, tokenizer: list[Path], out: Path) -> None:
    makers = {"mamba": _fresh_mamba, "bert": _fresh_bert}
    if source.name not in makers:
        raise UserError(
            f"source: no architecture {source.name!r}",
            fix=f"use {' or '.join(f'init:{name}' for name in makers)}",
        )
    if len(tokenizer) != 1:
        raise UserError(f"--tokenizer: one folder is needed, {len(tokenizer)} given")
    with atomic_folder(out) as folder:
        parameters = makers[source.name](spec, tokenizer[0], folder)
        detail = {"seed": spec.seed, "parameters": parameters}
        write_origin(folder, _origin(spec.source, folder, detail))


def _fresh_mamba(spec: InitModelSpec, tokenizer: Path, folder: Path) -> int:
    """Write a Mamba model and its tokenizer; return the number of its parameters."""
    from seqlab.models.mamba import MambaForCausalLM
    from seqlab.models.mamba_config import MambaConfig
    from seqlab.models.mamba_init import init_weights
    from seqlab.models.pretrained import save_causal_lm

    opened = load_tokenizer(tokenizer)
    end = end_of_text_id(opened)
    config = MambaConfig(
        vocab_size=_rows(opened, spec),
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        **(spec.mamba or MambaShape()).model_dump(),
    )
    model = init_weights(MambaForCausalLM(config), spec.seed)
    save_causal_lm(model, folder, [tokenizer / name for name in (TOKENIZER_FILE, CONFIG_FILE)])
    return sum(parameter.numel() for parameter in model.parameters())


def _fresh_bert(spec: InitModelSpec, tokenizer: Path, folder: Path) -> int:
    """Write a BERT classifier and the tokenizer that encodes its examples; return its size."""
    from seqlab.models.classifier import init_classifier, save_classifier

    opened = load_tokenizer(tokenizer)
    # No padding token: its row of the embedding would stay zero, and the end-of-text token, which
    # fills up batches, is also the position that the classifier reads. The mask hides padding.
    special = {"pad_token_id": None, "vocab_size": _rows(opened, spec)}
    model = init_classifier((spec.bert or BertShape()).model_dump() | special, spec.seed)
    save_classifier(model, folder)
    save_tokenizer(classifier_tokenizer(opened), folder)
    return sum(parameter.numel() for parameter in model.parameters())


def _rows(tokenizer: Tokenizer, spec: InitModelSpec) -> int:
    """Return the rows of the embedding: the vocabulary, rounded up."""
    entries = tokenizer.get_vocab_size(with_added_tokens=True)
    return -(-entries // spec.pad_vocabulary_to) * spec.pad_vocabulary_to


def _from_path(source: Source, out: Path) -> None:
    given = Path(source.name).expanduser()
    if not given.is_dir():
        raise UserError("no such folder", where=str(given), fix="correct `path:` in the settings")
    chosen = choose_model_files(path.name for path in given.iterdir() if path.is_file())
    with atomic_folder(out) as folder:
        for name in chosen:
            link_or_copy(given / name, folder / name)
        converted = convert_pickled(folder)
        write_origin(folder, _origin(str(source), folder, {"converted": converted}))


def _from_hub(source: Source, spec: InitModelSpec, out: Path) -> None:
    download = out.with_name(f".{out.name}.download")
    snapshot = fetch_snapshot(source.name, "model", spec.revision, choose_model_files, download)
    with atomic_folder(out) as folder:
        for name in snapshot.sha256:
            link_or_copy(download / name, folder / name)
        converted = convert_pickled(folder)
        origin = Origin(
            source=spec.source,
            licence=licence_of(download),
            attribution=source.name,
            revision=snapshot.commit,
            sha256=snapshot.sha256,
            rehearsal=snapshot.rehearsal,
            detail={"kind": "model", "converted": converted},
        )
        write_origin(folder, origin)
    shutil.rmtree(download)


def _origin(source: str, folder: Path, detail: dict[str, Any]) -> Origin:
    return Origin(
        source=source,
        licence=licence_of(folder),
        attribution=None,
        revision=None,
        sha256=tree_files(folder),
        rehearsal=False,
        detail=detail,
    )

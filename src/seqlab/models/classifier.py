"""BERT sentence classifiers: fresh, loaded and saved as Hugging Face folders of transformers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from seqlab.errors import UserError

if TYPE_CHECKING:
    from transformers import BertForSequenceClassification

# What a checkpoint of a pretrained encoder lacks: fine-tuning begins with fresh ones.
_HEAD = ("classifier.", "bert.pooler.")


def init_classifier(config: Mapping[str, Any], seed: int) -> BertForSequenceClassification:
    """Return a classifier with fresh weights, drawn as transformers draws them.

    Args:
        config: Fields of `transformers.BertConfig`; the others have its defaults.
        seed: Seed of the weights.
    """
    from transformers import BertConfig, BertForSequenceClassification

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BertForSequenceClassification(BertConfig(**config)).eval()


def load_classifier(
    folder: str | os.PathLike[str], device: torch.device | str = "cpu"
) -> BertForSequenceClassification:
    """Load a trained BERT classifier from a Hugging Face folder.

    Args:
        folder: Folder with `config.json` and safetensors weights.
        device: Where the weights go.

    Returns:
        The model in fp32 and evaluation mode.

    Raises:
        UserError: A file is missing or damaged, the model is no BERT, or it has no trained head.
    """
    model, missing = _load(Path(folder), {})
    if missing:
        raise UserError(
            f"the classifier head is not trained: {missing[0]} is missing",
            where=str(folder),
            fix="fine-tune it: give a length above zero",
        )
    return _placed(model, device)


def load_for_fine_tuning(
    folder: str | os.PathLike[str], device: torch.device | str, classes: int, seed: int
) -> BertForSequenceClassification:
    """Load a BERT to be trained as a classifier; a head that it lacks gets fresh weights.

    Args:
        folder: See `load_classifier`; a checkpoint of any BERT of transformers.
        device: Where the weights go.
        classes: Outputs of the head.
        seed: Seed of the fresh weights.

    Raises:
        UserError: A file is missing or damaged, the model is no BERT, or weights other than the
            head's are missing or do not fit.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, _ = _load(Path(folder), {"num_labels": classes})
    return _placed(model, device)


def save_classifier(model: BertForSequenceClassification, folder: Path) -> None:
    """Save a classifier as a folder that `AutoModelForSequenceClassification` opens.

    The same weights give the same bytes.
    """
    with _quiet():
        model.save_pretrained(folder)


def _load(
    folder: Path, changes: Mapping[str, Any]
) -> tuple[BertForSequenceClassification, list[str]]:
    """Return the model on the CPU, and the weights of its head that the folder lacks."""
    from safetensors import SafetensorError
    from transformers import BertConfig, BertForSequenceClassification

    if not (folder / "config.json").is_file():
        raise UserError("no config.json in this folder", where=str(folder))
    try:
        values, _ = BertConfig.get_config_dict(folder, local_files_only=True)
        if values.get("model_type") != "bert":
            raise UserError(
                f"model_type is {values.get('model_type')!r}, and only BERT is known",
                where=str(folder / "config.json"),
            )
        config = BertConfig.from_dict({**values, **changes})
        with _quiet():
            loaded: Any = BertForSequenceClassification.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"transformers cannot open it: {reason}",
            where=str(folder),
            fix="fetch or save the model again",
        ) from error
    model, found = loaded
    return model, _missing(folder, found["missing_keys"])


def _placed(model: Any, device: torch.device | str) -> BertForSequenceClassification:
    # transformers wraps `to` in a way that type checkers cannot follow.
    placed: BertForSequenceClassification = model.to(device).eval()
    return placed


def _missing(folder: Path, names: Iterable[str]) -> list[str]:
    missing = sorted(names)
    others = [name for name in missing if not name.startswith(_HEAD)]
    if others:
        raise UserError(
            f"weight {others[0]} is missing", where=str(folder), fix="check config.json"
        )
    return missing


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep progress bars and transformers' own report of missing weights out of the logs."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()

"""Load and save Mamba models as Hugging Face folders, without importing transformers."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from seqlab.errors import UserError
from seqlab.models.mamba import MambaForCausalLM
from seqlab.models.mamba_config import MambaConfig

_HEAD = "lm_head.weight"
_EMBEDDINGS = "backbone.embeddings.weight"
# Name of the embeddings in checkpoints of the original code.
_OLD_EMBEDDINGS = "backbone.embedding.weight"
_FETCH_AGAIN = "fetch or save the model again"


def load_causal_lm(
    folder: str | os.PathLike[str],
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> MambaForCausalLM:
    """Load a Mamba model from a Hugging Face folder (safetensors, whole or sharded).

    Args:
        folder: Folder with `config.json` and `model.safetensors` or its index and shards.
        device: Where the weights go.
        dtype: Type the weights get.

    Returns:
        The model in evaluation mode.

    Raises:
        UserError: A file is missing or corrupt, or weights do not fit the configuration.
    """
    folder = Path(folder)
    values = _read_json(folder / "config.json")
    config = MambaConfig.from_hf_dict(values, where=str(folder / "config.json"))
    weights = _read_weights(folder)
    if _OLD_EMBEDDINGS in weights:
        weights[_EMBEDDINGS] = weights.pop(_OLD_EMBEDDINGS)
    if config.tie_word_embeddings and _EMBEDDINGS in weights:
        weights[_HEAD] = weights[_EMBEDDINGS]
    with torch.device("meta"):
        model = MambaForCausalLM(config)
    _check_weights(model.state_dict(), weights, folder)
    ready = {name: tensor.to(device=device, dtype=dtype) for name, tensor in weights.items()}
    model.load_state_dict(ready, assign=True)
    if config.tie_word_embeddings:
        model.tie_weights()
    # Resolves the scan backend for the device the weights are on.
    return model.to(device).requires_grad_(True).eval()


def save_causal_lm(
    model: MambaForCausalLM,
    folder: str | os.PathLike[str],
    tokenizer_files: Iterable[str | os.PathLike[str]] | None = None,
) -> None:
    """Save a model as a folder that `transformers.AutoModelForCausalLM` opens.

    The same weights give the same bytes. Tied weights are saved once. Files are written under a
    temporary name and renamed.

    Args:
        model: The model; its weights are saved in their own type.
        folder: Created if missing.
        tokenizer_files: Files copied into the folder under their own names.

    Raises:
        UserError: A projection was replaced by a module with other weights than transformers has,
            or a tokenizer file is missing.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = _weights_to_save(model)
    config = model.config.to_hf_dict()
    config["dtype"] = str(weights[_EMBEDDINGS].dtype).removeprefix("torch.")
    special = ("bos_token_id", "eos_token_id", "pad_token_id")
    generation = {"_from_model_config": True} | {name: config[name] for name in special}
    _write(folder / "model.safetensors", save(weights, metadata={"format": "pt"}))
    _write(folder / "generation_config.json", _json_bytes(generation))
    _write(folder / "config.json", _json_bytes(config))
    for source in map(Path, tokenizer_files or ()):
        if not source.is_file():
            raise UserError("tokenizer file is missing", where=str(source))
        shutil.copyfile(source, folder / source.name)


def _weights_to_save(model: MambaForCausalLM) -> dict[str, Tensor]:
    with torch.device("meta"):
        plain = MambaForCausalLM(model.config).state_dict()
    state = model.state_dict()
    different = sorted(set(plain) ^ set(state))
    if different:
        raise UserError(
            f"weight {different[0]} is not one of a plain Mamba model",
            where="save_causal_lm",
            fix="merge adapters and replaced projections before saving",
        )
    if model.config.tie_word_embeddings:
        del state[_HEAD]
    return {name: state[name].detach().cpu().contiguous() for name in sorted(state)}


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError("file is missing", where=str(path), fix=_FETCH_AGAIN) from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"file is not JSON: {error}", where=str(path), fix=_FETCH_AGAIN) from None


def _read_weights(folder: Path) -> dict[str, Tensor]:
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return _read_shard(folder / "model.safetensors")
    weight_map = _read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise UserError("weight_map is missing", where=str(index), fix=_FETCH_AGAIN)
    weights: dict[str, Tensor] = {}
    for name in sorted(set(weight_map.values())):
        if Path(name).name != name:
            raise UserError(f"shard {name!r} lies outside the folder", where=str(index))
        weights.update(_read_shard(folder / name))
    return weights


def _read_shard(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as shard:
            return {name: shard.get_tensor(name) for name in shard.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise UserError("file is missing", where=str(path), fix=_FETCH_AGAIN) from None
    except (SafetensorError, OSError) as error:
        raise UserError(f"file is corrupt: {error}", where=str(path), fix=_FETCH_AGAIN) from None


def _check_weights(
    expected: Mapping[str, Tensor], found: Mapping[str, Tensor], folder: Path
) -> None:
    problems = [f"{name} is missing" for name in expected if name not in found]
    problems += [f"{name} is unknown" for name in found if name not in expected]
    problems += [
        f"{name} has shape {tuple(found[name].shape)}, expected {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in found and found[name].shape != tensor.shape
    ]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise UserError(f"weight {problems[0]}{more}", where=str(folder), fix="check config.json")


def _json_bytes(values: Mapping[str, Any]) -> bytes:
    return (json.dumps(values, indent=2, sort_keys=True) + "\n").encode()


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(path.name + ".partial")
    with open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)

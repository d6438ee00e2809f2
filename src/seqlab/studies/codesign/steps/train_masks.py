"""Step: train learned masks, or the weights under a magnitude mask, and export a plain model.

Output: a model folder that transformers opens, with `masks.safetensors` (layer -> uint8 mask),
`masks.json` (achieved sparsity, what changed) and `curve.csv`.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqlab.data.sources import SOURCE_FILE
from seqlab.spec import Context, In, Out, State
from seqlab.studies.codesign.masks.spec import TrainMasksSpec

if TYPE_CHECKING:
    from seqlab.models.mamba import MambaForCausalLM
    from seqlab.studies.codesign.masks.training import Trained

MASKS_FILE = "masks.json"
_COPIED = (SOURCE_FILE, "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
# Settings that change when checkpoints are written, and no number.
_NO_NUMBER = {"train": {"checkpoint_every_steps", "checkpoint_every_s"}}


def train_masks(
    spec: TrainMasksSpec, *, model: In, tokens: In, state: State, out: Out, context: Context
) -> None:
    """Train one variant and write hard masks and masked weights.

    Raises:
        UserError: An input is missing or damaged, or training diverged.
        Terminated: SIGTERM; checkpoints are in `state`, and the same command goes on from there.
    """
    import torch

    from seqlab.data.batches import TokenBatches
    from seqlab.data.tokens import load_tokens
    from seqlab.models.pretrained import load_causal_lm
    from seqlab.provenance.environment import environment
    from seqlab.studies.codesign.masks.training import train_variant
    from seqlab.training.checkpoint import Checkpoints

    loaded = load_causal_lm(model, torch.device(context.torch_device()))
    batches = TokenBatches(load_tokens(tokens, "train"), spec.length, spec.batch, spec.data_seed)
    checkpoints = Checkpoints(state, _identity(spec, model, tokens, context.code))
    trained = train_variant(
        loaded, spec, lambda step: torch.from_numpy(batches.batch_at(step)), checkpoints
    )
    summary = _summary(spec, trained)
    summary["environment"] = environment(spec, context.code, context.threads)
    _write(out, loaded, trained, summary, model)
    checkpoints.clear()


def _identity(spec: TrainMasksSpec, model: Path, tokens: Path, code: str) -> dict[str, str]:
    """Return the hashes of everything that training depends on."""
    from seqlab.provenance.atomic import json_text
    from seqlab.provenance.hashing import sha256_path

    text = json_text(spec.model_dump(mode="json", exclude=_NO_NUMBER))
    return {
        "spec": hashlib.sha256(text.encode()).hexdigest(),
        "code": code,
        "model": sha256_path(model),
        "tokens": sha256_path(tokens),
    }


def _summary(spec: TrainMasksSpec, trained: Trained) -> dict[str, Any]:
    """Return `masks.json`; the seconds are apart from what is the same on every run."""
    from seqlab.models.hds import achieved_sparsity
    from seqlab.models.masks import density

    result = trained.result
    return {
        "schema": 1,
        "variant": spec.variant,
        "pattern": spec.pattern,
        "sparsity": achieved_sparsity(trained.masks),
        "layers": {
            name: {
                "shape": list(mask.shape),
                "sparsity": 1.0 - density(mask),
                "changed_groups": trained.changed[name],
            }
            for name, mask in trained.masks.items()
        },
        "skipped": list(trained.skipped),
        "steps": result.steps,
        "tokens": result.steps * spec.batch * spec.length,
        "first_loss": float(result.curve["loss"][0]) if result.steps else None,
        "last_loss": float(result.curve["loss"][-1]) if result.steps else None,
        "seconds": result.seconds,
        "resumed_from": result.resumed_from,
    }


def _write(
    out: Path, model: MambaForCausalLM, trained: Trained, summary: dict[str, Any], origin: Path
) -> None:
    import torch
    from safetensors.torch import save

    from seqlab.models.pretrained import save_causal_lm
    from seqlab.provenance.atomic import atomic_folder, write_bytes, write_json, write_text

    masks = {name: mask.to("cpu", torch.uint8) for name, mask in trained.masks.items()}
    with atomic_folder(out) as folder:
        save_causal_lm(model, folder)
        for name in _COPIED:
            if (origin / name).is_file():
                shutil.copyfile(origin / name, folder / name)
        write_bytes(folder / "masks.safetensors", save(masks))
        write_text(folder / "curve.csv", trained.result.curve.to_csv())
        write_json(folder / MASKS_FILE, summary)

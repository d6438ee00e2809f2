"""Score a dense model, its pruned forms and its trained masks on the same held-out windows."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from torch import nn

from seqlab.data.batches import sample_windows
from seqlab.data.tokens import load_tokens
from seqlab.errors import UserError
from seqlab.models.masks import Pattern, density, magnitude_mask
from seqlab.models.pretrained import load_causal_lm
from seqlab.models.sparse_linear import apply_masks, weight_matrix
from seqlab.studies.codesign.masks.names import DENSE, MAGNITUDE, UNSTRUCTURED
from seqlab.studies.codesign.masks.spec import ScoreMasksSpec
from seqlab.studies.codesign.masks.training import projections
from seqlab.training.evaluate import evaluate_windows

MASKS_FILE = "masks.json"
COLUMNS = [
    *("model", "variant", "sparsity", "changed_groups"),
    *("window", "nll", "bytes", "tokens", "device"),
]


def score_variants(
    spec: ScoreMasksSpec, model: Path, tokens: Path, trained: list[Path], device: str
) -> pd.DataFrame:
    """Return one row per variant and window: nll in nats, bytes and tokens; no device name yet.

    Args:
        spec: Settings.
        model: Folder of the dense model.
        tokens: Folder of its tokens.
        trained: Folders of the trained variants.
        device: Where models run.

    Raises:
        UserError: A folder is missing or damaged, or the text too short.
    """
    held_out = load_tokens(tokens, "test")
    rng = np.random.default_rng([spec.seed, *b"held_out"])
    windows = sample_windows(held_out, spec.evaluate_length + 1, spec.windows, rng)
    changed = dict(zip(spec.variants, map(changed_groups, trained), strict=True))
    parts = []
    for name, scored in _variants(spec, model, trained, device):
        found = evaluate_windows(scored, windows, held_out.token_bytes, precision=spec.precision)
        parts.append(
            pd.DataFrame(
                {
                    "model": spec.model,
                    "variant": name,
                    "sparsity": _sparsity(scored),
                    "changed_groups": changed.get(name, math.nan),
                    "window": np.arange(len(windows)),
                    "nll": found.nll,
                    "bytes": found.bytes,
                    "tokens": found.tokens,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def changed_groups(folder: Path) -> float:
    """Return the share of groups of a trained variant whose mask is not that of magnitudes.

    Raises:
        UserError: The folder holds no readable `masks.json`.
    """
    path = folder / MASKS_FILE
    try:
        layers = json.loads(path.read_text("utf-8"))["layers"].values()
        sizes = [math.prod(layer["shape"]) for layer in layers]
        shares = [layer["changed_groups"] for layer in layers]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"no record of its masks: {error}", where=str(path), fix="train the masks again"
        ) from None
    return float(np.average(shares, weights=sizes))


def _variants(
    spec: ScoreMasksSpec, model: Path, trained: list[Path], device: str
) -> Iterator[tuple[str, nn.Module]]:
    """Yield every variant, one at a time in memory beside the dense model."""
    dense = load_causal_lm(model, device)
    yield DENSE, dense
    for name, pattern in ((MAGNITUDE, spec.pattern), (UNSTRUCTURED, spec.equal_density)):
        yield name, _pruned(dense, Pattern.parse(pattern))
    for name, folder in zip(spec.variants, trained, strict=True):
        yield name, load_causal_lm(folder, device)


def _pruned(model: nn.Module, pattern: Pattern) -> nn.Module:
    """Return a copy with magnitude masks on the projections that can carry the pattern."""
    result = copy.deepcopy(model)
    masks = {}
    for name in projections(result):
        weight = weight_matrix(result.get_submodule(name))
        if weight.shape[1] % pattern.group == 0:
            masks[name] = magnitude_mask(weight, pattern)
    apply_masks(result, masks)
    return result


def _sparsity(model: nn.Module) -> float:
    """Return the share of zeros in all projections."""
    weights = [weight_matrix(model.get_submodule(name)) for name in projections(model)]
    kept = sum(density(weight) * weight.numel() for weight in weights)
    return 1.0 - kept / sum(weight.numel() for weight in weights)

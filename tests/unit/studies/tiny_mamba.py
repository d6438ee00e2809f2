"""A Mamba with random weights on drawn tokens, as the workbench opens it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from seqlab.data.sources import Origin, write_origin
from seqlab.data.tokenizer import train_bpe
from seqlab.data.tokens import write_tokens
from seqlab.models.mamba import MambaForCausalLM
from seqlab.models.mamba_config import MambaConfig
from seqlab.models.mamba_init import init_weights
from seqlab.models.pretrained import save_causal_lm
from seqlab.studies.codesign.workbench.spec import WorkbenchSpec

WORDS = ("state", "of", "the", "union", "is", "strong", "and", "weak")
BENCH = WorkbenchSpec.model_validate(
    {
        "architectures": {
            "mamba": {
                "kind": "mamba",
                "asset": "tiny",
                "pattern": "2:4",
                "kernels": ["csr"],
                "batch": 1,
                "length": 16,
                "block": 16,
                "calibration": 4,
                "traced": 2,
                "repeats": 3,
                "quality": 2,
            }
        },
        "caches": [
            {"name": "L1", "size": 4096, "ways": 4},
            {"name": "L2", "size": 32768, "ways": 8},
        ],
        "solver": {"method": "spectral_balanced", "node_order": "original"},
        "timing": {"warmup_max": 1, "max_foreign_load": 1000.0, "attempts": 1, "threads": 1},
        "gate": 1e-10,
    }
)


def make_assets(folder: Path) -> list[Path]:
    """Write a model folder and a token folder; return both."""
    rng = np.random.default_rng(5)
    texts = [" ".join(rng.choice(WORDS, 200)) for _ in range(6)]
    tokenizer = train_bpe(texts, 280)
    splits = {"train": texts[:3], "validation": texts[3:4], "test": texts[4:]}
    write_tokens(folder / "tokens", tokenizer, splits)
    config = MambaConfig(vocab_size=280, hidden_size=32, num_hidden_layers=1, state_size=4)
    model = init_weights(MambaForCausalLM(config), seed=1)
    save_causal_lm(model, folder / "model")
    origin = Origin("init:mamba", None, None, None, {}, rehearsal=False, detail={})
    write_origin(folder / "model", origin)
    return [folder / "model", folder / "tokens"]

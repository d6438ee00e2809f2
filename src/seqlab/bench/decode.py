"""Greedy decoding against transformers' cached `generate`: 256 tokens after a prompt of 64, on CPU.

Same weights, same prompts; agreement means the same tokens. Weights are drawn larger than at a
usual initialisation, so that rounding cannot decide between two nearly equal logits. Cases sweep
hidden size and batch. The roofline of a step is the larger of reading every weight once and doing
every multiplication at the machine's best rate; it leaves the prompt and the scan out.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqlab.bench.harness import Plan, compare, matmul_roofline, read_bandwidth, unavailable
from seqlab.models.generation import decode_backend, greedy_decode
from seqlab.models.mamba import MambaForCausalLM
from seqlab.models.mamba_config import MambaConfig
from seqlab.models.mamba_init import init_weights

PROMPT = 64
NEW_TOKENS = 256
HIDDEN = (256, 768)
BATCHES = (1, 4, 16)
_PEER = "transformers"


def run(quick: bool, budget_s: float) -> Iterator[dict[str, Any]]:
    """Yield one row per hidden size and batch.

    Args:
        quick: Tiny sizes and few repeats, to test that the bench works.
        budget_s: Seconds the whole bench may time for.
    """
    threads = torch.get_num_threads()
    hidden_sizes, batches = ((16,), (1, 2)) if quick else (HIDDEN, BATCHES)
    prompt, count = (4, 8) if quick else (PROMPT, NEW_TOKENS)
    plan = Plan.of(quick, 0.75 * budget_s / (len(hidden_sizes) * len(batches)))
    rng = np.random.default_rng(0)
    flops_per_s = matmul_roofline(threads, [(64, 64, 64)]) if quick else matmul_roofline(threads)
    for hidden in hidden_sizes:
        model = _model(hidden, vocabulary=64 if quick else 2048)
        weights = _weights_read(model)
        bytes_per_s = read_bandwidth(threads, 4 * weights)
        for batch in batches:
            case = f"H{hidden} B{batch} P{prompt} T{count}"
            step_s = max(4 * weights / bytes_per_s, 2 * weights * batch / flops_per_s)
            if importlib.util.find_spec("transformers") is None:
                yield unavailable("decode", case, _PEER, "transformers is not installed")
                continue
            ids = _prompts(model, batch, prompt)
            rows = compare(
                "decode",
                case,
                lambda model=model, ids=ids: greedy_decode(model, ids, count),
                {_PEER: _generate(model, ids, count)},
                agree=torch.equal,
                plan=plan,
                rng=rng,
                limit_s=step_s * count,
                threads=threads,
            )
            for row in rows:
                speed = batch * count / row["ours_s"]
                yield row | {"backend": decode_backend(model), "ours_tokens_per_s": speed}


def _model(hidden: int, vocabulary: int) -> MambaForCausalLM:
    """Return a model of 4 layers whose tokens vary and whose logits are far apart."""
    config = MambaConfig(
        vocab_size=vocabulary, hidden_size=hidden, num_hidden_layers=4, initializer_range=0.2
    )
    return init_weights(MambaForCausalLM(config), seed=0).eval()


def _prompts(model: MambaForCausalLM, batch: int, length: int) -> Tensor:
    generator = torch.Generator().manual_seed(batch)
    return torch.randint(0, model.config.vocab_size, (batch, length), generator=generator)


def _weights_read(model: MambaForCausalLM) -> int:
    """Count the weights of the products a step does (the tied head once, the embedding not)."""
    layers = (p for p in model.backbone.layers.parameters() if p.ndim > 1)
    return sum(p.numel() for p in layers) + model.lm_head.weight.numel()


def _generate(model: MambaForCausalLM, ids: Tensor, count: int) -> Callable[[], Tensor]:
    """Return transformers' cached greedy generation with the weights of `model`."""
    from transformers import MambaConfig as PeerConfig
    from transformers import MambaForCausalLM as PeerModel

    values = model.config.to_hf_dict()
    del values["architectures"]
    peer = PeerModel(PeerConfig(**values)).eval()
    peer.load_state_dict(model.state_dict())
    mask = torch.ones_like(ids)

    def call() -> Tensor:
        with torch.inference_mode():
            found = peer.generate(
                ids,
                attention_mask=mask,
                max_new_tokens=count,
                do_sample=False,
                use_cache=True,
                eos_token_id=None,
                pad_token_id=0,
            )
        return found[:, ids.shape[1] :]

    return call

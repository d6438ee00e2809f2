"""Greedy decoding against transformers' cached `generate`: 256 tokens after a prompt of 64, on CPU.

Same weights, same prompts; agreement means the same tokens. With random weights two logits can be
equal to within rounding, where any two correct programs may part: `smallest_gap` says how close the
two best logits ever came. Cases sweep hidden size and batch. The roofline of a step is the larger
of reading every weight once and doing every multiplication at the machine's best rate; it leaves
the prompt and the scan out.
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
CASES = ((256, 1), (256, 4), (256, 16), (768, 1), (768, 16))
QUICK_CASES = ((16, 1), (16, 2))
# Prompts whose smallest gap is above 1e-4 in every case.
_PROMPT_SEED = 3
_PEER = "transformers"


def run(quick: bool, budget_s: float) -> Iterator[dict[str, Any]]:
    """Yield one row per hidden size and batch.

    Args:
        quick: Tiny sizes and few repeats, to test that the bench works.
        budget_s: Seconds the whole bench may time for.
    """
    threads = torch.get_num_threads()
    cases = QUICK_CASES if quick else CASES
    plan = Plan.of(quick, 0.5 * budget_s / len(cases))
    flops_per_s = matmul_roofline(threads, [(64, 64, 64)]) if quick else matmul_roofline(threads)
    for hidden, batch in cases:
        model = _model(hidden, vocabulary=64 if quick else 2048)
        weights = _weights_read(model)
        step_s = max(
            4 * weights / read_bandwidth(threads, 4 * weights),
            2 * weights * batch / flops_per_s,
        )
        prompt, count = (4, 8) if quick else (PROMPT, NEW_TOKENS)
        yield from _rows(model, _prompts(model, batch, prompt), count, step_s * count, plan)


def _rows(
    model: MambaForCausalLM, ids: Tensor, count: int, limit_s: float, plan: Plan
) -> Iterator[dict[str, Any]]:
    batch, length = ids.shape
    case = f"H{model.config.hidden_size} B{batch} P{length} T{count}"
    if importlib.util.find_spec("transformers") is None:
        yield unavailable("decode", case, _PEER, "transformers is not installed")
        return
    rows = compare(
        "decode",
        case,
        lambda: greedy_decode(model, ids, count),
        {_PEER: _generate(model, ids, count)},
        agree=torch.equal,
        plan=plan,
        rng=np.random.default_rng(0),
        limit_s=limit_s,
        threads=torch.get_num_threads(),
    )
    extra = {"backend": decode_backend(model), "smallest_gap": _smallest_gap(model, ids, count)}
    for row in rows:
        yield row | extra | {"ours_tokens_per_s": batch * count / row["ours_s"]}


def _smallest_gap(model: MambaForCausalLM, ids: Tensor, count: int) -> float:
    """Return the smallest difference between the two best logits at any decoded token."""
    with torch.inference_mode():
        tokens = torch.cat([ids, greedy_decode(model, ids, count)], 1)
        best = model(tokens[:, :-1]).logits[:, ids.shape[1] - 1 :].topk(2).values
    return float((best[..., 0] - best[..., 1]).min())


def _model(hidden: int, vocabulary: int) -> MambaForCausalLM:
    """Return a model of 4 layers with transformers' initial weights."""
    config = MambaConfig(vocab_size=vocabulary, hidden_size=hidden, num_hidden_layers=4)
    return init_weights(MambaForCausalLM(config), seed=0).eval()


def _prompts(model: MambaForCausalLM, batch: int, length: int) -> Tensor:
    generator = torch.Generator().manual_seed(_PROMPT_SEED)
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

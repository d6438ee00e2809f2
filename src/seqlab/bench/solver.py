"""Our balanced layout solver against METIS repaired to equal blocks.

Input: G1 affinities of 512, 2,048 and 5,120 channels: inner channels of a randomly initialised
Mamba of that shape on 4,096 words of the vendored addresses, planted blocks, and noise. Output:
rows of `harness.compare` for blocks of 32 and 64, where `agree` says whether the affinity inside
our blocks is at least METIS's, with

- `ours_q_frac`, `peer_q_frac`: share of affinity inside blocks;
- `peer_refined_q_frac`: METIS's blocks after the swaps of our solver, for information;
- `random_q_frac`: share under a random layout;
- `target_s`, `within_target`: the most seconds ours may take at this size, and whether it did.

METIS gets the 64 strongest partners of every channel, as `seqlab.layout.metis` documents.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from seqlab.bench.harness import Plan, compare, unavailable
from seqlab.data.resources import load_resource
from seqlab.errors import UserError
from seqlab.layout.affinity import StreamingCorrelation, affinity
from seqlab.layout.solvers import Solution, solve
from seqlab.models.mamba import MambaForCausalLM
from seqlab.models.mamba_config import MambaConfig

NAME = "solver"
SIZES = (512, 2048, 5120)
BLOCKS = (32, 64)
TARGET_S = {2048: 2.0, 5120: 15.0}
TOKENS = 4096
LAYERS = 2

_SEED = 20250930
_LENGTH = 256
_PLANTED_BLOCK = 32
# Correlation inside planted blocks is s^2 / (1 + s^2) = 0.11; chance gives 0.016 at 4,096 samples.
_PLANTED_STRENGTH = 0.35
_TOLERANCE = 1e-9

Matrix = npt.NDArray[np.float64]


def run(quick: bool, budget_s: float) -> Iterator[dict[str, Any]]:
    """Compare the solvers on every affinity, size and block.

    Args:
        quick: Only 512 channels and few repeats.
        budget_s: Seconds of timed calls in all; a case is timed twice whatever the budget.
    """
    sizes = SIZES[:1] if quick else SIZES
    cases = 3 * len(sizes) * len(BLOCKS)
    plan = Plan(min(budget_s / cases, 1.0 if quick else budget_s), most=20, fewest=2)
    rng = np.random.default_rng(_SEED)
    _compile()
    for size in sizes:
        for kind, weights in _affinities(size):
            for block in BLOCKS:
                yield from _rows(weights, f"{kind} D{size} B{block}", block, plan, rng)


def mamba_affinity(size: int) -> Matrix:
    """Return the (size, size) absolute correlation of a random Mamba's inner channels.

    The channels are those that enter the last layer's output projection, over `TOKENS` words of
    the vendored addresses; initialisation is seeded.
    """
    words = _words(TOKENS)
    vocabulary = {word: index for index, word in enumerate(dict.fromkeys(words))}
    ids = torch.tensor([vocabulary[word] for word in words]).reshape(-1, _LENGTH)
    config = MambaConfig(
        vocab_size=len(vocabulary), hidden_size=size // 2, num_hidden_layers=LAYERS
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        model = MambaForCausalLM(config)
    stream = StreamingCorrelation(size)
    *_, last = model.mixers()
    hook = last.out_proj.register_forward_pre_hook(lambda _, inputs: stream.update(inputs[0]))
    with torch.inference_mode():
        model.backbone(ids)
    hook.remove()
    return affinity(stream.correlation())


def planted_affinity(size: int, rng: np.random.Generator) -> Matrix:
    """Return the affinity of channels that share a factor in hidden blocks of 32."""
    factors = rng.standard_normal((TOKENS, -(-size // _PLANTED_BLOCK)))
    samples = rng.standard_normal((TOKENS, size))
    samples += _PLANTED_STRENGTH * np.repeat(factors, _PLANTED_BLOCK, axis=1)[:, :size]
    return _correlated(samples[:, rng.permutation(size)])


def noise_affinity(size: int, rng: np.random.Generator) -> Matrix:
    """Return the affinity of independent channels: what there is to gain is chance."""
    return _correlated(rng.standard_normal((TOKENS, size)))


def _affinities(size: int) -> Iterator[tuple[str, Matrix]]:
    """Yield (kind, affinity) one at a time: the largest takes 210 MB."""
    rng = np.random.default_rng([_SEED, size])
    yield "G1 mamba", mamba_affinity(size)
    yield "G1 planted", planted_affinity(size, rng)
    yield "G1 noise", noise_affinity(size, rng)


def _rows(
    weights: Matrix, case: str, block: int, plan: Plan, rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """Time ours against METIS on one affinity and add what the rows of this bench report."""

    def solved(method: str) -> Solution:
        return solve(weights, method, block, _SEED)

    extra = {"random_q_frac": solved("random").stats["Q_frac"]}
    try:
        extra["peer_refined_q_frac"] = solved("metis_refined").stats["Q_frac"]
    except UserError as error:
        extra["ours_q_frac"] = solved("spectral_balanced").stats["Q_frac"]
        yield unavailable(NAME, case, "metis", str(error)) | extra
        return

    def agree(ours: Solution, peer: Solution) -> bool:
        extra["ours_q_frac"] = ours.stats["Q_frac"]
        extra["peer_q_frac"] = peer.stats["Q_frac"]
        return extra["ours_q_frac"] >= extra["peer_q_frac"] - _TOLERANCE

    for row in compare(
        NAME,
        case,
        lambda: solved("spectral_balanced"),
        {"metis": lambda: solved("metis")},
        agree=agree,
        plan=plan,
        rng=rng,
    ):
        target = TARGET_S.get(len(weights))
        within = None if target is None else row["ours_s"] <= target
        yield row | extra | {"target_s": target, "within_target": within}


def _compile() -> None:
    """Compile the kernels, so that no measured call includes it."""
    weights = noise_affinity(64, np.random.default_rng(_SEED))
    solve(weights, "spectral_balanced", 16, _SEED)


def _correlated(samples: Matrix) -> Matrix:
    stream = StreamingCorrelation(samples.shape[1])
    stream.update(samples)
    return affinity(stream.correlation())


def _words(count: int) -> list[str]:
    """Return the first words of the vendored addresses."""
    words: list[str] = []
    for speech in load_resource("sotu").lines():
        words += speech["text"].lower().split()
        if len(words) >= count:
            break
    return words[:count]

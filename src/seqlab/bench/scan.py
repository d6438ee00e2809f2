"""One training step of a Mamba language model: forward, loss and backward, on CPU.

Peers on the same weights and tokens: transformers' own CPU path (a loop over tokens) and mambapy's
parallel scan. Ours keeps its buffers in the heap, as our training loop does; each peer is timed
with the heap as its users have it and once more with ours. Agreement means equal logits and equal
gradients of every weight. A size sweep compares our cost per token with that at 256 tokens; there
agreement means that the first tokens of the longer sequence get the logits of the shorter one. The
roofline of a step is its matrix products at the machine's best rate; it leaves everything else out.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from seqlab.bench.harness import Plan, compare, matmul_roofline, unavailable
from seqlab.kernels.heap import default_blocks, keep_large_blocks
from seqlab.models.mamba import MambaForCausalLM
from seqlab.models.mamba_config import MambaConfig
from seqlab.models.mamba_init import init_weights

BATCH = 4
BASE = 256
LENGTHS = (64, BASE)
SWEEP = (64, 512, 1024, 2048)
# transformers' backward is quadratic in the length and takes about 25 s here.
_SLOW = {("transformers", BASE)}
# Largest relative difference of logits or of any gradient: float32 sums in another order.
TOLERANCE = 1e-5

Result = tuple[Tensor, dict[str, Tensor]]


@dataclass(frozen=True)
class _Sizes:
    """What is measured: the real sizes, or tiny ones to test that the bench works."""

    config: MambaConfig
    batch: int
    base: int
    lengths: tuple[int, ...]
    sweep: tuple[int, ...]


def _sizes(quick: bool) -> _Sizes:
    if quick:
        config = MambaConfig(vocab_size=64, hidden_size=16, num_hidden_layers=2)
        return _Sizes(config, batch=2, base=8, lengths=(8,), sweep=(16,))
    config = MambaConfig(vocab_size=2048, hidden_size=256, num_hidden_layers=4)
    return _Sizes(config, BATCH, BASE, LENGTHS, SWEEP)


def run(quick: bool, budget_s: float) -> Iterator[dict[str, Any]]:
    """Yield one row per length and peer, then one per length of the sweep.

    Args:
        quick: Tiny sizes and few repeats, to test that the bench works.
        budget_s: Seconds the whole bench may take, the slowest peer included.
    """
    sizes = _sizes(quick)
    threads = torch.get_num_threads()
    rng = np.random.default_rng(0)
    model = init_weights(MambaForCausalLM(sizes.config), seed=0).train()
    rate = matmul_roofline(threads, [(64, 64, 64)]) if quick else matmul_roofline(threads)
    common = {"backend": model.scan_backend, "roofline_flops_per_s": rate}
    plan = Plan.of(quick, budget_s / 12)
    for length in sizes.lengths:
        for row in _against_peers(model, sizes, length, plan, rng, rate, threads):
            yield row | common
    for length in sizes.sweep:
        for row in _against_shorter(model, sizes, length, plan, rng, rate, threads):
            yield row | common


def _against_peers(
    model: MambaForCausalLM,
    sizes: _Sizes,
    length: int,
    plan: Plan,
    rng: np.random.Generator,
    rate: float,
    threads: int,
) -> Iterator[dict[str, Any]]:
    ids = _tokens(sizes, length)
    case = f"B{sizes.batch} L{length}"
    for peer, (package, build) in _PEERS.items():
        if importlib.util.find_spec(package) is None:
            yield unavailable("scan", case, peer, f"{package} is not installed")
            continue
        slow = (peer, length) in _SLOW
        yield from compare(
            "scan",
            case,
            _our_step(model, ids),
            {
                peer: _with_heap(default_blocks, build(model, ids)),
                f"{peer}, heap kept": _with_heap(keep_large_blocks, build(model, ids)),
            },
            agree=agree,
            # One timed call of a peer that takes 25 s; its agreement check warms it up.
            plan=replace(plan, fewest=1) if slow else plan,
            rng=rng,
            limit_s=_product_flops(sizes.config) * ids.numel() / rate,
            threads=threads,
        )


def _against_shorter(
    model: MambaForCausalLM,
    sizes: _Sizes,
    length: int,
    plan: Plan,
    rng: np.random.Generator,
    rate: float,
    threads: int,
) -> Iterator[dict[str, Any]]:
    """Yield our cost at `length` beside that at the base length, scaled to as many tokens."""
    scale = length / sizes.base
    rows = compare(
        "scan",
        f"B{sizes.batch} L{length}",
        _our_step(model, _tokens(sizes, length)),
        {"shorter": _our_step(model, _tokens(sizes, sizes.base))},
        agree=_same_prefix,
        plan=plan,
        rng=rng,
        limit_s=_product_flops(sizes.config) * sizes.batch * length / rate,
        threads=threads,
    )
    for row in rows:
        low, high = row["ratio_ci"]
        yield row | {
            "peer": f"ours per token at L{sizes.base}",
            "peer_s": row["peer_s"] * scale,
            "peer_min_s": row["peer_min_s"] * scale,
            "ratio": row["ratio"] * scale,
            "ratio_ci": [low * scale, high * scale],
        }


def agree(ours: Result, theirs: Result) -> bool:
    """Tell whether logits and the gradient of every weight are equal to `TOLERANCE`."""
    if ours[1].keys() != theirs[1].keys():
        return False
    pairs = [(ours[0], theirs[0]), *((ours[1][name], theirs[1][name]) for name in ours[1])]
    return all(_relative(got, expected) <= TOLERANCE for got, expected in pairs)


def _same_prefix(longer: Result, shorter: Result) -> bool:
    length = min(longer[0].shape[1], shorter[0].shape[1])
    return _relative(longer[0][:, :length], shorter[0][:, :length]) <= TOLERANCE


def _relative(got: Tensor, expected: Tensor) -> float:
    return float((got - expected).norm() / expected.norm())


def _tokens(sizes: _Sizes, length: int) -> Tensor:
    """Return tokens whose first columns do not depend on the length."""
    generator = torch.Generator().manual_seed(1)
    shape = (length, sizes.batch)
    return torch.randint(0, sizes.config.vocab_size, shape, generator=generator).t().contiguous()


def _product_flops(config: MambaConfig) -> float:
    """Return the operations of a step's matrix products per token: forward, dx and dW."""
    h, i = config.hidden_size, config.intermediate_size
    rank, states = config.step_rank, config.state_size
    layer = h * 2 * i + i * (rank + 2 * states) + rank * i + i * h
    return 3 * 2.0 * (config.num_hidden_layers * layer + h * config.vocab_size)


def _gradients(model: nn.Module) -> dict[str, Tensor]:
    return {
        name: parameter.grad
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


def _with_heap(heap: Callable[[], bool], step: Callable[[], Result]) -> Callable[[], Result]:
    def call() -> Result:
        heap()
        return step()

    return call


def _our_step(model: MambaForCausalLM, ids: Tensor) -> Callable[[], Result]:
    def step() -> Result:
        keep_large_blocks()
        model.zero_grad(set_to_none=True)
        output = model(ids, labels=ids)
        output.loss.backward()
        return output.logits.detach(), _gradients(model)

    return step


def _transformers_step(model: MambaForCausalLM, ids: Tensor) -> Callable[[], Result]:
    from transformers import MambaConfig as PeerConfig
    from transformers import MambaForCausalLM as PeerModel

    values = model.config.to_hf_dict()
    del values["architectures"]
    peer = PeerModel(PeerConfig(**values)).train()
    peer.load_state_dict(model.state_dict())

    def step() -> Result:
        peer.zero_grad(set_to_none=True)
        output = peer(ids, labels=ids, use_cache=False)
        output.loss.backward()
        return output.logits.detach(), _gradients(peer)

    return step


def _mambapy_step(model: MambaForCausalLM, ids: Tensor) -> Callable[[], Result]:
    """Return a step of mambapy's blocks between our embedding, last norm and head."""
    from mambapy.mamba import Mamba, RMSNorm
    from mambapy.mamba import MambaConfig as PeerConfig

    config = model.config
    shape = PeerConfig(
        d_model=config.hidden_size,
        n_layers=config.num_hidden_layers,
        dt_rank=config.step_rank,
        d_state=config.state_size,
        d_conv=config.conv_kernel,
        rms_norm_eps=config.layer_norm_epsilon,
    )
    peer = Mamba(shape)
    peer.embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
    peer.norm_f = RMSNorm(config.hidden_size, config.layer_norm_epsilon, False)
    state = {
        name.removeprefix("backbone."): value
        for name, value in model.state_dict().items()
        if name != "lm_head.weight"
    }
    peer.load_state_dict(state)

    def step() -> Result:
        peer.zero_grad(set_to_none=True)
        hidden = peer.norm_f(peer(peer.embeddings(ids)))
        logits = functional.linear(hidden, peer.embeddings.weight)
        functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
        found = {f"backbone.{name}": grad for name, grad in _gradients(peer).items()}
        return logits.detach(), found

    return step


# Name -> (package, step of the peer on the same weights and tokens).
_PEERS: dict[str, tuple[str, Callable[[MambaForCausalLM, Tensor], Callable[[], Result]]]] = {
    "mambapy": ("mambapy", _mambapy_step),
    "transformers": ("transformers", _transformers_step),
}

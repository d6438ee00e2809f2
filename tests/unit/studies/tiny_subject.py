"""A Mamba with random weights on the workbench, for tests only: no trained asset is needed."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from seqlab.layout.permutation import Permutation
from seqlab.models.equivalence import Inputs
from seqlab.models.mamba import MambaForCausalLM
from seqlab.models.mamba_config import MambaConfig
from seqlab.models.mamba_init import init_weights
from seqlab.models.sites import mamba_sites
from seqlab.studies.codesign.caches import CacheSpec
from seqlab.studies.codesign.workbench.bench import Bench
from seqlab.studies.codesign.workbench.spec import (
    ArchitectureSpec,
    BenchTimingSpec,
    SolverSpec,
    WorkbenchSpec,
)
from seqlab.studies.codesign.workbench.subject import Score, Subject

ARCHITECTURE = ArchitectureSpec(
    kind="mamba",
    asset="tiny",
    pattern="2:4",
    kernels=("dense", "csr"),
    batch=1,
    length=32,
    block=8,
    calibration=2,
    traced=2,
    repeats=3,
    quality=1,
)
SPEC = WorkbenchSpec(
    architectures={"tiny": ARCHITECTURE},
    caches=(
        CacheSpec(name="L1", size=1024, ways=4),
        CacheSpec(name="L2", size=8192, ways=8),
    ),
    solver=SolverSpec(method="spectral_balanced", node_order="multilevel"),
    # One: another test of the process may have left fewer threads than there were at import.
    timing=BenchTimingSpec(warmup_max=1, max_foreign_load=64, attempts=1, threads=1),
    gate=1e-10,
)


class TinySubject(Subject):
    """A Mamba of two layers, hidden 32, inner 64, scored by the mean of its logits."""

    def __init__(self, spec: ArchitectureSpec = ARCHITECTURE) -> None:
        config = MambaConfig(vocab_size=40, hidden_size=32, num_hidden_layers=2, state_size=4)
        model = init_weights(MambaForCausalLM(config), 0).eval()
        mixers = [f"backbone.layers.{i}.mixer" for i in range(2)]
        super().__init__(
            "tiny",
            spec,
            model,
            mamba_sites(config),
            tuple(f"{mixer}.{part}" for mixer in mixers for part in ("in_proj", "out_proj")),
            rehearsal=False,
        )

    def _ids(self, seed: int, *shape: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(0, 40, shape, generator=generator)

    def calibrate(self, model: nn.Module) -> None:
        model.backbone(self._ids(1, self.spec.calibration, 64))  # type: ignore[operator]

    def gate_inputs(self) -> Inputs:
        return self._ids(2, 8, 6)

    def caller(self, model: nn.Module, nodes: Permutation | None) -> Callable[[], Tensor]:
        ids = self._ids(3, self.spec.batch, self.spec.length)
        return lambda: model(ids).logits

    def score(self, model: nn.Module) -> Score | None:
        return Score("bits_per_byte", float(model(self._ids(4, 2, 16)).logits.std()), "bits/byte")


def tiny_bench(seed: int = 0) -> Bench:
    return Bench(TinySubject(), SPEC, seed)

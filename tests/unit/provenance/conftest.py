"""A small project whose steps leave sidecars as the command line does."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqlab.provenance.lineage import record_lineage
from seqlab.provenance.manifest import write_manifest
from seqlab.provenance.pack import pack
from seqlab.provenance.record import Arm, Metric, Record, write_record, write_samples

CPU = {"cpu_model": "Toy CPU", "architecture": "x86_64", "cores": 2, "gpus": [], "os": "Linux 6"}
GPU = CPU | {"gpus": [{"model": "NVIDIA A100", "memory_mib": 81920}]}


class Project:
    """corpus -> model -> 2 cells x 2 seeds -> table -> figure, at laptop scale."""

    runs = "results/laptop/toy/order/runs"

    def __init__(self, root: Path, *, gpu: bool = False, scale: float = 1.0) -> None:
        self.root = root
        self.machine = GPU if gpu else CPU
        self.scale = scale
        root.mkdir(parents=True, exist_ok=True)

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return Path(name)

    def step(self, step: str, inputs: list[str], *outputs: str, code: str = "c1") -> None:
        environment = {
            "git": {"commit": "f" * 40, "dirty": False},
            "python": "3.11",
            "machine": self.machine,
            "packages": {"numpy": "2"},
        }
        record_lineage(
            step,
            json.dumps({"step": step}),
            code,
            {"inputs": [Path(name) for name in inputs]},
            {str(index): Path(name) for index, name in enumerate(outputs)},
            environment,
            started=0.0,
            seconds=1.0,
            root=self.root,
        )

    def build(self) -> Project:
        self.sources()
        self.train()
        for cell in ("a", "b"):
            for seed in (0, 1):
                self.run(cell, seed)
        self.collect()
        self.draw()
        self.manifest()
        return self

    def sources(self) -> None:
        self.write("resources/sotu/sotu.xz", "corpus")
        digest = hashlib.sha256(b"corpus").hexdigest()
        self.write(
            "resources/sotu/source.yaml", f"file: sotu.xz\nsha256: {digest}\nlicence: CC0-1.0\n"
        )
        self.write("results/laptop/assets/corpora/sotu/train.txt", "text")
        self.step("assets corpus", ["resources/sotu"], "results/laptop/assets/corpora/sotu")

    def train(self) -> None:
        folder = "results/laptop/assets/models/m"
        self.write(f"{folder}/model.safetensors", f"weights {self.scale}")
        self.write(f"{folder}/config.json", "{}")
        self.step("assets train_model", ["results/laptop/assets/corpora/sotu"], folder)

    def run(self, cell: str, seed: int, value: float | None = None) -> None:
        folder = f"{self.runs}/{cell}/seed-{seed}"
        rng = np.random.default_rng(seed)
        samples = {"dense": rng.random(4) * self.scale}
        digest = write_samples(self.root / folder / "samples.npz", samples)
        found = float(samples["dense"].mean()) if value is None else value
        arm = Arm(
            metrics={"latency": Metric(value=found, unit="ms", provenance="measured")},
            samples_path="samples.npz",
            samples_sha256=digest,
        )
        record = Record(
            study="toy",
            experiment="order",
            cell={"name": cell},
            seed=seed,
            arms={"dense": arm},
            environment={"machine": self.machine},
        )
        write_record(self.root / folder / "record.json", record)
        self.step(
            "toy run_order",
            ["results/laptop/assets/models/m", "results/laptop/assets/corpora/sotu"],
            f"{folder}/record.json",
            f"{folder}/samples.npz",
        )

    def collect(self) -> None:
        rows = sorted((self.root / self.runs).rglob("record.json"))
        values = [json.loads(path.read_text()) for path in rows]
        lines = [f"{v['seed']},{v['arms']['dense']['metrics']['latency']['value']}" for v in values]
        self.write("results/laptop/toy/order/table.csv", "\n".join(lines))
        self.step("toy collect_order", [self.runs], "results/laptop/toy/order/table.csv")

    def draw(self) -> None:
        self.write("figures/fig2.pdf", "pdf of " + self.read("results/laptop/toy/order/table.csv"))
        self.write("figures/fig2.csv", "drawn")
        self.step(
            "paper number_figure",
            ["results/laptop/toy/order/table.csv"],
            "figures/fig2.pdf",
            "figures/fig2.csv",
        )

    def manifest(self) -> None:
        write_manifest(self.root, "laptop", ["figures/fig2.pdf"])
        self.step("paper merge_manifest", ["figures/fig2.pdf"], "results/laptop/manifest.json")

    def read(self, name: str) -> str:
        return (self.root / name).read_text()

    def flip(self, name: str) -> None:
        path = self.root / name
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)


@pytest.fixture(scope="session")
def pod_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of a project that ran on a GPU machine."""
    folder = tmp_path_factory.mktemp("pod")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        project = Project(folder / "pod", gpu=True, scale=2.0).build()
        pack(project.root, "laptop", folder / "pod.tar.gz")
    return folder / "pod.tar.gz"


@pytest.fixture(autouse=True)
def no_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the tests from waiting for the disk; a power cut cannot be tested here anyway."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture
def make_project(tmp_path: Path) -> Callable[..., Project]:
    def make(name: str = "project", **options: Any) -> Project:
        return Project(tmp_path / name, **options)

    return make

"""A tiny training run as a process of its own, for tests that kill it.

Usage: small_run.py FOLDER STEPS DELAY_S. Writes `weights.pt`, `curve.csv` and `result.json` into
FOLDER when it ends by itself; its checkpoints are in FOLDER/state. Prints a line per step, so that
the parent can aim. Under torchrun the processes share the batch.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqlab.errors import Terminated, UserError
from seqlab.training.callbacks import Callback, Progress
from seqlab.training.checkpoint import Checkpoints
from seqlab.training.distributed import launched_world
from seqlab.training.loop import Job, train
from seqlab.training.losses import Loss
from seqlab.training.spec import TrainSpec

EXIT_TERMINATED = 143
EXIT_USER_ERROR = 2


def batch_at(step: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(16, 24, generator=generator)
    return x, x[:, :5].argmax(dim=1)


def loss_fn(model: nn.Module, batch: tuple[Tensor, Tensor], _step: int) -> Loss:
    x, y = batch
    return Loss(F.cross_entropy(model(x), y))


class Pace(Callback):
    """Prints each step, and makes steps and evaluations long enough to be killed in."""

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.evaluated = 0

    def on_start(self, progress: Progress) -> None:
        print(f"start {progress.step}", flush=True)

    def on_step_end(self, progress: Progress) -> None:
        print(f"step {progress.step}", flush=True)
        time.sleep(self.delay)

    def on_evaluate(self, progress: Progress, metrics: Mapping[str, float]) -> None:
        self.evaluated += 1

    def state_dict(self) -> dict[str, int]:
        return {"evaluated": self.evaluated}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self.evaluated = state["evaluated"]


def evaluate(model: nn.Module, folder: Path) -> dict[str, float]:
    x, y = batch_at(10**9)
    print("evaluating", flush=True)
    if (folder / "slow evaluation").exists():
        time.sleep(60)
    return {"loss": F.cross_entropy(model(x), y).item()}


def network() -> nn.Module:
    torch.manual_seed(11)
    return nn.Sequential(
        nn.Linear(24, 48), nn.BatchNorm1d(48), nn.Dropout(0.3), nn.Tanh(), nn.Linear(48, 5)
    )


def plain_network() -> nn.Module:
    """Without statistics of the local batch, which sharing the batch would change."""
    torch.manual_seed(11)
    return nn.Sequential(nn.Linear(24, 48), nn.Tanh(), nn.Linear(48, 5))


def main(folder: Path, steps: int, delay: float) -> int:
    torch.set_num_threads(1)
    spec = TrainSpec(
        steps=steps,
        lr=0.01,
        warmup_steps=5,
        evaluate_every=7,
        checkpoint_every_steps=3,
        checkpoint_every_s=None,
    )
    with launched_world("cpu") as world:
        pace = Pace(delay)
        model = plain_network() if world.size > 1 or delay < 0 else network()
        pace.delay = max(0.0, delay)
        checkpoints = Checkpoints(folder / "state", {"spec": spec.canonical()})
        job = Job(
            batch_at, loss_fn, partial(evaluate, folder=folder), (pace,), checkpoints, world=world
        )
        result = train(model, spec, job)
        if world.leader:
            torch.save([dict(model.state_dict()), result.best.weights], folder / "weights.pt")
            (folder / "curve.csv").write_text(result.curve.to_csv())
            summary = {
                "evaluations": result.evaluations,
                "evaluated": pace.evaluated,
                "best": [result.best.step, result.best.value],
                "resumed_from": result.resumed_from,
            }
            (folder / "result.json").write_text(json.dumps(summary))
    return 0


def main_into_files(folder: Path, steps: int, delay: float, rank: int, peers: dict) -> None:
    """Run with standard output and error in files of `folder`; exit as the command line does.

    `peers` are torchrun's environment variables of a data-parallel run.
    """
    os.environ |= peers
    suffix = str(rank) if rank else ""
    with (
        (folder / f"stdout{suffix}").open("a") as out,
        (folder / f"stderr{suffix}").open("w") as err,
    ):
        sys.stdout, sys.stderr = out, err
        logging.basicConfig(stream=err)
        try:
            sys.exit(main(folder, steps, delay))
        except (Terminated, UserError) as error:
            print(error, file=err)
            sys.exit(EXIT_TERMINATED if isinstance(error, Terminated) else EXIT_USER_ERROR)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))

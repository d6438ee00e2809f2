"""Processes that are killed while they train end with the bits of an unbroken run."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import socket
import subprocess
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch

SCRIPT = Path(__file__).with_name("small_run.py")
STEPS = 40
SIGKILL, TERMINATED, USER_ERROR = -9, 143, 2


class Runs:
    """Starts processes from one that has imported torch already: real ones, in 20 ms each."""

    def __init__(self) -> None:
        sys.path.insert(0, str(SCRIPT.parent))
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["torch._dynamo", "small_run"])
        self.main = __import__("small_run").main_into_files

    def start(self, folder: Path, delay: float = 0.02, steps: int = STEPS) -> BaseProcess:
        folder.mkdir(exist_ok=True)
        (folder / "stdout").write_text("")
        return self._start(folder, steps, delay, 0, {})

    def start_pair(self, folder: Path, delay: float) -> list[BaseProcess]:
        """Start two data-parallel processes, as torchrun would."""
        folder.mkdir(exist_ok=True)
        (folder / "stdout").write_text("")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        peers = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        return [
            self._start(folder, 20, delay, rank, {**peers, "RANK": str(rank)}) for rank in range(2)
        ]

    def _start(self, *arguments: Any) -> BaseProcess:
        process = self._context.Process(target=self.main, args=arguments)
        process.start()
        return process

    def finish(self, folder: Path) -> None:
        process = self.start(folder, delay=0.0)
        process.join(60)
        assert process.exitcode == 0, (folder / "stderr").read_text()


def wait_for(folder: Path, line: str) -> None:
    deadline = time.monotonic() + 60
    while line not in lines(folder):
        assert time.monotonic() < deadline, (folder / "stderr").read_text()
        time.sleep(0.002)


def lines(folder: Path) -> list[str]:
    return (folder / "stdout").read_text().splitlines()


def kill(process: BaseProcess) -> None:
    process.kill()
    process.join()
    assert process.exitcode == SIGKILL


@pytest.fixture(scope="module")
def runs() -> Runs:
    return Runs()


@pytest.fixture(scope="module")
def unbroken(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    runs.finish(folder)
    return folder


def assert_same_run(folder: Path, unbroken: Path) -> None:
    ours, theirs = (torch.load(path / "weights.pt") for path in (folder, unbroken))
    for own, other in zip(ours, theirs, strict=True):
        assert own.keys() == other.keys() and own
        assert all(torch.equal(own[name], other[name]) for name in own)
    assert (folder / "curve.csv").read_text() == (unbroken / "curve.csv").read_text()
    mine, reference = (
        json.loads((path / "result.json").read_text()) for path in (folder, unbroken)
    )
    for name in ("evaluations", "evaluated", "best"):
        assert mine[name] == reference[name]


def test_kill_9_at_random_moments_changes_no_bit(
    tmp_path: Path, runs: Runs, unbroken: Path
) -> None:
    rng = random.Random(20)
    folder = tmp_path / "run"
    at = 0
    for _ in range(7):
        process = runs.start(folder)
        at += rng.randint(3, 5)
        wait_for(folder, f"step {at}")
        # Anywhere within a step, its checkpoint or its evaluation.
        time.sleep(rng.random() * 0.03)
        kill(process)
    runs.finish(folder)
    result = json.loads((folder / "result.json").read_text())
    assert len(result["resumed_from"]) == 7
    assert_same_run(folder, unbroken)


def test_sigterm_saves_after_the_step_and_exits_143(
    tmp_path: Path, runs: Runs, unbroken: Path
) -> None:
    folder = tmp_path / "run"
    process = runs.start(folder)
    wait_for(folder, "step 10")
    process.terminate()
    process.join(30)
    assert process.exitcode == TERMINATED
    last = max(int(line.split()[1]) for line in lines(folder) if line.startswith("step"))
    errors = (folder / "stderr").read_text()
    assert f"SIGTERM after step {last + 1} of 40: its state is saved" in errors
    runs.finish(folder)
    assert lines(folder)[0] == f"start {last + 1}"
    assert_same_run(folder, unbroken)


def test_sigterm_in_an_evaluation_does_not_wait_for_its_end(
    tmp_path: Path, runs: Runs, unbroken: Path
) -> None:
    folder = tmp_path / "run"
    (folder).mkdir()
    (folder / "slow evaluation").touch()
    process = runs.start(folder, delay=0.0)
    wait_for(folder, "evaluating")
    process.terminate()
    process.join(30)
    assert process.exitcode == TERMINATED
    assert "SIGTERM after step 7 of 40" in (folder / "stderr").read_text()
    (folder / "slow evaluation").unlink()
    runs.finish(folder)
    assert lines(folder)[:2] == ["start 7", "evaluating"]
    assert_same_run(folder, unbroken)


def test_a_damaged_checkpoint_costs_steps_but_no_bit(
    tmp_path: Path, runs: Runs, unbroken: Path
) -> None:
    folder = tmp_path / "run"
    process = runs.start(folder)
    wait_for(folder, "step 13")
    kill(process)
    newest = max((folder / "state").glob("*/step-*.json")).with_suffix(".pt")
    newest.write_bytes(newest.read_bytes()[:1000])
    runs.finish(folder)
    before = int(newest.stem.removeprefix("step-")) - 3
    assert lines(folder)[0] == f"start {before}"
    assert f"{newest}: checkpoint is damaged: 1000 bytes" in (folder / "stderr").read_text()
    assert_same_run(folder, unbroken)


def test_two_processes_do_not_train_into_one_folder(tmp_path: Path, runs: Runs) -> None:
    first = runs.start(tmp_path, delay=10.0)
    try:
        wait_for(tmp_path, "step 0")
        second = runs.start(tmp_path)
        second.join(60)
        assert second.exitcode == USER_ERROR
        assert str(tmp_path / "state") in (tmp_path / "stderr").read_text()
    finally:
        kill(first)


def test_two_gloo_processes_follow_one_process(tmp_path: Path, runs: Runs) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    runs.start(folders[0], delay=-1.0, steps=20).join(60)
    folders[1].mkdir()
    launch = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"),
        *(str(SCRIPT), str(folders[1]), "20", "-1"),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(launch, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    curves = [read_curve(folder / "curve.csv") for folder in folders]
    assert curves[0].shape == (20, 4)
    torch.testing.assert_close(curves[1], curves[0], rtol=1e-4, atol=1e-6)
    (one, best_one), (two, best_two) = (torch.load(folder / "weights.pt") for folder in folders)
    assert one.keys() == two.keys()
    torch.testing.assert_close(two, one, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(best_two, best_one, rtol=1e-3, atol=1e-5)
    summaries = [json.loads((folder / "result.json").read_text()) for folder in folders]
    assert summaries[0]["best"][0] == summaries[1]["best"][0]


def test_data_parallel_processes_stop_at_one_step_and_resume(tmp_path: Path, runs: Runs) -> None:
    ends = []
    for name in ("unbroken", "stopped"):
        folder = tmp_path / name
        if name == "stopped":
            pair = runs.start_pair(folder, delay=0.02)
            wait_for(folder, "step 8")
            for process in pair:
                process.terminate()
            for process in pair:
                process.join(60)
                assert process.exitcode == TERMINATED, (folder / "stderr").read_text()
            first, second = ((folder / file).read_text() for file in ("stderr", "stderr1"))
            assert first.splitlines()[-1] == second.splitlines()[-1]
        for process in runs.start_pair(folder, delay=0.0):
            process.join(60)
            assert process.exitcode == 0, (folder / "stderr").read_text()
        ends.append(torch.load(folder / "weights.pt")[0])
    assert len(json.loads((folder / "result.json").read_text())["resumed_from"]) == 1
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def read_curve(path: Path) -> torch.Tensor:
    rows = path.read_text().splitlines()
    order = sorted(range(4), key=rows[0].split(",").__getitem__)
    values = [[float(cell) for cell in row.split(",")] for row in rows[1:]]
    return torch.tensor(values, dtype=torch.float64)[:, order]

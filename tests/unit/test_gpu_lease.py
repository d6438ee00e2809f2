"""The GPU lease on made-up device ids: exclusive, bounded by what is visible, freed on death."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from seqlab import gpu_lease
from seqlab.errors import UserError
from seqlab.gpu_lease import VISIBLE, lease, visible_devices


@pytest.fixture(autouse=True)
def no_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (VISIBLE, "SLURM_JOB_GPUS", "SLURM_STEP_GPUS", "PBS_GPUFILE"):
        monkeypatch.delenv(name, raising=False)


def test_leases_do_not_overlap_and_are_given_back(tmp_path: Path) -> None:
    options = {"folder": tmp_path, "devices": ["0", "1", "2"], "wait_s": 0}
    with lease(1, **options) as first:
        assert os.environ[VISIBLE] == first[0]
        with lease(2, **options) as second:
            assert sorted(first + second) == ["0", "1", "2"]
            assert os.environ[VISIBLE] == ",".join(second)
            with pytest.raises(UserError, match=r"no 1 free GPU"), lease(1, **options):
                pass
        assert os.environ[VISIBLE] == first[0]
        with lease(1, **options) as again:
            assert again != first
    assert VISIBLE not in os.environ


def test_six_processes_on_two_devices(tmp_path: Path) -> None:
    code = """
import os, sys, time
from pathlib import Path
from seqlab.gpu_lease import lease
with lease(1, folder=Path(sys.argv[1]), devices=["0", "1"], wait_s=60) as held:
    mark = Path(sys.argv[1]) / f"busy-{held[0]}"
    os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
    time.sleep(0.1)
    mark.unlink()
    print(held[0])
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    children = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    results = [(*child.communicate(timeout=120), child.returncode) for child in children]
    assert [status for *_, status in results] == [0] * 6, results
    assert {out.strip() for out, *_ in results} <= {"0", "1"}


def test_zero_leases_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VISIBLE, "5")
    with lease(0) as held:
        assert held == []
        assert os.environ[VISIBLE] == "5"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2,3", ["2", "3"]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("0,-1,1", ["0"]),
        ("1,1", ["1"]),
        (" 0 , GPU-8f1c2d3e-aa ", ["0", "GPU-8f1c2d3e-aa"]),
    ],
)
def test_visible_devices(monkeypatch, text: str, expected: list[str]) -> None:
    monkeypatch.setenv(VISIBLE, text)
    assert visible_devices() == expected


def test_devices_of_a_scheduler_are_used_as_they_are(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv(VISIBLE, "4,6")
    monkeypatch.setenv("SLURM_JOB_GPUS", "4,6")
    with lease(1, folder=tmp_path, wait_s=0) as held:
        assert held == ["4", "6"]
        assert os.environ[VISIBLE] == "4,6"
    assert list(tmp_path.iterdir()) == []


def test_only_visible_devices_are_leased(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv(VISIBLE, "4,6")
    with lease(1, folder=tmp_path, wait_s=0) as first, pytest.raises(UserError, match="2 GPU"):
        assert first == ["4"]
        with lease(2, folder=tmp_path, wait_s=0):
            pass
    assert os.environ[VISIBLE] == "4,6"


def test_too_few_devices_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_lease.shutil, "which", lambda name: None)
    message = r"1 GPU\(s\) asked for, 0 visible.*device=cpu"
    with pytest.raises(UserError, match=message), lease(1):
        pass

"""The doctor: each finding's status follows from what it was given."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from seqlab import doctor
from seqlab.doctor import (
    check_caches,
    check_checkout,
    check_command,
    check_compiler,
    check_disk,
    check_import,
    check_profile_link,
    check_python,
    check_resources,
    check_snakemake,
    judge_torch,
    parse_nvidia_smi,
)

ROOT = Path(__file__).resolve().parents[2]
DRIVER = ("550.54.15", (12, 4))

SMI = """
+-----------------------------------------------------------------------------+
| NVIDIA-SMI 550.54.15    Driver Version: 550.54.15    CUDA Version: 12.4     |
|-------------------------------+----------------------+----------------------+
"""


def test_python_version() -> None:
    assert check_python((3, 11, 7)).status == "ok"
    old = check_python((3, 10, 2))
    assert (old.status, old.detail) == ("fail", "3.10.2, needs 3.11")


@pytest.mark.parametrize(
    ("cuda", "gpu", "status"),
    [
        (None, None, "ok"),
        ("12.6", None, "ok"),
        (None, DRIVER, "warn"),
        ("12.6", DRIVER, "ok"),
        ("11.8", DRIVER, "ok"),
        ("13.0", DRIVER, "fail"),
    ],
)
def test_torch_build_against_driver(cuda, gpu, status: str) -> None:
    found = judge_torch("2.13.0", cuda, gpu)
    assert found.status == status
    assert (found.fix is None) == (status == "ok")


def test_nvidia_smi_head() -> None:
    assert parse_nvidia_smi(SMI) == DRIVER
    assert parse_nvidia_smi("NVIDIA-SMI has failed because ...") is None


def test_missing_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert doctor.nvidia_smi() is None
    assert check_command("git", "no commit").status == "warn"


def test_snakemake_version(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_snakemake().status == "ok"
    monkeypatch.setattr(doctor.metadata, "version", lambda name: "9.3.1")
    assert check_snakemake().detail == "9.3.1, needs 9.27"


def test_kernel_libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "brokenkernel.py").write_text("raise ImportError('no libcudart')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert check_import("json", needed=True).status == "ok"
    broken = check_import("brokenkernel", needed=False, gpu=True)
    assert (broken.status, "no libcudart" in broken.detail) == ("warn", True)
    assert check_import("brokenkernel", needed=True).status == "fail"
    assert check_import("surely_not_installed", needed=True).status == "fail"
    assert check_import("surely_not_installed", needed=False, gpu=True).status == "warn"
    assert check_import("surely_not_installed", needed=False).status == "ok"


def test_compilers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.metadata, "version", lambda name: "1.2")
    monkeypatch.setattr("seqlab.models.compiled.util.find_spec", lambda name: True)
    found = check_compiler("openvino")
    assert (found.status, found.detail) == ("ok", "compiler, 1.2")
    monkeypatch.setattr(
        "seqlab.models.compiled.util.find_spec", lambda name: None if name == "onnx" else True
    )
    found = check_compiler("openvino")
    assert (found.status, found.detail) == ("warn", "not installed: onnx; its rows are not run")
    assert "peers" in found.fix
    monkeypatch.setenv("CXX", "/no/such/compiler")
    found = check_compiler("inductor")
    assert found.detail == "no C++ compiler /no/such/compiler; its rows are not run"


def test_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "new" / "cache"))
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file"))
    hub, numba = check_caches(tmp_path)
    assert (hub.status, hub.detail) == ("ok", "HF_HOME, will be made on first use")
    assert (numba.status, numba.fix) == ("warn", "set NUMBA_CACHE_DIR to a folder you can write")


@pytest.mark.parametrize(("free", "status"), [(1e9, "fail"), (5e9, "warn"), (5e11, "ok")])
def test_free_disk(tmp_path, monkeypatch, free: float, status: str) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    assert check_disk(tmp_path).status == status


def test_profile_link(tmp_path: Path) -> None:
    assert check_profile_link(tmp_path).status == "warn"
    # What git writes where links are switched off.
    (tmp_path / "runpod").write_text("workflow/profiles/runpod")
    assert "no link" in check_profile_link(tmp_path).detail
    (tmp_path / "runpod").unlink()
    profile = tmp_path / "workflow" / "profiles" / "runpod"
    profile.mkdir(parents=True)
    (profile / "profile.yaml").write_text("cores: all")
    os.symlink("workflow/profiles/runpod", tmp_path / "runpod")
    assert check_profile_link(tmp_path).status == "ok"


def test_resources(tmp_path: Path) -> None:
    assert [f.status for f in check_resources(tmp_path)] == ["warn"]
    folder = tmp_path / "resources" / "a"
    folder.mkdir(parents=True)
    (folder / "a.xz").write_bytes(b"data")
    digest = hashlib.sha256(b"data").hexdigest()
    (folder / "source.yaml").write_text(f"file: a.xz\nsha256: {digest}\n")
    assert [f.status for f in check_resources(tmp_path)] == ["ok"]
    (folder / "a.xz").write_bytes(b"date")
    (found,) = check_resources(tmp_path)
    assert (found.status, found.fix) == ("fail", "git checkout -- resources/a/a.xz")
    (folder / "source.yaml").write_text("a: [")
    assert [f.status for f in check_resources(tmp_path)] == ["fail"]


def test_checkout(tmp_path: Path) -> None:
    assert check_checkout(ROOT).status == "ok"
    assert check_checkout(tmp_path).status == "fail"


def test_whole_run_names_every_check_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "nvidia_smi", lambda: None)
    monkeypatch.setattr(
        doctor, "check_import", lambda name, **_: doctor.Finding(name, "ok", "importable")
    )
    findings = doctor.run_doctor(ROOT)
    names = [finding.name for finding in findings]
    assert len(set(names)) == len(names)
    assert {"Python", "torch", "numba", "GPU", "disk", "memory", "resources"} <= set(names)
    home = str(Path.home())
    assert home == "/" or not any(home in finding.detail for finding in findings)

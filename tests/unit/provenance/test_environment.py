"""The environment of a record: complete, stable, and free of anything private."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from seqlab.provenance import environment as module
from seqlab.provenance.environment import (
    device_key,
    environment,
    git_state,
    packages_digest,
    with_load_after,
)
from seqlab.provenance.private import require_no_private
from seqlab.spec import Spec, setting


class Settings(Spec):
    model: str = setting("A model.", default="vendored:tiny")
    steps: int = setting("Steps.", default=3)


@pytest.fixture(autouse=True)
def fresh_git() -> None:
    git_state.cache_clear()


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(folder), *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_keys_and_privacy(tmp_path: Path) -> None:
    found = environment(Settings(), "abc", 2, tmp_path)
    assert set(found) == {
        *("git", "code", "spec", "python", "packages", "machine", "threads"),
        *("determinism", "load"),
    }
    assert found["spec"] == {"model": "vendored:tiny", "steps": 3}
    assert found["packages"]["numpy"]
    assert found["threads"] == 2
    assert found["load"]["after"] is None
    assert json.loads(json.dumps(found)) == found
    require_no_private(found, "environment")
    after = with_load_after(found)
    assert set(after["load"]) == {"before", "after"}
    assert found["load"]["after"] is None


def test_spec_forms_agree_and_home_is_blanked(tmp_path: Path) -> None:
    spec = Settings(model=f"path:{Path.home()}/models/x")
    forms = (spec, spec.model_dump(), spec.canonical())
    texts = [environment(form, "", 1, tmp_path)["spec"]["model"] for form in forms]
    assert len(set(texts)) == 1
    assert str(Path.home()) not in texts[0] or str(Path.home()) == "/"


def test_no_git_gives_null_and_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert git_state(tmp_path)["commit"] is None
    assert "not a git repository" in git_state(tmp_path)["reason"]
    git_state.cache_clear()
    monkeypatch.setenv("PATH", "")
    assert git_state(tmp_path) == {
        "commit": None,
        "dirty": None,
        "reason": "git is not installed",
    }


def test_commit_and_dirty_flag(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "a").write_text("1")
    (tmp_path / "inner").mkdir()
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "x")
    state = git_state(tmp_path)
    assert state == {"commit": git(tmp_path, "rev-parse", "HEAD"), "dirty": False, "reason": None}
    (tmp_path / "a").write_text("2")
    git_state.cache_clear()
    assert git_state(tmp_path)["dirty"] is True
    # A project below another repository must not claim that repository's commit.
    assert git_state(tmp_path / "inner")["commit"] is None


@pytest.mark.parametrize(
    ("machine", "key"),
    [
        ({"cpu_model": "Intel(R) Xeon(R) Gold 6330 CPU @ 2.00GHz", "cores": 2}, "intel-xeon-gold"),
        ({"gpus": [{"model": "NVIDIA A100-SXM4-80GB"}]}, "nvidia-a100-sxm4-80gb"),
        ({"gpus": [{"model": "NVIDIA H100"}] * 2, "cpu_model": "x"}, "2x-nvidia-h100"),
        ({"cpu_model": None, "architecture": "arm64", "gpus": []}, "arm64"),
        ({}, "unknown"),
    ],
)
def test_device_key(machine: dict[str, object], key: str) -> None:
    assert device_key({"machine": machine}).startswith(key)


def test_device_key_is_a_safe_path_part() -> None:
    key = device_key({"machine": {"cpu_model": "../../Évil / chip" * 20, "cores": 3}})
    assert set(key) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert len(key) <= 60


def test_packages_digest_depends_on_versions_only() -> None:
    assert packages_digest({"a": "1", "b": "2"}) == packages_digest({"b": "2", "a": "1"})
    assert packages_digest({"a": "1"}) != packages_digest({"a": "2"})


def test_determinism_asks_torch_only_when_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert "cudnn_benchmark" not in module.determinism()


def test_import_stays_light() -> None:
    code = (
        "import sys, seqlab.provenance.environment, seqlab.provenance.record, "
        "seqlab.provenance.lineage, seqlab.provenance.pack, seqlab.provenance.verify, "
        "seqlab.provenance.explain, seqlab.doctor, seqlab.forecast, seqlab.recover, "
        "seqlab.gpu_lease, seqlab.provenance.lock\n"
        "print([m for m in ('torch','numba','pandas','transformers','numpy','yaml')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

"""Checkouts to run literal commands in, one of them with the whole graph built at ci scale."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from filelock import FileLock

sys.path.insert(0, str(Path(__file__).parent / "workflow"))

from workflow_checkout import Checkout, copy_checkout


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A fresh checkout whose path holds a space."""
    return copy_checkout(tmp_path / "a checkout")


@pytest.fixture(scope="session")
def ci_build(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Checkout:
    """A checkout in which the whole graph was built at ci scale; tests must not change it.

    Worker processes share one: the first that asks builds it.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent
    built = Checkout(shared / "built" / "a checkout")
    done = shared / "built.done"
    with FileLock(shared / "built.lock"):
        if not done.exists():
            # What another worker left unfinished is no build.
            shutil.rmtree(built.path.parent, ignore_errors=True)
            copy_checkout(built.path)
            built.run("snakemake", "--profile", "workflow/profiles/ci")
            done.touch()
    return built


@pytest.fixture
def built(ci_build: Checkout, tmp_path: Path) -> Checkout:
    """A private copy of the built checkout, times and Snakemake's memory included."""
    target = tmp_path / "a checkout"
    shutil.copytree(ci_build.path, target, symlinks=True)
    return Checkout(target)

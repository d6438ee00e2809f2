"""Checkouts to run literal commands in, one of them with the whole graph built at ci scale."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "workflow"))

from workflow_checkout import Checkout, copy_checkout, everything


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A fresh checkout whose path holds a space."""
    return copy_checkout(tmp_path / "a checkout")


@pytest.fixture(scope="session")
def ci_build(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout in which the whole graph was built at ci scale; tests must not change it."""
    built = copy_checkout(tmp_path_factory.mktemp("built") / "a checkout")
    built.run("snakemake", "--profile", "workflow/profiles/ci", *everything("ci"))
    return built


@pytest.fixture
def built(ci_build: Checkout, tmp_path: Path) -> Checkout:
    """A private copy of the built checkout, times and Snakemake's memory included."""
    target = tmp_path / "a checkout"
    shutil.copytree(ci_build.path, target, symlinks=True)
    return Checkout(target)

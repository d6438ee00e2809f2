"""What a run ran on: commit, code, settings, packages, machine, threads, determinism, load."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqlab.provenance.machine import describe_machine
from seqlab.provenance.private import without_private
from seqlab.quiet import unbroken

if TYPE_CHECKING:
    from seqlab.spec import Spec

# The packages that can change a number or a picture.
_PACKAGES = (
    "causal-conv1d",
    "fla-core",
    "flash-linear-attention",
    "huggingface-hub",
    "mamba-ssm",
    "matplotlib",
    "numba",
    "numpy",
    "pandas",
    "pyarrow",
    "pydantic",
    "safetensors",
    "scikit-learn",
    "scipy",
    "snakemake",
    "statsmodels",
    "tokenizers",
    "torch",
    "transformers",
    "triton",
)
_SLUG_LENGTH = 60
_GIT_TIMEOUT_S = 20


def environment(
    spec: Spec | Mapping[str, Any] | str,
    code: str,
    threads: int | None,
    root: str | Path | None = None,
) -> dict[str, Any]:
    """Describe what this process runs on, as plain data without anything private.

    Args:
        spec: Settings of the step: a `Spec`, plain data or JSON text.
        code: Fingerprint of the step's code.
        threads: Number of compute threads the process is pinned to; None where nothing is timed.
        root: Folder of the project; the working directory unless told.

    Returns:
        `git`, `code`, `spec`, `python`, `packages`, `machine`, `threads`, `determinism` and
        `load` (`before` is taken now; `with_load_after` fills in `after`).
    """
    described = {
        "git": dict(git_state(Path(root or Path.cwd()).resolve())),
        "code": code,
        "spec": plain_spec(spec),
        "python": platform.python_version(),
        "packages": dict(package_versions()),
        "machine": dict(_machine()),
        "threads": threads,
        "determinism": determinism(),
        "load": {"before": load_average(), "after": None},
    }
    cleaned: dict[str, Any] = without_private(described)
    return cleaned


def with_load_after(environment: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of `environment` whose `load.after` is the load of now."""
    load = {**environment["load"], "after": load_average()}
    return {**environment, "load": load}


def load_average() -> float | None:
    """Return the mean number of runnable processes of the last minute, None if not known."""
    try:
        return round(os.getloadavg()[0], 2)
    except (OSError, AttributeError):
        return None


def device_key(environment: Mapping[str, Any]) -> str:
    """Return a short name of the hardware for paths: the GPUs where there are any, else the CPU.

    Two machines of the same hardware share a key; it is made of `machine` alone.
    """
    machine = environment.get("machine") or {}
    gpus = machine.get("gpus") or []
    if gpus:
        name = f"{len(gpus)}x {gpus[0]['model']}" if len(gpus) > 1 else str(gpus[0]["model"])
    else:
        name = machine.get("cpu_model") or machine.get("architecture") or "unknown"
        name = f"{name} {machine.get('cores') or ''}"
    slug = re.sub(r"[^a-z0-9]+", "-", re.sub(r"\((r|tm)\)", " ", name.lower())).strip("-")
    return slug[:_SLUG_LENGTH].strip("-") or "unknown"


def packages_digest(packages: Mapping[str, str]) -> str:
    """Return 16 hexadecimal digits that change when any recorded package version changes."""
    text = json.dumps(dict(packages), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def package_versions() -> Mapping[str, str]:
    """Return the versions of the installed packages that can change a result."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def determinism() -> dict[str, Any]:
    """Return the flags that decide whether equal inputs give equal bits.

    torch is asked only if this process has imported it; a step without torch needs none.
    """
    flags: dict[str, Any] = {
        "PYTHONHASHSEED": os.environ.get("PYTHONHASHSEED"),
        "CUBLAS_WORKSPACE_CONFIG": os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        flags["deterministic_algorithms"] = torch.are_deterministic_algorithms_enabled()
        flags["cudnn_deterministic"] = torch.backends.cudnn.deterministic
        flags["cudnn_benchmark"] = torch.backends.cudnn.benchmark
        flags["float32_matmul_precision"] = torch.get_float32_matmul_precision()
    return flags


@cache
def git_state(root: Path) -> Mapping[str, Any]:
    """Return commit and dirty flag of the project, or null and the reason there is none.

    A folder below somebody else's repository has no commit of its own: its top must be `root`.
    """
    try:
        top = _git(root, "rev-parse", "--show-toplevel")
        if Path(top).resolve() != root:
            return _no_commit("the folder is not the top of a git repository")
        commit = _git(root, "rev-parse", "--verify", "HEAD")
        dirty = bool(_git(root, "status", "--porcelain"))
    except FileNotFoundError:
        return _no_commit("git is not installed")
    except subprocess.TimeoutExpired:
        return _no_commit(f"git did not answer within {_GIT_TIMEOUT_S} s")
    except subprocess.CalledProcessError as error:
        message = (error.stderr or "").strip().splitlines()
        return _no_commit(message[-1] if message else f"git exited with {error.returncode}")
    return {"commit": commit, "dirty": dirty, "reason": None}


def plain_spec(spec: Spec | Mapping[str, Any] | str) -> Any:
    """Return settings as plain data, whichever of the three forms they come in."""
    if isinstance(spec, str):
        return json.loads(spec) if spec else {}
    if isinstance(spec, Mapping):
        return dict(spec)
    return spec.model_dump(mode="json")


@cache
def _machine() -> Mapping[str, Any]:
    return describe_machine()


def _no_commit(reason: str) -> dict[str, Any]:
    return {"commit": None, "dirty": None, "reason": reason}


def _git(root: Path, *arguments: str) -> str:
    # Inside a git hook these variables point at another repository.
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    with unbroken():  # standing still would count as time that git took
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=_GIT_TIMEOUT_S,
            env=variables | {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
        )
    return done.stdout.strip()

"""Check this machine and checkout: what a run needs, what is missing, and how to mend it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Literal

import seqlab
from seqlab.errors import UserError
from seqlab.models.compiled import COMPILERS, PACKAGES, Unavailable, require_compiler
from seqlab.provenance.resources import resource_problems

Status = Literal["ok", "warn", "fail"]

MIN_PYTHON = (3, 11)
MIN_SNAKEMAKE = (9, 27)
_GB = 1e9
_DISK_GB = (2.0, 15.0)
_MEMORY_GB = (2.0, 8.0)
_GPU_KERNELS = ("triton", "mamba_ssm", "causal_conv1d", "fla")
_COMMAND_TIMEOUT_S = 30
_IMPORT_TIMEOUT_S = 120


@dataclass(frozen=True)
class Finding:
    """One thing that was checked, what was found, and what to do if it is not as it should be."""

    name: str
    status: Status
    detail: str
    fix: str | None = None


def run_doctor(root: str | Path | None = None) -> list[Finding]:
    """Return the findings of all checks, in the order in which one would set up a machine."""
    base = Path(root or Path.cwd()).resolve()
    gpu = nvidia_smi()
    return [
        check_python(),
        check_checkout(base),
        check_command("git", "records then keep no commit"),
        check_command("make", "call snakemake yourself; `make` only sets up .venv"),
        check_snakemake(),
        *check_torch(gpu),
        check_import("numba", needed=True),
        *(check_import(name, needed=False, gpu=gpu is not None) for name in _GPU_KERNELS),
        *(check_compiler(name) for name in COMPILERS if name != "eager"),
        *check_caches(base),
        check_disk(base),
        check_memory(),
        check_profile_link(base),
        *check_resources(base),
    ]


def check_python(version: tuple[int, ...] = sys.version_info[:3]) -> Finding:
    """Check the version of Python."""
    text = ".".join(map(str, version))
    if version < MIN_PYTHON:
        needed = ".".join(map(str, MIN_PYTHON))
        return Finding("Python", "fail", f"{text}, needs {needed}", "make setup PYTHON=python3.11")
    return Finding("Python", "ok", text)


def check_checkout(root: Path) -> Finding:
    """Check that the code that runs is the code of this folder."""
    package = Path(seqlab.__file__).resolve().parent
    if package == root / "src" / "seqlab":
        return Finding("seqlab", "ok", f"{seqlab.__version__} of this folder")
    return Finding(
        "seqlab",
        "fail",
        "the installed package is not the one of this folder",
        "run in the project's folder, or `pip install -e .` here",
    )


def check_command(name: str, consequence: str) -> Finding:
    """Check that a program is installed that can be done without."""
    if shutil.which(name):
        return Finding(name, "ok", "installed")
    return Finding(name, "warn", f"not installed: {consequence}", f"install {name}")


def check_snakemake() -> Finding:
    """Check the version of Snakemake in this environment."""
    fix = "pip install -c constraints.txt 'snakemake[reports]'"
    try:
        version = metadata.version("snakemake")
    except metadata.PackageNotFoundError:
        return Finding("Snakemake", "fail", "not installed", fix)
    if _numbers(version) < MIN_SNAKEMAKE:
        needed = ".".join(map(str, MIN_SNAKEMAKE))
        return Finding("Snakemake", "fail", f"{version}, needs {needed}", fix)
    return Finding("Snakemake", "ok", version)


def nvidia_smi() -> tuple[str, tuple[int, ...]] | None:
    """Return the driver and the newest CUDA version it runs; None where there is no driver."""
    if shutil.which("nvidia-smi") is None:
        return None
    try:
        done = subprocess.run(
            ["nvidia-smi"], capture_output=True, text=True, timeout=_COMMAND_TIMEOUT_S, check=True
        )
    except (subprocess.SubprocessError, OSError):
        return None
    return parse_nvidia_smi(done.stdout)


def parse_nvidia_smi(text: str) -> tuple[str, tuple[int, ...]] | None:
    """Read driver and CUDA version from the head of nvidia-smi's table."""
    driver = re.search(r"Driver Version:\s*([\d.]+)", text)
    cuda = re.search(r"CUDA Version:\s*([\d.]+)", text)
    if driver is None or cuda is None:
        return None
    return driver.group(1), _numbers(cuda.group(1))


def check_torch(gpu: tuple[str, tuple[int, ...]] | None) -> Iterator[Finding]:
    """Check that torch's build fits the driver and that it sees the GPUs."""
    try:
        version = metadata.version("torch")
    except metadata.PackageNotFoundError:
        yield Finding("torch", "fail", "not installed", "make setup")
        return
    import torch

    yield judge_torch(version, torch.version.cuda, gpu)
    if gpu is not None and torch.version.cuda:
        count = torch.cuda.device_count()
        names = ", ".join(torch.cuda.get_device_name(index) for index in range(count))
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        if count:
            yield Finding("GPU", "ok", names)
        elif hidden is not None:
            detail = f"hidden by CUDA_VISIBLE_DEVICES={hidden!r}"
            yield Finding("GPU", "warn", detail, "unset it, or run with `--config device=cpu`")
        else:
            detail = "nvidia-smi sees a GPU, torch does not"
            yield Finding("GPU", "fail", detail, "check /dev/nvidia* and the container's options")
    elif gpu is None:
        yield Finding("GPU", "ok", "none: everything runs on the CPU")


def judge_torch(version: str, cuda: str | None, gpu: tuple[str, tuple[int, ...]] | None) -> Finding:
    """Compare torch's CUDA version with what the driver runs; majors must not exceed it."""
    if cuda is None:
        if gpu is None:
            return Finding("torch", "ok", f"{version}, CPU build")
        newest = ".".join(map(str, gpu[1]))
        return Finding(
            "torch",
            "warn",
            f"{version} is a CPU build, the driver {gpu[0]} runs CUDA up to {newest}",
            f"make setup TORCH_INDEX=... with a build for CUDA {newest} or older (see README)",
        )
    if gpu is None:
        return Finding("torch", "ok", f"{version} for CUDA {cuda}, without an NVIDIA driver")
    if _numbers(cuda)[:1] > gpu[1][:1]:
        return Finding(
            "torch",
            "fail",
            f"{version} is built for CUDA {cuda}, the driver {gpu[0]} runs up to "
            f"{'.'.join(map(str, gpu[1]))}",
            "update the driver, or install an older build with make setup TORCH_INDEX=...",
        )
    return Finding("torch", "ok", f"{version} for CUDA {cuda}, driver {gpu[0]}")


def check_import(name: str, *, needed: bool, gpu: bool = False) -> Finding:
    """Check that a kernel library can be imported, in a process of its own: some end it."""
    if util.find_spec(name) is None:
        if needed:
            return Finding(name, "fail", "not installed", "make setup")
        if gpu:
            detail = "not installed: a slower backend is used and named in the records"
            return Finding(name, "warn", detail, "pip install -c constraints.txt -e '.[gpu]'")
        return Finding(name, "ok", "not installed, needed on GPUs only")
    try:
        done = subprocess.run(
            [sys.executable, "-c", f"import {name}"],
            capture_output=True,
            text=True,
            timeout=_IMPORT_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Finding(name, "warn", f"import took over {_IMPORT_TIMEOUT_S} s", "reinstall it")
    if done.returncode == 0:
        return Finding(name, "ok", "importable")
    lines = done.stderr.strip().splitlines()
    reason = lines[-1] if lines else f"exit status {done.returncode}"
    status: Status = "fail" if needed else "warn" if gpu else "ok"
    return Finding(name, status, f"installed, not importable: {reason}", "reinstall it")


def check_compiler(name: str) -> Finding:
    """Check what a compiler of models needs; without it, its rows of the tables are not run."""
    try:
        require_compiler(name)
    except Unavailable as error:
        return Finding(name, "warn", f"{error.reason}; its rows are not run", error.fix)
    return Finding(name, "ok", f"compiler, {metadata.version(PACKAGES[name])}")


def check_caches(root: Path) -> Iterator[Finding]:
    """Check that the folders of caches can be written."""
    hub = os.environ.get("HF_HOME")
    shown = "HF_HOME" if hub else "~/.cache/huggingface"
    place = Path(hub) if hub else Path.home() / ".cache" / "huggingface"
    yield _writable("hub cache", shown, place, "set HF_HOME to a folder you can write")
    numba = os.environ.get("NUMBA_CACHE_DIR")
    kernels = Path(numba) if numba else root / "src" / "seqlab" / "kernels"
    shown = "NUMBA_CACHE_DIR" if numba else "beside the kernels"
    yield _writable("numba cache", shown, kernels, "set NUMBA_CACHE_DIR to a folder you can write")


def _writable(name: str, shown: str, place: Path, fix: str) -> Finding:
    existing = place
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
        state = "writable" if existing == place else "will be made on first use"
        return Finding(name, "ok", f"{shown}, {state}")
    return Finding(name, "warn", f"{shown} cannot be written", fix)


def check_disk(root: Path) -> Finding:
    """Check the free space where the results go."""
    free = shutil.disk_usage(root).free / _GB
    return _judge_amount("disk", free, _DISK_GB, "free some space; see `seqlab forecast`")


def check_memory() -> Finding:
    """Check the memory that is available now."""
    import psutil

    free = psutil.virtual_memory().available / _GB
    return _judge_amount("memory", free, _MEMORY_GB, "close other programs, or lower --cores")


def _judge_amount(name: str, free: float, limits: tuple[float, float], fix: str) -> Finding:
    """Fail below the first limit, warn below the second; both in GB."""
    detail = f"{free:.1f} GB free"
    if free < limits[0]:
        return Finding(name, "fail", f"{detail}, needs {limits[0]:g} GB", fix)
    if free < limits[1]:
        return Finding(name, "warn", f"{detail}, a whole run may need {limits[1]:g} GB", fix)
    return Finding(name, "ok", detail)


def check_profile_link(root: Path) -> Finding:
    """Check that `runpod` leads to its profile; git on some systems writes links as text files."""
    link = root / "runpod"
    fix = (
        "git config core.symlinks true && git checkout -- runpod, "
        "or use --profile workflow/profiles/runpod"
    )
    if not link.exists():
        return Finding("runpod profile", "warn", "the link `runpod` is missing", fix)
    if not (link / "profile.yaml").is_file():
        return Finding("runpod profile", "warn", "`runpod` is no link to its profile", fix)
    return Finding("runpod profile", "ok", "`snakemake --profile runpod` works")


def check_resources(root: Path) -> Iterator[Finding]:
    """Check the vendored files against their own sha256."""
    try:
        problems = list(resource_problems(root))
    except UserError as error:
        yield Finding("resources", "fail", str(error), "git checkout -- resources")
        return
    for name, detail in problems:
        yield Finding("resources", "fail", f"{name} {detail}", f"git checkout -- {name}")
    if not problems:
        count = len(list((root / "resources").glob("*/source.yaml")))
        status: Status = "ok" if count else "warn"
        fix = None if count else "git checkout -- resources"
        yield Finding("resources", status, f"{count} vendored files are intact", fix)


def _numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version (`2.13.0+cpu` -> (2, 13, 0))."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in match.group().split(".")) if match else ()

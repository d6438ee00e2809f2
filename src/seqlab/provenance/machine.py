"""What the machine is: processor, cores, caches, memory line and GPUs.

Inputs: the operating system's own description (/proc and /sys on Linux, sysctl on macOS,
nvidia-smi where there is an NVIDIA driver). Output: one plain dict for the records.
Only hardware is described: no host name, user, path or address. What the system does not tell is
None, never a guess. torch is not needed.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from seqlab.quiet import unbroken

_CPU_ROOT = Path("/sys/devices/system/cpu")
_CPUINFO = Path("/proc/cpuinfo")
_QUERY_TIMEOUT_S = 10


def describe_machine() -> dict[str, Any]:
    """Describe the hardware and the operating system this process runs on.

    Returns:
        `cpu_model`, `architecture`, `cores` (logical cores this process may use),
        `physical_cores`, `l1d_bytes`, `l2_bytes`, `l3_bytes` (size of one cache instance as seen
        by core 0), `cache_line_bytes`, `gpus` (list of `{model, memory_mib}`), `driver` (of the
        GPUs) and `os`; a value the system does not tell is None.
    """
    described: dict[str, Any] = {
        "cpu_model": None,
        "architecture": platform.machine(),
        "cores": usable_cores(),
        "physical_cores": None,
        "l1d_bytes": None,
        "l2_bytes": None,
        "l3_bytes": None,
        "cache_line_bytes": None,
        "os": f"{platform.system()} {platform.release()}",
    }
    described |= _from_sysctl() if platform.system() == "Darwin" else _from_linux()
    gpus, driver = _nvidia_gpus()
    return described | {"gpus": gpus, "driver": driver}


def usable_cores() -> int:
    """Count the logical cores this process may run on (its affinity where the system has one)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def parse_size(text: str) -> int:
    """Turn a cache size as the kernel prints it (`32K`, `1024K`, `2M`) into bytes.

    Raises:
        ValueError: The text is not a size.
    """
    match = re.fullmatch(r"(\d+)([KMG]?)", text.strip())
    if match is None:
        raise ValueError(f"not a cache size: {text!r}")
    return int(match[1]) * {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}[match[2]]


def parse_cpuinfo(text: str) -> dict[str, Any]:
    """Read the processor's name and the number of physical cores from /proc/cpuinfo's text.

    arm64 kernels print no model name; implementer and part number stand in for it. Hypervisors
    shorten the name to one of many generations ("AMD EPYC"); family and model number tell which.
    """
    cores: set[tuple[str, str]] = set()
    first: dict[str, str] = {}
    for block in text.strip().split("\n\n"):
        pairs = [line.split(":", 1) for line in block.splitlines() if ":" in line]
        entry = {key.strip(): value.strip() for key, value in pairs}
        first = first or entry
        if "core id" in entry:
            cores.add((entry.get("physical id", "0"), entry["core id"]))
    name = first.get("model name")
    if name is None and "CPU part" in first:
        name = f"implementer {first.get('CPU implementer')} part {first['CPU part']}"
    elif name is not None and not re.search(r"\d", name) and "cpu family" in first:
        name = f"{name} family {first['cpu family']} model {first.get('model')}"
    return {"cpu_model": name, "physical_cores": len(cores) or None}


def parse_caches(cpu_root: Path) -> dict[str, int]:
    """Read core 0's data and unified caches below `cpu_root` (the layout of sysfs).

    Returns:
        Those of `l1d_bytes`, `l2_bytes`, `l3_bytes`, `cache_line_bytes` that are listed, in bytes.
    """
    found: dict[str, int] = {}
    for folder in sorted((cpu_root / "cpu0" / "cache").glob("index*")):
        level, kind = _word(folder / "level"), _word(folder / "type")
        size, line = _word(folder / "size"), _word(folder / "coherency_line_size")
        if kind not in {"Data", "Unified"} or size is None:
            continue
        key = {"1": "l1d_bytes", "2": "l2_bytes", "3": "l3_bytes"}.get(level or "")
        if key is not None:
            found.setdefault(key, parse_size(size))
        if line is not None:
            found.setdefault("cache_line_bytes", int(line))
    return found


def _word(path: Path) -> str | None:
    """Return a small file's text; virtual machines and containers may hide any of them."""
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return None


def _from_linux() -> dict[str, Any]:
    try:
        cpu = parse_cpuinfo(_CPUINFO.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        cpu = {}
    return cpu | parse_caches(_CPU_ROOT)


def _from_sysctl() -> dict[str, Any]:
    names = {
        "cpu_model": "machdep.cpu.brand_string",
        "physical_cores": "hw.physicalcpu",
        "l1d_bytes": "hw.l1dcachesize",
        "l2_bytes": "hw.l2cachesize",
        "l3_bytes": "hw.l3cachesize",
        "cache_line_bytes": "hw.cachelinesize",
    }
    found: dict[str, Any] = {}
    for key, name in names.items():
        answer = _answer(["sysctl", "-n", name])
        if answer:
            found[key] = answer if key == "cpu_model" else int(answer)
    return found


def _nvidia_gpus() -> tuple[list[dict[str, Any]], str | None]:
    """List the NVIDIA GPUs and their driver by `nvidia-smi`; none where it is missing."""
    query = "--query-gpu=name,memory.total,driver_version"
    answer = _answer(["nvidia-smi", query, "--format=csv,noheader,nounits"])
    return parse_nvidia_smi(answer or "")


def parse_nvidia_smi(text: str) -> tuple[list[dict[str, Any]], str | None]:
    """Read `name, MiB, driver` lines into the list of GPUs and the driver's version."""
    gpus: list[dict[str, Any]] = []
    driver: str | None = None
    for line in text.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) == len(("name", "memory", "driver")) and fields[1].isdigit():
            gpus.append({"model": fields[0], "memory_mib": int(fields[1])})
            driver = fields[2]
    return gpus, driver


def _answer(command: list[str]) -> str | None:
    """Return a query command's output; None where it is not installed, fails or hangs."""
    if shutil.which(command[0]) is None:
        return None
    try:
        with unbroken():  # standing still would count as time that it took
            done = subprocess.run(
                command, capture_output=True, text=True, check=True, timeout=_QUERY_TIMEOUT_S
            )
    except (subprocess.SubprocessError, OSError):
        return None
    return done.stdout.strip()

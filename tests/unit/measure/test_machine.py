"""The description of the machine, from texts of real systems and from this one."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest

from seqlab.provenance import machine

X86 = """processor\t: 0
model name\t: Some CPU @ 3 GHz
physical id\t: 0
core id\t\t: 0

processor\t: 1
model name\t: Some CPU @ 3 GHz
physical id\t: 0
core id\t\t: 0

processor\t: 2
model name\t: Some CPU @ 3 GHz
physical id\t: 0
core id\t\t: 1
"""
ARM = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n"


def test_hyper_threads_are_not_cores() -> None:
    assert machine.parse_cpuinfo(X86) == {"cpu_model": "Some CPU @ 3 GHz", "physical_cores": 2}


def test_arm_names_its_part_and_leaves_unknown_cores_unknown() -> None:
    found = machine.parse_cpuinfo(ARM)
    assert found == {"cpu_model": "implementer 0x41 part 0xd0c", "physical_cores": None}
    virtual = "cpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n"
    assert machine.parse_cpuinfo(virtual)["cpu_model"] == "AMD EPYC family 25 model 17"
    assert machine.parse_cpuinfo("") == {"cpu_model": None, "physical_cores": None}


@pytest.mark.parametrize(("text", "size"), [("32K", 32768), ("1024K\n", 1 << 20), ("2M", 2 << 20)])
def test_sizes(text: str, size: int) -> None:
    assert machine.parse_size(text) == size


def test_a_broken_size_is_an_error() -> None:
    with pytest.raises(ValueError, match="not a cache size"):
        machine.parse_size("lots")


def test_caches_skip_instructions_and_missing_files(tmp_path: Path) -> None:
    entries = [
        ("1", "Data", "48K", "64"),
        ("1", "Instruction", "32K", "64"),
        ("2", "Unified", "2048K", "64"),
        ("3", "Unified", None, "64"),
    ]
    for index, values in enumerate(entries):
        folder = tmp_path / "cpu0" / "cache" / f"index{index}"
        folder.mkdir(parents=True)
        names = ("level", "type", "size", "coherency_line_size")
        for name, value in zip(names, values, strict=True):
            if value is not None:
                (folder / name).write_text(value + "\n")
    expected = {"l1d_bytes": 48 << 10, "l2_bytes": 2 << 20, "cache_line_bytes": 64}
    assert machine.parse_caches(tmp_path) == expected
    assert machine.parse_caches(tmp_path / "nothing") == {}


def test_gpus_are_read_from_the_drivers_tool() -> None:
    text = "NVIDIA A100-SXM4-80GB, 81920, 550.54.15\nNVIDIA A100-SXM4-80GB, 81920, 550.54.15\n"
    gpus, driver = machine.parse_nvidia_smi(text)
    assert gpus == [{"model": "NVIDIA A100-SXM4-80GB", "memory_mib": 81920}] * 2
    assert driver == "550.54.15"
    assert machine.parse_nvidia_smi("No devices were found\n") == ([], None)


def test_this_machine_has_every_key_and_no_name() -> None:
    described = machine.describe_machine()
    assert set(described) == {
        "cpu_model", "architecture", "cores", "physical_cores", "l1d_bytes", "l2_bytes",
        "l3_bytes", "cache_line_bytes", "gpus", "driver", "os",
    }  # fmt: skip
    assert described["cores"] >= 1
    text = json.dumps(described)
    assert not platform.node() or platform.node() not in text

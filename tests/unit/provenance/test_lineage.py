"""Sidecars: hashes of inputs and outputs as they were, by paths relative to the project."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

import pytest

from seqlab.errors import UserError
from seqlab.provenance.hashing import sha256_path, tree_files
from seqlab.provenance.lineage import maker_of, read_lineage, record_lineage, sidecar_path


def write(root: Path, name: str, text: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return Path(name)


def record(root: Path, inputs: list[Path], output: Path, step: str = "s t") -> None:
    record_lineage(
        step,
        '{"steps": 3}',
        "code1",
        {"inputs": inputs},
        {"out": output},
        started=time.time(),
        seconds=1.5,
        root=root,
    )


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_file_output(tmp_path: Path) -> None:
    source = write(tmp_path, "config/a.txt", "in")
    output = write(tmp_path, "results/x.csv", "out")
    record(tmp_path, [source], output)
    found = read_lineage("results/x.csv", tmp_path)
    assert found is not None
    assert found.sha256 == sha("out")
    assert found.inputs == {"config/a.txt": sha("in")}
    assert (found.step, found.spec, found.code, found.seconds) == (
        "s t",
        {"steps": 3},
        "code1",
        1.5,
    )
    assert set(found.environment) == {
        *("commit", "dirty", "python", "machine", "device", "packages_sha256")
    }
    assert str(tmp_path) not in sidecar_path(tmp_path, "results/x.csv").read_text()
    assert read_lineage("config/a.txt", tmp_path) is None


def test_folder_output_and_a_file_inside_it_as_input(tmp_path: Path) -> None:
    write(tmp_path, "results/model/w.bin", "w")
    write(tmp_path, "results/model/sub/c.json", "c")
    write(tmp_path, "results/model/.snakemake_timestamp", "")
    record(tmp_path, [], Path("results/model"), "train")
    found = read_lineage(tmp_path / "results/model", tmp_path)
    assert found is not None
    assert found.files == {"sub/c.json": sha("c"), "w.bin": sha("w")}
    listing = f"{sha('c')}  sub/c.json\n{sha('w')}  w.bin\n"
    assert found.sha256 == sha(listing)
    output = write(tmp_path, "results/r.json", "r")
    record(tmp_path, [Path("results/model"), Path("results/model/w.bin")], output)
    inputs = read_lineage(output, tmp_path)
    assert inputs is not None
    assert inputs.inputs == {"results/model": found.sha256, "results/model/w.bin": sha("w")}
    maker = maker_of(tmp_path, "results/model/sub/c.json")
    assert maker is not None and maker.step == "train"
    assert maker_of(tmp_path, "results/other/c.json") is None


def test_folder_of_other_outputs_is_taken_as_its_files(tmp_path: Path) -> None:
    for seed in (0, 1):
        run = write(tmp_path, f"results/runs/{seed}/record.json", str(seed))
        record(tmp_path, [], run, "run")
    table = write(tmp_path, "results/table.csv", "t")
    record(tmp_path, [Path("results/runs")], table, "collect")
    found = read_lineage(table, tmp_path)
    assert found is not None
    assert found.inputs == {f"results/runs/{n}/record.json": sha(str(n)) for n in (0, 1)}


def test_outside_the_project_only_name_and_hash_are_kept(tmp_path: Path) -> None:
    root = tmp_path / "project"
    write(tmp_path, "elsewhere/model/w", "w")
    output = write(root, "results/x", "x")
    record(root, [tmp_path / "elsewhere/model"], output)
    found = read_lineage(output, root)
    assert found is not None
    assert found.inputs == {"external:model": sha256_path(tmp_path / "elsewhere/model")}


def test_missing_output_or_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"results/none: s t did not write"):
        record(tmp_path, [], Path("results/none"))
    output = write(tmp_path, "results/x", "x")
    with pytest.raises(UserError, match=r"gone: this input vanished"):
        record(tmp_path, [Path("gone")], output)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": "seqlab.lineage/9"}', '{"a": 1}'])
def test_unreadable_sidecar_is_named(tmp_path: Path, text: str) -> None:
    sidecar = sidecar_path(tmp_path, "results/x")
    sidecar.parent.mkdir(parents=True)
    sidecar.write_text(text)
    with pytest.raises(UserError, match=r"results/x\.json.*lineage"):
        read_lineage("results/x", tmp_path)


def test_sidecar_is_sorted_json(tmp_path: Path) -> None:
    record(tmp_path, [], write(tmp_path, "results/x", "x"))
    text = sidecar_path(tmp_path, "results/x").read_text()
    assert text == json.dumps(json.loads(text), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def test_tree_ignores_temporaries(tmp_path: Path) -> None:
    write(tmp_path, "a/.tmp-1-x.json", "half")
    write(tmp_path, "a/b", "b")
    assert list(tree_files(tmp_path / "a")) == ["b"]

"""Pack on one machine, unpack on another: nothing escapes, nothing is lost, weights stay."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seqlab.errors import UserError
from seqlab.provenance.explain import explain
from seqlab.provenance.lineage import sidecar_path
from seqlab.provenance.manifest import write_manifest
from seqlab.provenance.pack import outputs_of, pack
from seqlab.provenance.unpack import unpack
from seqlab.provenance.unpacked import changed_code, is_unpacked, listing_path, unpacked
from seqlab.provenance.verify import verify

Project = Any
RUNS = "results/laptop/toy/order/runs"
RECORDS = [f"{RUNS}/{cell}/seed-{seed}/record.json" for cell in "ab" for seed in (0, 1)]
SAMPLES = [name.replace("record.json", "samples.npz") for name in RECORDS]


@pytest.fixture
def archive(pod_archive: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(pod_archive, tmp_path / "pod.tar.gz"))


@pytest.fixture
def clone(make_project: Callable[..., Project]) -> Project:
    """Another clone: the resources are in git, nothing has been run."""
    project = make_project("clone")
    project.sources()
    shutil.rmtree(project.root / "results")
    return project


def test_archive_has_records_and_lineage_but_no_weights(archive: Path) -> None:
    with tarfile.open(archive) as tar:
        names = tar.getnames()
    assert names[0] == "index.json"
    files = {name.removeprefix("files/") for name in names if name.startswith("files/")}
    assert files == {*RECORDS, *SAMPLES}
    assert "lineage/nvidia-a100/results/laptop/assets/models/m.json" in names
    assert not [name for name in names if "safetensors" in name]


def test_manifests_of_studies_are_no_outputs(make_project: Callable[..., Project]) -> None:
    root = make_project().build().root
    before = outputs_of(root, "laptop")
    for name in ("results/laptop/manifest.json", "results/laptop/toy/manifest.json"):
        for path in (root / name, sidecar_path(root, name)):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}")
    assert before and outputs_of(root, "laptop") == before


def test_packing_is_deterministic(pod_archive: Path, tmp_path: Path) -> None:
    pack(pod_archive.parent / "pod", "laptop", tmp_path / "again.tar.gz")
    assert (tmp_path / "again.tar.gz").read_bytes() == pod_archive.read_bytes()


def test_unpack_adds_lists_and_explains(archive: Path, clone: Project) -> None:
    done = unpack(archive, clone.root)
    assert (done.added, done.same, done.devices) == (8, 0, ("nvidia-a100",))
    assert unpacked(clone.root, "laptop") == {*RECORDS, *SAMPLES}
    listing = json.loads(listing_path(clone.root, "laptop").read_text())
    assert {entry["device"] for entry in listing["outputs"].values()} == {"nvidia-a100"}
    assert len({entry["mtime_ns"] for entry in listing["outputs"].values()}) == 1
    clone.collect()
    clone.draw()
    clone.manifest()
    assert verify(clone.root, "laptop") == []
    text = explain("figures/fig2.pdf", clone.root)
    assert "results/laptop/assets/models/m (on nvidia-a100, not here)" in text
    assert "nvidia-a100: Toy CPU, 2 cores, NVIDIA A100" in text
    assert "toy-cpu-2: Toy CPU" in text
    clone.flip(RECORDS[0])
    assert RECORDS[0] in {problem.path for problem in verify(clone.root, "laptop")}


def test_unpacking_twice_changes_nothing(archive: Path, clone: Project) -> None:
    unpack(archive, clone.root)
    before = (clone.root / RECORDS[0]).stat().st_mtime_ns
    again = unpack(archive, clone.root)
    assert (again.added, again.same) == (0, 8)
    assert (clone.root / RECORDS[0]).stat().st_mtime_ns == before
    assert len(unpacked(clone.root, "laptop")) == 8


def test_repacked_archive_unpacks_elsewhere(
    archive: Path, clone: Project, make_project: Callable[..., Project], tmp_path: Path
) -> None:
    unpack(archive, clone.root)
    pack(clone.root, "laptop", tmp_path / "second.tar.gz")
    third = make_project("third")
    third.sources()
    done = unpack(tmp_path / "second.tar.gz", third.root)
    assert (done.added, done.devices) == (8, ("nvidia-a100",))
    third.collect()
    third.draw()
    assert "(on nvidia-a100, not here)" in explain("figures/fig2.pdf", third.root)


def test_own_records_are_never_lost(
    archive: Path, make_project: Callable[..., Project], monkeypatch: Any
) -> None:
    own = make_project("own").build()
    before = {name: (own.root / name).read_bytes() for name in [*RECORDS, *SAMPLES]}
    with pytest.raises(UserError, match=r"8 different file.*made on toy-cpu-2.*--replace"):
        unpack(archive, own.root)
    assert all((own.root / name).read_bytes() == data for name, data in before.items())
    assert unpacked(own.root, "laptop") == set()
    done = unpack(archive, own.root, replace=True)
    assert set(done.replaced) == set(before)
    for name, data in before.items():
        assert (own.root / done.replaced[name]).read_bytes() == data
        assert done.replaced[name].startswith("results/.replaced/toy-cpu-2/")
    assert unpacked(own.root, "laptop") == {*RECORDS, *SAMPLES}
    # The model made here is another one than the model that the records were made from.
    own.collect()
    own.draw()
    own.manifest()
    assert verify(own.root, "laptop") == []


def test_identical_own_records_stay_own(
    archive: Path, make_project: Callable[..., Project]
) -> None:
    own = make_project("own", gpu=True, scale=2.0).build()
    done = unpack(archive, own.root)
    assert (done.added, done.same) == (0, 8)
    assert unpacked(own.root, "laptop") == set()


def test_deleted_or_remade_outputs_are_no_longer_sources(archive: Path, clone: Project) -> None:
    unpack(archive, clone.root)
    (clone.root / RECORDS[0]).unlink()
    clone.sources()
    clone.train()
    clone.run("a", 1, value=0.5)
    now = unpacked(clone.root, "laptop")
    assert RECORDS[0] not in now
    assert RECORDS[1] not in now
    assert RECORDS[2] in now
    names = [*RECORDS, *SAMPLES, "results/laptop/other"]
    assert {name for name in names if is_unpacked(clone.root, "laptop", name)} == now


def test_a_copy_without_times_is_still_recognised(archive: Path, clone: Project) -> None:
    unpack(archive, clone.root)
    for name in RECORDS:
        os.utime(clone.root / name)
    assert set(RECORDS) <= unpacked(clone.root, "laptop")


def test_changed_code_is_counted(archive: Path, clone: Project) -> None:
    unpack(archive, clone.root)
    assert changed_code(clone.root, "laptop", {"toy run_order": "c1"}) == {}
    assert changed_code(clone.root, "laptop", {"toy run_order": "c2"}) == {"toy run_order": 8}
    assert changed_code(clone.root, "laptop", {"toy other": "c2"}) == {}


def test_no_listing_and_damaged_listing(tmp_path: Path) -> None:
    assert unpacked(tmp_path, "laptop") == set()
    listing = listing_path(tmp_path, "laptop")
    listing.parent.mkdir(parents=True)
    listing.write_text("{")
    with pytest.raises(UserError, match=r"unpacked\.json.*unpack the archive again"):
        unpacked(tmp_path, "laptop")


def test_what_cheap_steps_need_is_packed_or_named(
    make_project: Callable[..., Project], tmp_path: Path
) -> None:
    project = make_project("pod", gpu=True).build()
    model = "results/laptop/assets/models/m"
    project.write("results/laptop/assets/curve.csv", "loss")
    project.step("assets train_curve", [model], "results/laptop/assets/curve.csv")
    table = "results/laptop/toy/order/table.csv"
    project.write("figures/fig3.pdf", "3")
    project.step("toy draw3", ["results/laptop/assets/curve.csv", table], "figures/fig3.pdf")
    project.write("results/laptop/toy/order/facts.json", "{}")
    project.step("toy facts", [model, table], "results/laptop/toy/order/facts.json")
    project.write("figures/fig4.pdf", "4")
    project.step("toy draw4", ["results/laptop/toy/order/facts.json"], "figures/fig4.pdf")
    project.write("results/laptop/toy/tuned/model.safetensors", "w")
    project.step("toy tune", [model, table], "results/laptop/toy/tuned")
    done = pack(project.root, "laptop", tmp_path / "a.tar.gz")
    with tarfile.open(tmp_path / "a.tar.gz") as tar:
        files = {name for name in tar.getnames() if name.startswith("files/")}
    extra = files - {f"files/{name}" for name in [*RECORDS, *SAMPLES]}
    assert extra == {
        "files/results/laptop/assets/curve.csv",
        "files/results/laptop/toy/order/facts.json",
    }
    assert list(done.left) == ["results/laptop/toy/tuned"]
    assert "does not travel" in str(done)


def test_packing_refuses_changed_files_and_nothing(
    make_project: Callable[..., Project], tmp_path: Path
) -> None:
    project = make_project("pod").build()
    with pytest.raises(UserError, match=r"results/ci: there is no record"):
        pack(project.root, "ci", tmp_path / "a.tar.gz")
    project.flip(SAMPLES[0])
    with pytest.raises(UserError, match="raw samples of arm 'dense' differ"):
        pack(project.root, "laptop", tmp_path / "a.tar.gz")
    project.write("results/laptop/toy/order/runs/a/seed-0/samples.npz", "")
    project.run("a", 0)
    project.write("results/laptop/assets/curve.csv", "loss")
    project.step("assets curve", [], "results/laptop/assets/curve.csv")
    project.step("toy draw", ["results/laptop/assets/curve.csv", RECORDS[0]], "figures/fig2.csv")
    project.write("results/laptop/assets/curve.csv", "another loss")
    with pytest.raises(UserError, match=r"curve\.csv: changed since it was made"):
        pack(project.root, "laptop", tmp_path / "a.tar.gz")
    assert not (tmp_path / "a.tar.gz").exists()


def test_finished_studies_are_packed_although_others_failed(
    make_project: Callable[..., Project], tmp_path: Path
) -> None:
    project = make_project("pod")
    project.sources()
    project.train()
    project.run("a", 0)
    assert pack(project.root, "laptop", tmp_path / "a.tar.gz").records == 1


# ------------------------------------------------------------------- hostile and damaged


def rewrite(archive: Path, edit: Callable[[dict[str, bytes]], None]) -> Path:
    with tarfile.open(archive) as tar:
        members = {m.name: tar.extractfile(m).read() for m in tar.getmembers()}  # type: ignore[union-attr]
    edit(members)
    out = archive.with_name("edited.tar.gz")
    with tarfile.open(out, "w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out


def rename_output(members: dict[str, bytes], new: str) -> None:
    index = json.loads(members["index.json"])
    index["outputs"][new] = index["outputs"].pop(RECORDS[0])
    members["index.json"] = json.dumps(index).encode()
    members[f"files/{new}"] = members.pop(f"files/{RECORDS[0]}")


def edit_index(edit: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, bytes]], None]:
    def change(members: dict[str, bytes]) -> None:
        index = json.loads(members["index.json"])
        edit(index)
        members["index.json"] = json.dumps(index).encode()

    return change


HOSTILE: dict[str, Callable[[dict[str, bytes]], Any]] = {
    "parent": lambda m: m.update({"../evil": b"x"}),
    "inner parent": lambda m: m.update({"files/../../evil": b"x"}),
    "absolute": lambda m: m.update({"/tmp/evil": b"x"}),
    "unlisted": lambda m: m.update({"files/results/laptop/evil": b"x"}),
    "outside results": lambda m: rename_output(m, "src/seqlab/evil.py"),
    "snakemake": lambda m: rename_output(m, "results/laptop/.snakemake/evil"),
    "other scale": lambda m: rename_output(m, "results/paper/evil.json"),
    "store": lambda m: rename_output(m, "results/laptop/devices/x/manifest.json"),
    "changed record": lambda m: m.update({f"files/{RECORDS[0]}": b"{}"}),
    "changed lineage": lambda m: m.update(
        {f"lineage/nvidia-a100/{RECORDS[0]}.json": b'{"schema": "seqlab.lineage/1"}'}
    ),
    "changed manifest": lambda m: m.update({"manifest.json": b"{}"}),
    "missing member": lambda m: m.pop(f"files/{SAMPLES[0]}"),
    "missing index": lambda m: m.pop("index.json"),
    "no JSON": lambda m: m.update({"index.json": b"{"}),
    "wrong schema": edit_index(lambda index: index.update(schema="seqlab.pack/9")),
    "no outputs": edit_index(lambda index: index.pop("outputs")),
    "scale": edit_index(lambda index: index.update(scale="../x")),
    "device": edit_index(lambda index: index["outputs"][RECORDS[0]].update(device="../x")),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_or_damaged_archives_change_nothing(
    archive: Path, clone: Project, name: str
) -> None:
    edited = rewrite(archive, HOSTILE[name])
    with pytest.raises(UserError, match=r"edited\.tar\.gz"):
        unpack(edited, clone.root)
    assert [p for p in (clone.root / "results").rglob("*") if p.is_file()] == []
    assert not (clone.root.parent / "evil").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_are_refused(clone: Project, tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "link.tar.gz", "w:gz") as tar:
        info = tarfile.TarInfo("files/link")
        info.type = kind
        info.linkname = "/etc/passwd"
        tar.addfile(info)
    with pytest.raises(UserError, match="is a link or no regular file"):
        unpack(tmp_path / "link.tar.gz", clone.root)


def test_a_link_in_the_project_does_not_lead_outside(
    archive: Path, clone: Project, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    (clone.root / "results/laptop").mkdir(parents=True)
    (clone.root / "results/laptop/toy").symlink_to(tmp_path / "outside")
    with pytest.raises(UserError, match="leaves the folder through a link"):
        unpack(archive, clone.root)
    assert list((tmp_path / "outside").iterdir()) == []


@pytest.mark.parametrize("keep", [0, 10, 500, -20])
def test_truncated_archive(archive: Path, clone: Project, keep: int) -> None:
    cut = archive.with_name("cut.tar.gz")
    cut.write_bytes(archive.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"cut\.tar\.gz"):
        unpack(cut, clone.root)
    assert not (clone.root / "results/laptop").exists()


def test_missing_archive(clone: Project, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such archive"):
        unpack(tmp_path / "none.tar.gz", clone.root)


def test_manifest_of_both_machines(archive: Path, clone: Project) -> None:
    unpack(archive, clone.root)
    clone.collect()
    clone.draw()
    manifest = write_manifest(clone.root, "laptop", ["figures/fig2.pdf"])
    assert {entry["device"] for entry in manifest["machines"]} == {"nvidia-a100", "toy-cpu-2"}
    assert "results/laptop/assets/models/m@@nvidia-a100" in manifest["artefacts"]

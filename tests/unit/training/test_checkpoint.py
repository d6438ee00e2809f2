"""Checkpoints: intact or not used, never another run's, nothing lost on the way."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch

from seqlab.errors import UserError
from seqlab.training.checkpoint import Checkpoints, load_checkpoint

IDENTITY = {"spec": "a" * 64, "code": "b" * 16}


def payload(step: int) -> dict:
    return {"step": step, "w": torch.full((100,), float(step)), "none": None, "l": [(1, "x")]}


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*/*"))


@pytest.fixture
def store(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "run", IDENTITY)


def test_the_newest_two_are_kept_and_the_newest_is_loaded(store: Checkpoints) -> None:
    assert store.newest() is None
    for step in (5, 9, 100):
        store.save(step, payload(step))
    assert files(store.folder) == [
        f"step-{step:09d}.{kind}" for step in (9, 100) for kind in ("json", "pt")
    ]
    found = store.newest()
    assert found is not None
    assert torch.equal(found[1]["w"], payload(100)["w"])
    assert (found[1]["none"], found[1]["l"]) == (None, [(1, "x")])


@pytest.mark.parametrize("damage", ["truncated", "flipped", "gone", "bad json", "empty json"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(
    store: Checkpoints, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    store.save(1, payload(1))
    meta = store.save(2, payload(2))
    data = meta.with_suffix(".pt")
    content = bytearray(data.read_bytes())
    if damage == "truncated":
        data.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        # Inside the tensor: torch's reader does not notice.
        position = content.find(torch.full((100,), 2.0).numpy().tobytes()) + 40
        content[position] ^= 1
        data.write_bytes(content)
    elif damage == "gone":
        data.unlink()
    else:
        meta.write_text("{" if damage == "bad json" else "")
    with caplog.at_level(logging.WARNING):
        found = store.newest()
    assert found is not None and found[1]["step"] == 1
    (line,) = caplog.messages
    assert str(meta.with_suffix("")) in line and "the checkpoint before it" in line


def test_a_kill_between_the_two_files_leaves_the_checkpoint_before(store: Checkpoints) -> None:
    store.save(1, payload(1))
    meta = store.save(2, payload(2))
    meta.unlink()
    found = store.newest()
    assert found is not None and found[1]["step"] == 1
    store.save(3, payload(3))
    assert "step-000000002.pt" not in files(store.folder)


def test_another_run_is_never_used_and_said_in_one_line(
    store: Checkpoints, caplog: pytest.LogCaptureFixture
) -> None:
    meta = store.save(7, payload(7))
    other = Checkpoints(store.folder, {**IDENTITY, "code": "c" * 16})
    with caplog.at_level(logging.WARNING), other.locked():
        assert other.newest() is None
    (line,) = caplog.messages
    assert str(meta) in line and "not used" in line
    assert (
        f"code expected {'c' * 16}, found {'b' * 16}" in line and "spec" not in line.split(":")[2]
    )
    with pytest.raises(UserError, match="checkpoint of another run: code expected cccc"):
        load_checkpoint(meta, other.identity)
    # The setting is put back: the old run resumes.
    again = store.newest()
    assert again is not None and again[1]["step"] == 7


def test_only_the_newest_other_run_is_kept(store: Checkpoints) -> None:
    store.save(1, payload(1))
    second = Checkpoints(store.folder, {"spec": "2"})
    second.save(1, payload(1))
    third = Checkpoints(store.folder, {"spec": "3"})
    with third.locked():
        third.save(1, payload(1))
    assert store.newest() is None
    assert second.newest() is not None and third.newest() is not None


def test_an_unknown_format_is_refused(store: Checkpoints) -> None:
    meta = store.save(1, payload(1))
    record = json.loads(meta.read_text())
    meta.write_text(json.dumps({**record, "format": 99}))
    with pytest.raises(UserError, match="format expected 1, found 99"):
        load_checkpoint(meta, IDENTITY)


def test_pickled_code_is_not_executed(store: Checkpoints) -> None:
    class Trap:
        def __reduce__(self) -> tuple:
            return (Path.touch, (store.folder / "sprung",))

    meta = store.save(1, {"trap": Trap()})
    with pytest.raises(UserError, match="cannot be read"):
        load_checkpoint(meta, IDENTITY)
    assert not (store.folder / "sprung").exists()


def test_clear_removes_every_run(store: Checkpoints) -> None:
    store.save(1, payload(1))
    Checkpoints(store.folder, {"spec": "2"}).save(1, payload(1))
    store.clear()
    assert files(store.folder) == []


def test_two_processes_cannot_hold_one_run(store: Checkpoints) -> None:
    with (
        store.locked(),
        pytest.raises(UserError),
        Checkpoints(store.folder, IDENTITY).locked(),
    ):
        pytest.fail("the lock was given twice")


def test_leftovers_of_a_killed_write_are_removed(store: Checkpoints) -> None:
    meta = store.save(1, payload(1))
    leftover = meta.parent / ".tmp-123-abc.pt"
    leftover.write_bytes(b"half")
    with store.locked():
        assert not leftover.exists()
    assert store.newest() is not None

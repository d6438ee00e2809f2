"""A bench's record: its rows and what they were measured on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from seqlab import commands
from seqlab.bench import record, scan
from seqlab.provenance.environment import device_key


def test_rows_are_kept_with_their_machine(tmp_path: Path) -> None:
    described = record.describe("scan", {"quick": True, "budget": 1.0, "threads": 1}, tmp_path)
    path = record.write("scan", [{"case": "a"}, {"case": "b"}], described, tmp_path)
    assert path == tmp_path / "bench/records" / device_key(described) / "scan.jsonl"
    first, *rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert rows == [{"case": "a"}, {"case": "b"}]
    assert first["environment"]["spec"]["quick"] is True
    assert first["environment"]["machine"]["cores"] >= 1


def test_a_bench_without_rows_leaves_no_record(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no rows"):
        record.write("scan", [], {}, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kept", [True, False])
def test_the_command_keeps_rows_only_if_asked(
    kept: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(scan, "run", lambda quick, budget_s: iter([{"case": "a"}]))
    monkeypatch.setattr("seqlab.threads.pin_threads", lambda threads: None)
    assert commands.run(["bench", "scan", "--threads", "1", *(["--record"] if kept else [])]) == 0
    assert json.loads(capsys.readouterr().out) == {"case": "a"}
    assert len(list(tmp_path.glob("bench/records/*/scan.jsonl"))) == kept

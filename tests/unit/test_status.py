"""What the summary of a run says of steps that failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from seqlab.status import clear_failure, note_failure, status

OUTPUTS = {
    "laptop": ["results/laptop/archbench/speed/runs/seed-2/record.json"],
    "ci": ["figures/ci/fig2.pdf"],
    "paper": ["results/paper/tables/table1.csv"],
}


def failed(folder: Path, scale: str) -> list[str]:
    lines = status(folder, scale).splitlines()
    return [line.removeprefix("  failed: ") for line in lines if line.startswith("  failed: ")]


def test_a_failure_is_told_at_its_scale_until_the_step_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for scale, outputs in OUTPUTS.items():
        note_failure(f"step of {scale}", [Path(path) for path in outputs], "no luck", "a.log")
    note_failure("a figure", [Path("figures/fig2.pdf")], "no luck", None)
    note_failure("a fetch", [Path("resources/hub/model")], "no network", None)
    fetch = "a fetch: no network"
    assert set(failed(tmp_path, "laptop")) == {
        "step of laptop: no luck",
        "a figure: no luck",
        fetch,
    }
    for scale in ("ci", "paper"):
        assert set(failed(tmp_path, scale)) == {f"step of {scale}: no luck", fetch}
    clear_failure([Path(path) for path in OUTPUTS["ci"]])
    assert failed(tmp_path, "ci") == [fetch]

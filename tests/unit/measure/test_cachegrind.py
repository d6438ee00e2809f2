"""Reading cachegrind's report, and its refusals."""

from __future__ import annotations

import shutil

import pytest

from seqlab.errors import UserError
from seqlab.kernels.cachesim import Level
from seqlab.measure import cachegrind

REPORT = """desc: D1 cache:         32768 B, 64 B, 8-way associative
cmd: ./gather
events: Ir I1mr ILmr Dr D1mr DLmr Dw D1mw DLmw
fl=gather.c
fn=main
12 1 0 0 1 0 0 0 0 0
summary: 100 9 8 40 7 6 20 5 4
"""
CACHES = (Level(32768, 8), Level(1 << 20, 16))


def test_totals_are_read_by_name() -> None:
    assert cachegrind.parse_report(REPORT) == cachegrind.DataMisses(40, 7, 6, 5, 4)


@pytest.mark.parametrize(
    "text", ["", "events: Ir\nsummary: 1\n", REPORT.replace(" 4\n", "\n"), "events: Dr\n"]
)
def test_a_report_without_totals_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="no total"):
        cachegrind.parse_report(text)


def test_a_missing_valgrind_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cachegrind.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="not installed"):
        cachegrind.data_misses(["true"], *CACHES)


@pytest.mark.skipif(not shutil.which("valgrind"), reason="valgrind is missing")
def test_a_program_runs_and_its_failure_is_said() -> None:
    assert cachegrind.data_misses(["true"], *CACHES).reads > 1000
    with pytest.raises(UserError, match="status 1"):
        cachegrind.data_misses(["false"], *CACHES)
    with pytest.raises(UserError, match=r"longer than 0\.1 s"):
        cachegrind.data_misses(["sleep", "20"], *CACHES, timeout_s=0.1)

"""Reading Nsight Compute's raw page, and running it, with recorded output."""

from __future__ import annotations

import stat
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch

from seqlab.errors import UserError
from seqlab.measure import ncu

# The layout of `ncu --csv --page raw`: header, units, one row per launch, text before and after.
PAGE = (Path(__file__).parents[2] / "data/ncu_page.csv").read_text()


def test_rows_are_summed_and_rates_weighted_by_sectors() -> None:
    profile = ncu.parse_raw_page(PAGE)
    assert [kernel.kernel for kernel in profile.kernels] == [
        "void csr_spmm_kernel<float, 32>(int, float const*)",
        "reduce",
    ]
    assert profile.l1_hit_rate == pytest.approx(300 / 500)
    assert profile.l2_hit_rate == pytest.approx(80 / 200)
    assert profile.dram_bytes == 1_048_576 + 4096 + 1024
    assert profile.total(ncu.BANK_CONFLICTS) == 7
    assert profile.total(ncu.TIME) == pytest.approx(13_345e-9)


def test_units_are_those_of_the_page() -> None:
    page = PAGE.replace('"byte","byte","ns"', '"Mbyte","Kbyte","usecond"')
    profile = ncu.parse_raw_page(page)
    assert profile.kernels[0].values[ncu.DRAM_READ] == pytest.approx(1_048_576e6)
    assert profile.kernels[0].values[ncu.DRAM_WRITE] == pytest.approx(4_096e3)
    assert profile.kernels[0].values[ncu.TIME] == pytest.approx(12_345e-6)


def test_a_value_that_is_not_given_makes_no_total() -> None:
    profile = ncu.parse_raw_page(PAGE.replace('"1024","0","1000"', '"n/a","0","1000"'))
    assert profile.total(ncu.DRAM_READ) is None
    assert profile.dram_bytes is None
    assert profile.total(ncu.DRAM_WRITE) == 4096
    assert profile.total("sm__cycles.sum") is None


def test_other_metrics_may_be_asked_for() -> None:
    page = PAGE.replace("gpu__time_duration.sum", "sm__cycles_elapsed.sum").replace('"ns"', '""')
    profile = ncu.parse_raw_page(page, ["sm__cycles_elapsed.sum"])
    assert profile.total("sm__cycles_elapsed.sum") == 13_345
    assert profile.l2_hit_rate is None


def test_no_lookups_have_no_hit_rate() -> None:
    page = PAGE.replace('"80","20"', '"0","0"').replace('"0","100"\n==', '"0","0"\n==')
    assert ncu.parse_raw_page(page).l2_hit_rate is None


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("", "no raw page.*nothing"),
        ("==ERROR== ERR_NVGPUCTRPERM - no permission\n", "no raw page.*ERR_NVGPUCTRPERM"),
        (PAGE.split('"","",', maxsplit=1)[0], "no raw page"),
        (PAGE.replace('"ns"', '"fortnight"'), "unknown unit 'fortnight'"),
        (PAGE.replace('"","","","","","","","","","","","byte"', '"","byte"'), "units of 9"),
        (PAGE.replace('"80","20"', '"80"'), "a row of 18 columns below a header of 19"),
    ],
)
def test_other_output_is_refused(page: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ncu.parse_raw_page(page)


def fake_ncu(folder: Path, body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = folder / "ncu"
    tool.write_text(f"#!/bin/sh\n{body}\n")
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_the_tool_is_run_with_markers_and_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "page").write_text(PAGE)
    body = f'printf "%s\\n" "$@" > "{tmp_path}/arguments"; cat "{tmp_path}/page"'
    fake_ncu(tmp_path, body, monkeypatch)
    profile, raw = ncu.profile(["python", "step.py"], timeout_s=20)
    assert raw == PAGE
    assert len(profile.kernels) == 2
    arguments = (tmp_path / "arguments").read_text().splitlines()
    assert arguments[-2:] == ["python", "step.py"]
    assert arguments[arguments.index("--profile-from-start") + 1] == "off"
    assert set(arguments[arguments.index("--metrics") + 1].split(",")) == set(ncu.METRICS)
    assert ncu.command_line(["python", "step.py"]) == ["ncu", *arguments]
    few = ncu.command_line([Path("step")], [ncu.TIME])
    assert few[-3:] == ["--metrics", ncu.TIME, "step"]


def test_failures_of_the_tool_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_ncu(tmp_path, "echo '==ERROR== ERR_NVGPUCTRPERM'; exit 9", monkeypatch)
    with pytest.raises(UserError, match="status 9: ==ERROR== ERR_NVGPUCTRPERM"):
        ncu.profile(["true"], timeout_s=20)
    fake_ncu(tmp_path, "exec sleep 30", monkeypatch)
    with pytest.raises(UserError, match=r"longer than 0\.2 s"):
        ncu.profile(["true"], timeout_s=0.2)
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="not installed"):
        ncu.profile(["true"], timeout_s=1)


def test_the_limit_ends_what_the_tool_has_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As ncu does: the program is a child, and it holds the pipes open.
    fake_ncu(tmp_path, f'sleep 60 & echo $! > "{tmp_path}/child"; wait', monkeypatch)
    before = time.monotonic()
    with pytest.raises(UserError, match="longer than 1 s"):
        ncu.profile(["true"], timeout_s=1)
    assert time.monotonic() - before < 20
    child = int((tmp_path / "child").read_text())
    for _ in range(100):
        if not psutil.pid_exists(child) or psutil.Process(child).status() == "zombie":
            return
        time.sleep(0.05)
    pytest.fail("the program outlived its limit")


def test_what_the_program_prints_does_not_hide_the_page() -> None:
    assert len(ncu.parse_raw_page('"a quotation mark alone\n' + PAGE).kernels) == 2


class FakeCuda:
    """Stands in for torch.cuda and writes down what is called."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, available: bool) -> None:
        self.calls: list[str] = []
        monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
        monkeypatch.setattr(torch.cuda, "synchronize", self._note("synchronize"))
        monkeypatch.setattr(torch.cuda.profiler, "start", self._note("start"))
        monkeypatch.setattr(torch.cuda.profiler, "stop", self._note("stop"))

    def _note(self, name: str) -> Callable[[], None]:
        return lambda: self.calls.append(name)


def test_markers_do_nothing_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise AssertionError("the profiler was called without a GPU")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "synchronize", refuse)
    monkeypatch.setattr(torch.cuda.profiler, "start", refuse)
    monkeypatch.setattr(torch.cuda.profiler, "stop", refuse)
    ran = False
    with ncu.profiled():
        ran = True
    assert ran


def test_markers_enclose_the_work_of_the_body(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda(monkeypatch, available=True)
    with ncu.profiled():
        cuda.calls.append("body")
    # Work queued before must not be counted, and work queued inside must be.
    assert cuda.calls == ["synchronize", "start", "body", "synchronize", "stop"]


def test_a_failed_body_stops_the_profiler(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda(monkeypatch, available=True)
    with pytest.raises(RuntimeError, match="the kernel failed"), ncu.profiled():
        raise RuntimeError("the kernel failed")
    assert cuda.calls == ["synchronize", "start", "stop"]

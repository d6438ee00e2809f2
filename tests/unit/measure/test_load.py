"""Foreign load from the kernel's accounting, and the policy of refusing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from seqlab.errors import UserError
from seqlab.measure import load
from seqlab.measure.load import ForeignLoad, measure_quietly, refuse_if_loaded, watch_load

TICKS = os.sysconf("SC_CLK_TCK")
STAT = "cpu  9 9 9 9\ncpu0 100 20 30 1000 5 1 2 40 0 0\ncpu1 7 0 0 9 0 0 0 0\nintr 1\n"


def burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def stat_line(pid: int, parent: int, times: tuple[int, int, int, int], name: str = "x") -> str:
    before = " ".join(["0"] * 9)
    return f"{pid} ({name}) S {parent} {before} {' '.join(map(str, times))} 20 0\n"


def fake_proc(root: Path, processes: dict[int, str], stat: str) -> Path:
    for pid, line in processes.items():
        (root / str(pid)).mkdir(exist_ok=True)
        (root / str(pid) / "stat").write_text(line)
    (root / "stat").write_text(stat)
    return root


def known(value: float | None) -> ForeignLoad:
    return ForeignLoad(value, 1.0, 0.1, 0.2, None if value is not None else "none")


def test_busy_seconds_count_our_cores_and_steal_but_not_idle() -> None:
    assert load.busy_seconds(STAT, {0}) == pytest.approx(193 / TICKS)
    assert load.busy_seconds(STAT, {0, 1}) == pytest.approx(200 / TICKS)


def test_cores_that_are_not_listed_are_an_error() -> None:
    with pytest.raises(KeyError):
        load.busy_seconds(STAT, {7})


def test_own_seconds_follow_descendants_even_with_odd_names(tmp_path: Path) -> None:
    proc = fake_proc(
        tmp_path,
        {
            1: stat_line(1, 0, (1000, 0, 0, 0)),
            10: stat_line(10, 1, (1, 2, 4, 8), name="a b) c"),
            11: stat_line(11, 10, (16, 0, 0, 0)),
            12: stat_line(12, 11, (0, 32, 0, 0)),
            20: stat_line(20, 1, (500, 0, 0, 0)),
        },
        STAT,
    )
    assert load.own_seconds(proc, 10) == pytest.approx(63 / TICKS)


def test_own_work_is_not_foreign_and_foreign_work_is(tmp_path: Path) -> None:
    core = min(load._cores())
    own = os.getpid()
    idle = f"cpu{core} 0 0 0 100 0 0 0 0\n"
    proc = fake_proc(tmp_path, {own: stat_line(own, 1, (0, 0, 0, 0))}, idle)
    with watch_load(proc) as watch:
        # 3 s of ours and 2 s of others, of which 1 s was stolen by the hypervisor.
        (proc / str(own) / "stat").write_text(stat_line(own, 1, (2 * TICKS, TICKS, 0, 0)))
        (proc / "stat").write_text(f"cpu{core} {4 * TICKS} 0 0 100 0 0 0 {TICKS}\n")
    result = watch.result()
    assert result.cpu_per_s * result.elapsed_s == pytest.approx(2.0)
    assert result.reason is None


def test_a_missing_proc_is_recorded_and_never_zero(tmp_path: Path) -> None:
    with watch_load(tmp_path / "nothing") as watch:
        pass
    assert watch.result().cpu_per_s is None
    assert "no CPU accounting" in watch.result().reason
    refuse_if_loaded(watch.result(), limit=0.0, key="measure.foreign_load")
    assert watch.result().as_dict()["reason"] == watch.result().reason


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="needs Linux's /proc")
def test_a_real_childs_work_counts_as_ours() -> None:
    # Processes of other tests may run beside this one: bound the own part from below instead.
    before = load.own_seconds(Path("/proc"), os.getpid())
    code = "import time\nwhile time.process_time() < 0.15: pass"
    subprocess.run([sys.executable, "-c", code], check=True)
    burn(0.1)
    assert load.own_seconds(Path("/proc"), os.getpid()) - before >= 0.2


def test_the_watch_is_read_after_its_block_only() -> None:
    with watch_load() as watch, pytest.raises(RuntimeError, match="has not ended"):
        watch.result()


def test_refusal_names_the_load_the_limit_the_setting_and_the_way_out() -> None:
    refuse_if_loaded(known(0.1), limit=0.1, key="measure.foreign_load")
    with pytest.raises(UserError) as caught:
        refuse_if_loaded(known(0.37), limit=0.1, key="measure.foreign_load")
    text = str(caught.value)
    assert all(part in text for part in ("0.37", "0.1", "measure.foreign_load", "end the other"))


def test_a_disturbed_measurement_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each attempt, and between two of them looks until others are quiet.
    values = iter([0.9, 0.7, 0.5, 0.05, 0.8, 0.0, 0.0])
    monkeypatch.setattr(load.LoadWatch, "result", lambda self: known(next(values)))
    monkeypatch.setattr(load, "_LOOK_S", 0.0)
    taken = iter(["first", "second", "third"])
    result, loads = measure_quietly(lambda: next(taken), limit=0.1, attempts=3, key="k")
    assert result == "third"
    assert [entry.cpu_per_s for entry in loads] == [0.9, 0.8, 0.0]
    assert not [*values]


def test_looks_for_quiet_end(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[float] = []
    monkeypatch.setattr(load.LoadWatch, "result", lambda self: known(0.9))
    monkeypatch.setattr(load.time, "sleep", looks.append)
    with pytest.raises(UserError):
        measure_quietly(lambda: None, limit=0.1, attempts=2, key="k")
    assert len(looks) == load._LOOKS


def test_attempts_run_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load.LoadWatch, "result", lambda self: known(0.9))
    monkeypatch.setattr(load, "_LOOK_S", 0.0)
    calls: list[int] = []
    with pytest.raises(UserError, match=r"0\.90 CPU seconds"):
        measure_quietly(lambda: calls.append(1), limit=0.1, attempts=2, key="k")
    assert len(calls) == 2
    with pytest.raises(ValueError, match="at least 1"):
        measure_quietly(lambda: None, limit=0.1, attempts=0, key="k")

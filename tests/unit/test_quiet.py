"""The lock of the machine: work side by side, timings alone, newcomers outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from seqlab.errors import UserError
from seqlab.measure.load import measure_quietly
from seqlab.quiet import alone, working

# A step that does what it is told, one word per line: `time` begins to time, `work` ends that. It
# answers each word when it has been done. `call` runs a step of its own.
STEP = """
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from seqlab.quiet import alone, working

CALLED = "import sys, pathlib, seqlab.quiet as q\\nwith q.working(pathlib.Path(sys.argv[1])): pass"

def say(word):
    print(word, flush=True)

with working(Path(sys.argv[1])), ExitStack() as stack:
    say("in")
    for line in sys.stdin:
        if line.strip() == "time":
            stack.enter_context(alone())
        elif line.strip() == "call":
            subprocess.run([sys.executable, "-c", CALLED, sys.argv[1]], check=True)
        else:
            stack.close()
        say(line.strip())
"""


class Step:
    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", STEP, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        self.said: list[str] = []

    def tell(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n".encode())
        self.process.stdin.flush()

    def has_said(self, *words: str, within: float = 10.0) -> bool:
        assert self.process.stdout is not None
        end = time.monotonic() + within
        while self.said != [*words] and time.monotonic() < end:
            self.said += (self.process.stdout.read() or b"").decode().split()
            time.sleep(0.02)
        return self.said == [*words]

    def end(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.communicate()


@pytest.fixture
def start(tmp_path: Path):
    steps: list[Step] = []

    def started() -> Step:
        steps.append(Step(tmp_path))
        return steps[-1]

    yield started
    for step in steps:
        step.end(signal.SIGKILL)


def timing_first(one: Step, two: Step) -> tuple[Step, Step]:
    """Return both, the one that times first."""
    for _ in range(200):
        for first, second in ((one, two), (two, one)):
            if first.has_said("in", "time", within=0.05):
                return first, second
    raise AssertionError("none of them times")


# Long enough for what is wrongly let in to show.
SHORT = 0.6


def test_work_is_shared_and_timing_is_not(start: Callable[[], Step]) -> None:
    one, two = start(), start()
    assert one.has_said("in") and two.has_said("in")
    one.tell("time")
    assert not one.has_said("in", "time", within=SHORT), "timed beside one who works"
    two.tell("time")
    first, second = timing_first(one, two)
    assert not second.has_said("in", "time", within=SHORT), "two timed at once"
    first.tell("work")
    assert second.has_said("in", "time")
    assert not first.has_said("in", "time", "work", within=SHORT), "worked beside one who times"
    second.tell("work")
    assert first.has_said("in", "time", "work") and second.has_said("in", "time", "work")


def test_who_comes_later_waits_until_those_who_time_have_ended(start: Callable[[], Step]) -> None:
    one, two = start(), start()
    assert one.has_said("in") and two.has_said("in")
    one.tell("time")
    two.tell("time")
    timing_first(one, two)
    late = start()
    for step in (one, two):
        step.tell("work")
    assert one.has_said("in", "time", "work") and two.has_said("in", "time", "work")
    assert not late.has_said("in", within=SHORT), "entered between two timings"
    one.end()
    assert not late.has_said("in", within=SHORT)
    two.end()
    assert late.has_said("in")


def test_a_killed_step_leaves_the_machine_to_others(start: Callable[[], Step]) -> None:
    one = start()
    one.tell("time")
    assert one.has_said("in", "time")
    two = start()
    assert not two.has_said("in", within=SHORT)
    one.end(signal.SIGKILL)
    assert two.has_said("in")


def test_a_waiting_step_can_be_ended(start: Callable[[], Step]) -> None:
    one = start()
    one.tell("time")
    assert one.has_said("in", "time")
    two = start()
    assert not two.has_said("in", within=SHORT)
    two.end()
    assert two.process.returncode == -signal.SIGTERM


@pytest.mark.parametrize("times", [False, True])
def test_what_a_step_starts_works_under_its_lock(start: Callable[[], Step], times: bool) -> None:
    one, two = start(), start()
    assert one.has_said("in") and two.has_said("in")
    if times:
        two.end()
        one.tell("time")
        assert one.has_said("in", "time")
    else:
        # Next at the machine: nobody else may enter before it has been alone.
        two.tell("time")
        assert not two.has_said("in", "time", within=SHORT)
    one.tell("call")
    assert one.has_said("in", *(["time"] if times else []), "call")


def test_processes_of_one_step_have_one_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    with working(tmp_path):
        assert not [*tmp_path.iterdir()]


def test_outside_of_a_step_nothing_is_locked(tmp_path: Path) -> None:
    with alone(), alone():
        pass
    assert not [*tmp_path.iterdir()]


def test_a_limit_beyond_all_cores_does_not_ask_to_be_alone(
    start: Callable[[], Step], tmp_path: Path
) -> None:
    other = start()
    assert other.has_said("in")
    with working(tmp_path):
        value, loads = measure_quietly(lambda: 3, limit=10_000.0, attempts=1, key="k")
    assert value == 3 and len(loads) == 1


def test_a_measurement_with_a_limit_waits_for_others(
    start: Callable[[], Step], tmp_path: Path
) -> None:
    other = start()
    assert other.has_said("in")
    began, called = time.monotonic(), []
    limit = 0.99 * len(os.sched_getaffinity(0))
    # On a busy machine it is refused in the end; that it has waited is what counts.
    with working(tmp_path), alone_later(other, 0.5), suppress(UserError):
        measure_quietly(lambda: called.append(time.monotonic()), limit=limit, attempts=1, key="k")
    assert called[0] - began > 0.4


class alone_later:
    """End a step some time after the body has begun."""

    def __init__(self, step: Step, seconds: float) -> None:
        self.step, self.seconds = step, seconds

    def __enter__(self) -> None:
        import threading

        self.timer = threading.Timer(self.seconds, self.step.end)
        self.timer.start()

    def __exit__(self, *_: object) -> None:
        self.timer.join()

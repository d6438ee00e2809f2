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
from seqlab.quiet import alone, map_in_threads, working

# A step that does what it is told, one word per line, and answers each word when it has been done:
# `time` begins to time and `unbroken` to be waited for, `work` ends both, `call` runs a step of its
# own, `threads` keeps two of them busy, `sleep` is a call that handles no signal before it returns,
# `asked` says how often it was asked to stand still, `clock` its seconds so far, `cuda` has a GPU
# from then on. All else is answered at once.
STEP = """
import os
import select
import signal
import subprocess
import sys
import time
import types
from contextlib import ExitStack
from pathlib import Path
from seqlab.quiet import alone, clock, map_in_threads, unbroken, working

CALLED = "import sys, pathlib, seqlab.quiet as q\\nwith q.working(pathlib.Path(sys.argv[1])): pass"

asked = 0

def say(word):
    print(word, flush=True)

def counting(handler):
    def count(number, frame):
        global asked
        asked += 1
        handler(number, frame)
    return count

def told():
    while not select.select([0], [], [], 0.01)[0]:
        pass
    return os.read(0, 100).decode().split()

with working(Path(sys.argv[1])), ExitStack() as stack:
    signal.signal(signal.SIGURG, counting(signal.getsignal(signal.SIGURG)))
    signal.siginterrupt(signal.SIGURG, False)
    say("in")
    while words := told():
        for word in words:
            if word == "time":
                stack.enter_context(alone())
            elif word == "unbroken":
                stack.enter_context(unbroken())
            elif word == "call":
                subprocess.run([sys.executable, "-c", CALLED, sys.argv[1]], check=True)
            elif word == "sleep":
                say("sleeps")
                sum(range(80_000_000))
            elif word == "threads":
                say("maps")
                map_in_threads(time.sleep, [0.05, 1], 2)  # it looks up between the two
            elif word == "cuda":
                sys.modules["torch.cuda"] = types.SimpleNamespace(is_initialized=lambda: True)
            elif word in ("asked", "clock"):
                say(asked if word == "asked" else clock())
                continue
            elif word == "work":
                stack.close()
            say(word)
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

    def answer(self, word: str) -> float:
        """Return the number that it says to a word."""
        heard = len(self.said)
        self.tell(word)
        assert not self.has_said("never", within=0.2)
        (answer,) = self.said[heard:]
        del self.said[heard:]
        return float(answer)

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


# Long enough for what wrongly goes on to show.
SHORT = 0.6


def both_in(start: Callable[[], Step]) -> tuple[Step, Step]:
    one, two = start(), start()
    assert one.has_said("in") and two.has_said("in")
    return one, two


def test_who_works_stands_still_while_another_times(start: Callable[[], Step]) -> None:
    one, two = both_in(start)
    one.tell("ping")
    assert one.has_said("in", "ping")
    two.tell("time")
    assert two.has_said("in", "time")
    one.tell("ping")
    assert not one.has_said("in", "ping", "ping", within=SHORT), "worked beside one who times"
    two.tell("work")
    assert one.has_said("in", "ping", "ping")


def test_the_clock_stands_still_with_its_process(start: Callable[[], Step]) -> None:
    one, two = both_in(start)
    before, begun = one.answer("clock"), time.monotonic()
    two.tell("time")
    assert two.has_said("in", "time")
    time.sleep(4 * SHORT)
    two.tell("work")
    assert two.has_said("in", "time", "work")
    passed = one.answer("clock") - before
    assert 0 < passed < time.monotonic() - begun - 3 * SHORT


def test_two_never_time_at_once(start: Callable[[], Step]) -> None:
    one, two = both_in(start)
    one.tell("time")
    assert one.has_said("in", "time")
    two.tell("time")
    assert not two.has_said("in", "time", within=SHORT)
    one.tell("work")
    assert two.has_said("in", "time")
    one.tell("ping")
    assert not one.has_said("in", "time", "work", "ping", within=SHORT), "worked beside one"
    two.tell("work")
    assert one.has_said("in", "time", "work", "ping") and two.has_said("in", "time", "work")


def test_who_waits_to_time_asks_nobody_while_another_times(start: Callable[[], Step]) -> None:
    one, two = both_in(start)
    two.tell("unbroken")
    assert two.has_said("in", "unbroken")
    one.tell("time")
    assert not one.has_said("in", "time", within=SHORT)
    two.tell("work time")
    assert one.has_said("in", "time")
    before = one.answer("asked")
    time.sleep(SHORT)
    assert one.answer("asked") == before
    one.tell("work")
    assert two.has_said("in", "unbroken", "work", "time")


def test_each_of_many_gets_its_turn(start: Callable[[], Step]) -> None:
    steps = [start() for _ in range(4)]
    for _ in range(3):
        for step in steps:
            for word in ("time", "work", "ping"):
                step.tell(word)
    for step in steps:
        assert step.has_said("in", *["time", "work", "ping"] * 3, within=30.0)


@pytest.mark.parametrize("word,begun", [("sleep", "sleeps"), ("threads", "maps")])
def test_what_cannot_be_interrupted_is_waited_for(
    start: Callable[[], Step], word: str, begun: str
) -> None:
    one, two = both_in(start)
    one.tell(word)
    assert one.has_said("in", begun)
    two.tell("time")
    assert not two.has_said("in", "time", within=0.3), "timed beside a call of a library"
    assert two.has_said("in", "time")
    two.tell("work")
    assert one.has_said("in", begun, word)


@pytest.mark.parametrize("threads", [1, 3])
def test_results_of_threads_keep_their_order(threads: int) -> None:
    assert map_in_threads(abs, range(-5, 0), threads) == [5, 4, 3, 2, 1]


def test_who_is_not_to_be_broken_is_waited_for(start: Callable[[], Step]) -> None:
    one, two = both_in(start)
    one.tell("unbroken")
    assert one.has_said("in", "unbroken")
    two.tell("time")
    assert not two.has_said("in", "time", within=SHORT)
    one.tell("ping")
    assert one.has_said("in", "unbroken", "ping")
    one.tell("work")
    assert two.has_said("in", "time")


def test_who_stands_still_goes_on_when_the_one_who_times_is_killed(
    start: Callable[[], Step],
) -> None:
    one, two = both_in(start)
    two.tell("time")
    assert two.has_said("in", "time")
    one.tell("ping")
    assert not one.has_said("in", "ping", within=SHORT)
    two.end(signal.SIGKILL)
    assert one.has_said("in", "ping")


@pytest.mark.parametrize("nested", ["unbroken time", "time unbroken"])
def test_timing_inside_of_what_is_not_to_be_broken(start: Callable[[], Step], nested: str) -> None:
    one, two = both_in(start)
    one.tell(nested)
    assert one.has_said("in", *nested.split())
    one.tell("work")
    assert one.has_said("in", *nested.split(), "work")
    two.tell("time")
    assert two.has_said("in", "time")
    one.tell("ping")
    assert not one.has_said("in", *nested.split(), "work", "ping", within=SHORT)


@pytest.mark.parametrize("company", ["a GPU", "other processes"])
def test_what_would_go_on_without_the_step_is_waited_for(
    start: Callable[[], Step], monkeypatch: pytest.MonkeyPatch, company: str
) -> None:
    if company == "other processes":
        monkeypatch.setenv("WORLD_SIZE", "2")
    one = start()
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    two = start()
    assert one.has_said("in") and two.has_said("in")
    if company == "a GPU":
        one.tell("cuda")
        assert one.has_said("in", "cuda")
    two.tell("time")
    assert not two.has_said("in", "time", within=SHORT)
    one.end()
    assert two.has_said("in", "time")


def test_what_a_killed_step_left_is_tidied(start: Callable[[], Step], tmp_path: Path) -> None:
    one, two, killed = *both_in(start), start()
    assert killed.has_said("in")
    killed.end(signal.SIGKILL)
    two.tell("time")
    assert two.has_said("in", "time")
    left = {path.name for path in tmp_path.glob("worker-*")}
    assert left == {f"worker-{step.process.pid}" for step in (one, two)}


def test_who_comes_while_another_times_waits_outside(start: Callable[[], Step]) -> None:
    one = start()
    one.tell("time")
    assert one.has_said("in", "time")
    late = start()
    assert not late.has_said("in", within=SHORT)
    one.tell("work")
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


def test_what_a_step_starts_works_under_its_lock(start: Callable[[], Step]) -> None:
    one = start()
    assert one.has_said("in")
    one.tell("time")
    one.tell("call")
    assert one.has_said("in", "time", "call")


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


def test_a_measurement_with_a_limit_has_the_machine_alone(
    start: Callable[[], Step], tmp_path: Path
) -> None:
    other, answered = start(), []
    assert other.has_said("in")

    def measure() -> None:
        other.tell("ping")
        answered.append(other.has_said("in", "ping", within=SHORT))

    limit = 0.99 * len(os.sched_getaffinity(0))
    # On a busy machine it is refused in the end; that it was alone is what counts.
    with working(tmp_path), suppress(UserError):
        measure_quietly(measure, limit=limit, attempts=1, key="k")
    assert answered == [False]
    assert other.has_said("in", "ping")


def test_the_signal_is_given_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGURG)
    with working(tmp_path):
        assert signal.getsignal(signal.SIGURG) != before
        os.kill(os.getpid(), signal.SIGURG)
    assert signal.getsignal(signal.SIGURG) == before
    assert not [*tmp_path.glob("worker-*")]

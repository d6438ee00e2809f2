"""Settings of the steps that do not train: times, tables of records, statistics, figures."""

from __future__ import annotations

from typing import Any

from seqlab.spec import Spec, setting
from seqlab.studies.archbench.training_spec import ShapeSpec


class LevelsSpec(Spec):
    """A series with its levels, as statistics and figures need it."""

    unit: str = setting("What a level counts, in words.")
    trained: dict[str, int] = setting("Task -> level that it is trained at.")
    tested: dict[str, int] = setting("Condition -> level that the task is tested at.")


class SpeedSpec(Spec):
    """Micro-benchmark over the length of the sequence."""

    lengths: tuple[int, ...] = setting("Tokens.", unit="tokens", min_length=2)
    tokens: int = setting("Tokens of a batch, whatever its length.", unit="tokens", ge=1)
    repeats: int = setting("Timed passes.", ge=1)
    seeds: int = setting("Processes.", ge=2)
    again: str = setting("Architecture that is timed twice, for the noise.", default="rope")
    max_foreign_load: float = setting(
        "Cores that other processes may use while timing.", unit="cores", gt=0
    )
    attempts: int = setting("Attempts before a loaded machine fails the run.", ge=1)


class SpeedRunSpec(Spec):
    """Settings of one process of the micro-benchmark."""

    shape: ShapeSpec = setting("Shape of every model.")
    architectures: tuple[str, ...] = setting("What is timed.")
    speed: SpeedSpec = setting("Lengths and repeats.")
    precision: str = setting("That of training.")
    threads: int = setting("Compute threads.", ge=1)
    seed: int = setting("Seed of inputs and order.", ge=0)


class CollectSpec(Spec):
    """Settings of the step that makes one table of records."""

    runs: tuple[str, ...] = setting("Folder of every record, such as TASK/VARIANT/seed-N.")

    def members(self, argument: str) -> list[str]:
        """Return the files that the step reads below the folder given as `argument`."""
        return [f"{run}/record.json" for run in self.runs]


class CollectRunsSpec(CollectSpec):
    """Settings of the step that makes tables of runs and of their training curves."""

    @property
    def tasks(self) -> list[str]:
        """Tasks of the runs, each once."""
        return list(dict.fromkeys(run.partition("/")[0] for run in self.runs))

    def members(self, argument: str) -> list[str]:
        """Return the files that the step reads below the folder given as `argument`."""
        if argument == "tests":
            return [f"{task}/sets.npz" for task in self.tasks]
        return [f"{run}/{file}" for run in self.runs for file in ("record.json", "samples.npz")]


class AnalyseSpec(Spec):
    """Settings of the statistics of an experiment."""

    tasks: tuple[str, ...] = setting("Tasks.")
    references: dict[str, dict[str, str]] = setting(
        "Task -> condition -> what its accuracy is held against.", default={}
    )
    levels: dict[str, LevelsSpec] = setting("Task -> how hard it is made.", default={})
    distances: dict[str, list[str]] = setting(
        "Task -> conditions whose answers are told apart by distance.", default={}
    )
    alpha: float = setting("Level of every test.", gt=0, lt=1)
    margin: float = setting("Equivalence margin of an accuracy.", gt=0)
    glitch_margin: float = setting("Equivalence margin of a glitch rate.", gt=0)
    cost_margin: float = setting("Equivalence margin of a time, relative.", gt=0)
    slope_margin: float = setting("Slopes of log time closer to 0 are linear cost.", gt=0)
    learned: float = setting("Least accuracy above the floor of what has been learned.", gt=0)
    seed: int = setting("Seed of resamples and permutations.")
    wanted: tuple[str, ...] = setting(
        "Architectures; those without runs are listed as not run.", default=()
    )
    again: str | None = setting(
        "Architecture that was timed twice, of statistics of times.", default=None
    )


class ExportSpec(CollectSpec):
    """Settings of the step that exports runs as the original's script did."""

    scale: str = setting("Scale of the results.")


class DrawSpec(Spec):
    """Settings of a figure."""

    scale: str = setting("Scale of the results.")
    tasks: tuple[str, ...] = setting("Tasks.")
    labels: dict[str, dict[str, str]] = setting(
        "Task -> condition -> its law in short.", default={}
    )
    panels: dict[str, dict[str, list[str]]] = setting(
        "Title -> task -> conditions, of figures with panels of conditions.", default={}
    )
    levels: dict[str, LevelsSpec] = setting(
        "Task -> how hard it is made, of figures over levels.", default={}
    )


class TabulateSpec(Spec):
    """Settings of a table."""

    labels: dict[str, dict[str, str]] = setting(
        "Task -> condition -> its law in short.", default={}
    )


class FactsSpec(Spec):
    """What a caption states that is no result."""

    scale: str = setting("Scale of the results.")
    seeds: int = setting("Runs per cell.")
    facts: dict[str, Any] = setting("Facts of the experiment.")

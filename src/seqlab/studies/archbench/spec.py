"""Settings of the architecture benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import model_validator

from seqlab.errors import UserError
from seqlab.spec import Spec, setting
from seqlab.studies.archbench.architectures import (
    BESIDE,
    NINE,
    split_variant,
    variant,
)
from seqlab.studies.archbench.steps_spec import (
    AnalyseSpec,
    CollectRunsSpec,
    CollectSpec,
    DrawSpec,
    ExportSpec,
    FactsSpec,
    LevelsSpec,
    SpeedRunSpec,
    SpeedSpec,
    TabulateSpec,
)
from seqlab.studies.archbench.tasks_spec import Task
from seqlab.studies.archbench.training_spec import (
    Local,
    OptimiserSpec,
    PilotRunSpec,
    PilotSpec,
    RunSpec,
    ShapeSpec,
    TestsSpec,
)


class ExperimentSpec(Spec):
    """Models trained on tasks, with several seeds."""

    tasks: tuple[str, ...] = setting("Names of tasks.", min_length=1)
    architectures: tuple[str, ...] = setting("Names of architectures.", min_length=1)
    local: tuple[Local, ...] = setting("Local mixing.", default=("native",), min_length=1)
    only: dict[str, tuple[str, ...]] = setting(
        "Architecture -> tasks that it runs on, where these are not all.", default={}
    )
    seeds: int = setting("Runs per cell.", ge=2)

    def cells(self) -> list[tuple[str, str]]:
        """Return task and variant of every cell, each once."""
        found = {
            (task, variant(architecture, local)): None
            for task in self.tasks
            for architecture in self.architectures
            if task in self.only.get(architecture, self.tasks)
            for local in self.local
        }
        return list(found)

    def runs(self) -> list[str]:
        """Return the folder of every run below `runs/`."""
        return [
            f"{task}/{name}/seed-{seed}"
            for task, name in self.cells()
            for seed in range(self.seeds)
        ]


class SeriesSpec(Spec):
    """How hard a task is made, by models trained at each level and by one that is tested at all."""

    unit: str = setting("What a level counts, in words.")
    trained: tuple[str, ...] = setting("Tasks, each trained at its level.", min_length=2)
    tested: tuple[str, ...] = setting(
        "Conditions of the task of the same name, which is trained at one level.", default=()
    )


# Figures and tables by the part that they are made from.
FIGURES = {
    "grid": (
        *("accuracy", "learning", "frontier", "affinity", "perplexity", "transfer", "glitches"),
        *("effects", "survival", "distance"),
    ),
    "factorial": ("convolution",),
    "vocabulary": ("vocabulary",),
    "difficulty": ("difficulty",),
    "speed": ("speed",),
}
TABLES = {
    "grid": (
        *("summary", "variance", "pairs", "affinity", "transfer", "convergence", "half_load"),
        *("sizes", "solvers", "distance", "knapsack"),
    ),
    "factorial": ("factorial",),
    "vocabulary": ("vocabulary",),
    "difficulty": ("difficulty",),
    "rates": ("rates",),
}
# Those of them that name the laws of conditions.
_LABELLED = ("transfer", "glitches", "perplexity", "distance", "summary", "solvers", "knapsack")
# Parts that are no experiment: solvers on the stored sets, pilots, the micro-benchmark.
PARTS = ("tests", "rates", "speed")


class ArchbenchSpec(Spec):
    """Everything that decides a number of the architecture benchmark."""

    shape: ShapeSpec = setting("Shape of every model.")
    optimiser: OptimiserSpec = setting("Optimiser of every run.", default=OptimiserSpec())
    pilot: PilotSpec = setting("Choice of learning rates.")
    tasks: dict[str, Task] = setting("Tasks by name.", min_length=1)
    grid: ExperimentSpec = setting("Every architecture on the three tasks.")
    factorial: ExperimentSpec = setting("Short convolution and mixer, crossed.")
    vocabulary: ExperimentSpec = setting("Recall of ids that training did not show.")
    difficulty: ExperimentSpec = setting("Models trained at each level of a task.")
    levels: dict[str, SeriesSpec] = setting("Task -> how hard it is made.")
    speed: SpeedSpec = setting("Micro-benchmark.")
    panels: dict[str, dict[str, list[str]]] = setting(
        "Title -> task -> conditions of the figures of generalisation."
    )
    against: dict[str, dict[str, str]] = setting(
        "Task -> condition -> the one its accuracy is held against, where that is not the trained "
        "one.",
        default={},
    )
    distances: dict[str, list[str]] = setting(
        "Task -> conditions whose answers are told apart by how far back they lie.", default={}
    )
    threads: int = setting("Compute threads of a training run.", default=1, ge=1)
    alpha: float = setting("Level of every test.", default=0.05, gt=0, lt=1)
    margin: float = setting("Equivalence margin of an accuracy.", default=0.02, gt=0)
    glitch_margin: float = setting("Equivalence margin of a glitch rate.", default=0.002, gt=0)
    cost_margin: float = setting("Equivalence margin of a time, relative.", default=0.05, gt=0)
    slope_margin: float = setting(
        "Slopes of log time on log length, at equal tokens, closer to 0 than this are linear cost: "
        "over a factor of 32 in length it is a tenth in time.",
        default=0.03,
        gt=0,
    )
    learned: float = setting(
        "Accuracy above the floor, as a share of what is above it, from which on a task counts as "
        "learned: what was not learned cannot be lost under another condition, and decides no "
        "hypothesis.",
        default=0.5,
        gt=0,
        lt=1,
    )
    resampling_seed: int = setting("Seed of resamples and permutations.", default=17, ge=0)

    @model_validator(mode="after")
    def _names_resolve(self) -> ArchbenchSpec:
        for name, experiment in self.experiments.items():
            for task in experiment.tasks:
                if task not in self.tasks:
                    raise ValueError(f"{name}.tasks: no task {task!r}")
            for architecture in experiment.architectures:
                if architecture not in (*NINE, *BESIDE):
                    raise ValueError(f"{name}.architectures: no architecture {architecture!r}")
            for architecture, tasks in experiment.only.items():
                if architecture not in BESIDE:
                    raise ValueError(
                        f"{name}.only: {architecture!r} does not stand beside the nine"
                    )
                unknown = sorted({*tasks} - {*self.tasks})
                if unknown:
                    raise ValueError(f"{name}.only.{architecture}: no task {unknown[0]!r}")
            if self.pilot.seed < experiment.seeds:
                raise ValueError("pilot.seed is one of the reported seeds")
        if len(self.grid.local) > 1:
            raise ValueError("grid.local: one local mixing; the crossed design has several")
        if self.speed.again not in self.grid.architectures:
            raise ValueError(f"speed.again: no architecture {self.speed.again!r} in the grid")
        for name, own in self.tasks.items():
            source = own.rate_of
            if source is not None and (source not in self.tasks or self.tasks[source].rate_of):
                raise ValueError(f"tasks.{name}.rate_of: no task {source!r} with rates of its own")
        named = [("against", name, {*p, *p.values()}) for name, p in self.against.items()]
        named += [("distances", name, {*found}) for name, found in self.distances.items()]
        for key, name, conditions in named:
            tests = self.tasks[name].tests if name in self.tasks else {}
            unknown = sorted(conditions - {*tests})
            if unknown:
                raise ValueError(f"{key}.{name}: no condition {unknown[0]!r} is tested")
        for name, series in self.levels.items():
            unknown = sorted({name, *series.trained} - {*self.tasks})
            unknown += sorted({*series.tested} - {*self.tasks[name].tests}) if not unknown else []
            if unknown:
                raise ValueError(f"levels.{name}: no task or condition {unknown[0]!r}")
        return self

    @property
    def experiments(self) -> dict[str, ExperimentSpec]:
        """Experiments by name."""
        values = ((name, getattr(self, name)) for name in type(self).model_fields)
        return {name: value for name, value in values if isinstance(value, ExperimentSpec)}

    def step_spec(self, step: str, wildcards: Mapping[str, str]) -> Spec:
        """Return exactly the settings that `step` reads.

        Raises:
            KeyError: There is no such step.
        """
        if step == "make_tests":
            return TestsSpec(name=wildcards["task"], task=self.tasks[wildcards["task"]])
        if step == "choose_rate":
            return PilotRunSpec(**self._training(wildcards), pilot=self.pilot)
        if step == "train_variant":
            return RunSpec(**self._training(wildcards), seed=int(wildcards["seed"]))
        if step == "run_speed":
            return SpeedRunSpec(
                shape=self.shape,
                architectures=tuple(a for a in self.grid.architectures if a not in self.grid.only),
                speed=self.speed,
                precision=self.optimiser.precision,
                threads=self.threads,
                seed=int(wildcards["seed"]),
            )
        if step == "collect_runs":
            return CollectRunsSpec(runs=self._records(wildcards["part"]))
        if step == "collect_records":
            return CollectSpec(runs=self._records(wildcards["part"]))
        verb, _, name = step.partition("_")
        if verb == "analyse":
            return self._analyse(name)
        if verb == "draw":
            tasks = self._tasks(self.part_of("figures", name))
            # Settings that a figure does not read must not redraw it.
            return DrawSpec(
                scale=wildcards["scale"],
                tasks=tasks,
                labels=self._labels(tasks) if name in _LABELLED else {},
                panels=self.panels if name == "transfer" else {},
                levels=self._levels() if name == "difficulty" else {},
            )
        if verb == "tabulate":
            tasks = self._tasks(self.part_of("tables", name)) if name in _LABELLED else ()
            return TabulateSpec(labels=self._labels(tasks))
        if step == "state_facts":
            return self._facts(wildcards)
        raise KeyError(step)

    def export_spec(self, scale: str, architectures: str, tasks: str) -> ExportSpec:
        """Return what exports the runs of some architectures on some tasks of the grid.

        Args:
            scale: Scale of the results.
            architectures: Names separated by commas; all where empty.
            tasks: The same.

        Raises:
            UserError: The grid has no such architecture or task.
        """
        chosen = self.grid.model_copy(
            update={
                "architectures": _chosen(architectures, self.grid.architectures, "architecture"),
                "tasks": _chosen(tasks, self.grid.tasks, "task"),
            }
        )
        if not chosen.runs():
            raise UserError(f"no run of the grid has {architectures!r} on {tasks!r}")
        return ExportSpec(runs=tuple(chosen.runs()), scale=scale)

    def rate_task(self, task: str) -> str:
        """Return the task on which the learning rates of a task are chosen."""
        return self.tasks[task].rate_of or task

    @property
    def targets(self) -> tuple[str, ...]:
        """Names on Snakemake's command line, beside the items."""
        return ("archbench_benchmark", "archbench_baseline", "archbench_modern")

    @property
    def claim_tables(self) -> list[str]:
        """Tables that claims are judged by, below `results/<scale>/archbench/`."""
        return [f"{part}/statistics.csv" for part in FIGURES]

    def part_of(self, kind: Literal["figures", "tables"], artefact: str) -> str:
        """Return the experiment that a figure or table is drawn from.

        Raises:
            KeyError: There is none.
        """
        for part, names in (FIGURES if kind == "figures" else TABLES).items():
            if artefact in names:
                return part
        raise KeyError(artefact)

    def records_of(self, part: str) -> list[str]:
        """Return the records of a part, below `results/<scale>/archbench/`."""
        return [f"{self.folder_of(part)}/{run}/record.json" for run in self._records(part)]

    def _records(self, part: str) -> tuple[str, ...]:
        """Return the folders of records: of an experiment, of solvers, rates or processes."""
        if part == "tests":
            return tuple(dict.fromkeys(t for e in self.experiments.values() for t in e.tasks))
        if part == "rates":
            cells = {
                (self.rate_task(task), name): None
                for experiment in self.experiments.values()
                for task, name in experiment.cells()
            }
            return tuple(f"{task}/{name}" for task, name in cells)
        if part == "speed":
            return tuple(f"seed-{seed}" for seed in range(self.speed.seeds))
        return tuple(self.experiments[part].runs())

    @staticmethod
    def folder_of(part: str) -> str:
        """Return where the records of a part lie; experiments share their runs."""
        return {"tests": "tests", "rates": "rates", "speed": "speed/runs"}.get(part, "runs")

    def _tasks(self, part: str) -> tuple[str, ...]:
        return self.experiments[part].tasks if part in self.experiments else ()

    def _labels(self, tasks: tuple[str, ...]) -> dict[str, dict[str, str]]:
        return {
            task: {name: law.label for name, law in self.tasks[task].tests.items()}
            for task in tasks
        }

    def _levels(self) -> dict[str, LevelsSpec]:
        return {
            name: LevelsSpec(
                unit=series.unit,
                trained={task: self.tasks[task].train.level for task in series.trained},
                tested={test: self.tasks[name].tests[test].level for test in series.tested},
            )
            for name, series in self.levels.items()
        }

    def _analyse(self, part: str) -> AnalyseSpec:
        return AnalyseSpec(
            tasks=self._tasks(part),
            references={name: self.against.get(name, {}) for name in self._tasks(part)},
            levels=self._levels() if part in ("grid", "difficulty") else {},
            distances=self.distances if part == "grid" else {},
            again=self.speed.again if part == "speed" else None,
            alpha=self.alpha,
            margin=self.margin,
            glitch_margin=self.glitch_margin,
            cost_margin=self.cost_margin,
            slope_margin=self.slope_margin,
            learned=self.learned,
            seed=self.resampling_seed,
            wanted=NINE if part in ("factorial", "vocabulary", "difficulty") else (),
        )

    def _facts(self, wildcards: Mapping[str, str]) -> FactsSpec:
        part = self.part_of("figures", wildcards["artefact"])
        seeds = self.speed.seeds if part == "speed" else self.experiments[part].seeds
        return FactsSpec(
            scale=wildcards["scale"],
            seeds=seeds,
            facts={
                "width": self.shape.width,
                "layers": self.shape.layers,
                "threads": self.threads,
                "rates": ", ".join(f"{rate:g}" for rate in self.pilot.rates),
                "rungs": " and ".join(f"{100 * share:g}" for share in self.pilot.rungs),
            },
        )

    def _training(self, wildcards: Mapping[str, str]) -> dict[str, Any]:
        architecture, local = split_variant(wildcards["variant"])
        return {
            "name": wildcards["task"],
            "task": self.tasks[wildcards["task"]],
            "architecture": architecture,
            "local": local,
            "shape": self.shape,
            "optimiser": self.optimiser,
            "threads": self.threads,
        }


def _chosen(names: str, known: tuple[str, ...], what: str) -> tuple[str, ...]:
    wanted = tuple(name.strip() for name in names.split(",") if name.strip()) or known
    for name in wanted:
        if name not in known:
            raise UserError(f"no {what} {name!r} in the grid", fix=f"use {', '.join(known)}")
    return wanted


SETTINGS = ArchbenchSpec

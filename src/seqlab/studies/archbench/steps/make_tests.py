"""Step: draw the stored sets of a task, and let solvers measure their floors and ceilings."""

from __future__ import annotations

from seqlab.errors import UserError
from seqlab.provenance.environment import environment
from seqlab.provenance.record import Arm, Metric, Record, write_record, write_samples
from seqlab.spec import Context, Out
from seqlab.studies.archbench.problems.base import TEST, VALID, generator, pack
from seqlab.studies.archbench.problems.registry import problem_of
from seqlab.studies.archbench.training_spec import TestsSpec


def make_tests(spec: TestsSpec, *, record: Out, sets: Out, context: Context) -> None:
    """Write validation and test sequences, and what solvers reach on them.

    Raises:
        UserError: A condition is impossible, or a solver that knows the answer does not reach it.
    """
    task, problem = spec.task, problem_of(spec.task)
    valid = problem.draw(task.train, task.valid, generator(spec.name, "valid", VALID))
    batches, arms = {"valid": valid}, {}
    for index, (name, condition) in enumerate(task.tests.items()):
        rng = generator(spec.name, "test", TEST, index)
        batches[f"test/{name}"] = problem.draw(condition, task.tested(name), rng)
        found = problem.solvers(condition, batches[f"test/{name}"], rng)
        if found["ceiling"] < 1:
            raise UserError(
                f"the solver reaches {found['ceiling']:.4f} of the labels",
                where=f"archbench.tasks.{spec.name}.tests.{name}",
                fix="change the law: it has sequences without a right answer",
            )
        arms[name] = {
            solver: Metric(value=value, unit="1", provenance="counted")
            for solver, value in found.items()
        }
    digest = write_samples(sets, pack(batches))
    write_record(
        record,
        Record(
            study="archbench",
            experiment="tests",
            cell={"task": spec.name, "kind": task.kind},
            seed=0,
            arms={
                name: Arm(metrics=metrics, samples_path=sets.name, samples_sha256=digest)
                for name, metrics in arms.items()
            },
            environment=environment(spec.model_dump(mode="json"), context.code, context.threads),
        ),
    )

"""Problems of the architecture benchmark: solvers, scores, weights, stored sets, streams."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from seqlab.data.diagnostic import IGNORE, Answers, Batch
from seqlab.data.flip_flop import ZERO
from seqlab.data.knapsack import SKIP, TAKE
from seqlab.errors import UserError
from seqlab.provenance.record import write_samples
from seqlab.spec import validate
from seqlab.studies.archbench.architectures import split_variant, variant
from seqlab.studies.archbench.benchmark import command
from seqlab.studies.archbench.problems.base import Problem, generator, pack, unpack
from seqlab.studies.archbench.problems.registry import problem_of
from seqlab.studies.archbench.rates import best_first
from seqlab.studies.archbench.spec import ArchbenchSpec
from seqlab.studies.archbench.tasks_spec import (
    FlipFlopTask,
    KnapsackTask,
    MarkedMqarTask,
    MqarTask,
)
from seqlab.studies.archbench.training import stream
from seqlab.studies.archbench.training_spec import OptimiserSpec, ShapeSpec, TrainingSpec

COMMON = {"steps": 10, "batch": 4, "sequences": 50, "valid": 20}
TASKS = {
    "mqar": MqarTask(
        kind="mqar",
        train={"vocab_size": 64, "length": 24, "pairs": 4},
        tests={"more": {"pairs": 6}, "uniform": {"filler": "uniform"}},
        **COMMON,
    ),
    "marked_mqar": MarkedMqarTask(
        kind="marked_mqar",
        train={"pairs": 6, "queries": 6},
        **COMMON,
    ),
    "flip_flop": FlipFlopTask(
        kind="flip_flop",
        train={"length": 32},
        tests={"dense": {"ignored": 0.1}},
        **COMMON,
    ),
    "knapsack": KnapsackTask(
        kind="knapsack",
        train={"items": 5},
        tests={"more": {"items": 8}},
        ids={"capacity": 20, "weight": 10, "value": 10, "answer": 80},
        **COMMON,
    ),
}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def drawn(name: str, count: int = 200) -> tuple[Problem, Batch]:
    problem = problem_of(TASKS[name])
    return problem, problem.draw(TASKS[name].train, count, rng())


def answers_of(batch: Batch, predictions: np.ndarray | None = None) -> Answers:
    where = np.nonzero(batch.asked)
    labels = batch.labels[where]
    said = labels if predictions is None else predictions
    return Answers(np.zeros(len(labels)), said, labels, where[0], where[1])


def test_conditions_repeat_only_what_differs() -> None:
    task = TASKS["mqar"]
    assert task.tests["trained"] == task.train
    assert task.tests["more"] == task.train.model_copy(update={"pairs": 6})
    mixed = MqarTask(**task.model_dump(exclude={"mixture"}), mixture=[{"pairs": 2}, {}])
    assert [law.pairs for law in mixed.mixture] == [2, 4]
    assert {law.length for law in mixed.mixture} == {24}
    assert validate(MqarTask, mixed.model_dump(mode="json"), "again") == mixed


def test_training_steps_draw_from_the_mixture() -> None:
    task = TASKS["mqar"]
    mixture = [{"length": 16, "pairs": 2}, {"length": 20}, {}]
    mixed = MqarTask(**task.model_dump(exclude={"mixture"}), mixture=mixture)
    shape = ShapeSpec(width=16, layers=1, heads=2, layer_parameters=3600)
    for drawn_from, wanted in ((mixed, {16, 20, 24}), (task, {24})):
        spec = TrainingSpec(
            name="mqar",
            task=drawn_from,
            architecture="rope",
            local="native",
            shape=shape,
            optimiser=OptimiserSpec(),
            threads=1,
        )
        batch_at = stream(spec, problem_of(drawn_from), 3)
        lengths = [batch_at(step)["input_ids"].shape[1] for step in range(60)]
        assert {*lengths} == wanted
        assert batch_at(7)["input_ids"].equal(batch_at(7)["input_ids"])
        if len(wanted) > 1:
            assert min(lengths.count(length) for length in wanted) > 8


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("tests", {"trained": {"pairs": 2}}, "the law of `train`, and no other"),
        ("more", {"elsewhere": 3}, "no condition 'elsewhere'"),
        ("tests", {"other": {"pear": 3}}, "pear"),
        ("batch", 0, "batch"),
    ],
)
def test_bad_tasks_are_refused(key: str, value: object, message: str) -> None:
    values = TASKS["mqar"].model_dump(mode="json") | {key: value}
    with pytest.raises(UserError, match=message):
        validate(MqarTask, values, "here")


@pytest.mark.parametrize("name", [*TASKS])
def test_ceilings_are_reached_and_floors_are_below(name: str) -> None:
    task, problem = TASKS[name], problem_of(TASKS[name])
    for condition in task.tests.values():
        found = problem.solvers(condition, problem.draw(condition, 400, rng()), rng(1))
        assert found["ceiling"] == 1.0
        assert 0 < found["floor"] < 0.8


def test_labels_that_are_not_best_miss_the_ceiling() -> None:
    for name in ("flip_flop", "knapsack"):
        problem, batch = drawn(name, 40)
        row, position = (int(places[0]) for places in np.nonzero(batch.asked))
        wrong = batch.labels.copy()
        wrong[row, position] += 1 if wrong[row, position] in (TAKE, ZERO) else -1
        found = problem.solvers(TASKS[name].train, replace(batch, labels=wrong), rng(1))
        assert found["ceiling"] < 1, name


def test_a_guesser_reaches_the_floor_of_recall() -> None:
    problem, batch = drawn("mqar", 2000)
    found = problem.solvers(TASKS["mqar"].train, batch, rng(1))
    assert found["context"] == pytest.approx(found["floor"], abs=0.02)


@pytest.mark.parametrize("name", [*TASKS])
def test_right_answers_score_one(name: str) -> None:
    problem, batch = drawn(name)
    scores = problem.scores(answers_of(batch), batch)
    assert scores["accuracy"].value == 1.0 and scores["exact"].value == 1.0
    assert batch.input_ids.max() < problem.vocab_size
    assert batch.input_ids.shape[1] <= problem.longest


def test_recall_is_also_scored_among_values() -> None:
    problem, batch = drawn("mqar")
    right = answers_of(batch)
    first, end = problem.legal or (0, 0)
    assert ((right.labels >= first) & (right.labels < end)).all()
    among = right.labels.copy()
    among[::2] = first + (among[::2] - first + 1) % (end - first)
    said = replace(right, predictions=np.zeros_like(among), among=among)
    scores = problem.scores(said, batch)
    assert scores["accuracy"].value == 0.0
    assert scores["legal_accuracy"].value == pytest.approx((len(among) // 2) / len(among))
    assert "legal_accuracy" not in drawn("knapsack")[0].scores(*_right("knapsack"))


def _right(name: str) -> tuple[Answers, Batch]:
    batch = drawn(name)[1]
    return answers_of(batch), batch


def test_levels_and_labels_are_those_of_the_law() -> None:
    levels = {name: task.train.level for name, task in TASKS.items()}
    assert levels == {"mqar": 4, "marked_mqar": 6, "flip_flop": 1, "knapsack": 5}
    labels = {name: task.train.label for name, task in TASKS.items()}
    wanted = {
        "mqar": "T24 kv4",
        "marked_mqar": "kv6",
        "flip_flop": "T32 p0.8",
        "knapsack": "n5 v10",
    }
    assert labels == wanted


def test_glitches_are_counted() -> None:
    problem, batch = drawn("flip_flop")
    right = answers_of(batch)
    said = right.labels.copy()
    said[:3] = 7 - said[:3]
    scores = problem.scores(answers_of(batch, said), batch)
    assert scores["glitches"].value == 3
    assert scores["glitch_rate"].value == pytest.approx(3 / len(said))


def test_knapsack_scores_sets_and_values() -> None:
    problem, batch = drawn("knapsack", 50)
    right = answers_of(batch)
    items = (right.labels == TAKE) | (right.labels == SKIP)
    nothing = right.labels.copy()
    nothing[items] = SKIP
    nothing[~items] += 1
    scores = problem.scores(answers_of(batch, nothing), batch)
    assert scores["value_exact"].value == 0.0 and scores["value_error"].value == 1.0
    assert scores["item_f1"].value == 0.0 and scores["value_ratio"].value == 0.0
    assert scores["infeasible"].value == 0.0
    everything = right.labels.copy()
    everything[items] = TAKE
    everything[~items] = 0
    scores = problem.scores(answers_of(batch, everything), batch)
    assert scores["value_error"].value is None and scores["value_error"].reason
    # All items, repaired, are those of the greedy solver.
    solved = problem.solvers(TASKS["knapsack"].train, batch, rng())
    assert scores["value_ratio"].value > solved["greedy"] > 0.7


def test_knapsack_is_judged_by_its_items() -> None:
    problem, batch = drawn("knapsack", 5)
    right = answers_of(batch)
    items = (right.labels == TAKE) | (right.labels == SKIP)
    found = replace(right, nll=np.where(items, 0.25, 40.0))
    assert problem.loss(found) == 0.25
    assert problem.accuracy(replace(found, predictions=np.where(items, right.labels, 0))) == 1
    recall, of_recall = drawn("mqar", 5)
    answers = answers_of(of_recall)
    assert recall.loss(replace(answers, nll=np.arange(len(answers.labels)))) == pytest.approx(
        (len(answers.labels) - 1) / 2
    )


def test_the_loss_of_knapsack_is_items_and_a_quarter_of_the_value() -> None:
    problem, batch = drawn("knapsack", 7)
    weights = problem.weights(batch)
    assert weights is not None
    assert (weights[batch.labels == IGNORE] == 0).all()
    assert weights[:, :-1].sum(1) == pytest.approx(np.ones(7))
    assert weights[:, -1] == pytest.approx(np.full(7, 0.25))
    assert drawn("mqar")[0].weights(drawn("mqar")[1]) is None


def test_stored_sets_come_back(tmp_path: Path) -> None:
    batches = {"valid": drawn("mqar")[1], "test/home": drawn("knapsack")[1]}
    write_samples(tmp_path / "sets.npz", pack(batches))
    found = unpack(tmp_path / "sets.npz")
    assert set(found) == set(batches)
    for name, batch in batches.items():
        assert (found[name].input_ids == batch.input_ids).all()
        assert (found[name].labels == batch.labels).all()
        assert set(found[name].facts) == set(batch.facts)
    (tmp_path / "broken.npz").write_bytes(b"no archive")
    with pytest.raises(UserError, match="no stored test sets"):
        unpack(tmp_path / "broken.npz")


def test_parts_of_a_task_share_no_stream() -> None:
    seen = {
        generator("mqar", "train", 1000, 0).integers(1 << 62),
        generator("mqar", "train", 1000, 1).integers(1 << 62),
        generator("mqar", "train", 1001, 0).integers(1 << 62),
        generator("mqar", "valid", 7777).integers(1 << 62),
        generator("mqar", "test", 8888, 0).integers(1 << 62),
        generator("knapsack", "test", 8888, 0).integers(1 << 62),
    }
    assert len(seen) == 6
    again = generator("mqar", "train", 1000, 1).integers(1 << 62)
    assert again in seen


@pytest.mark.parametrize(
    ("architecture", "local", "name"),
    [
        ("rope", "native", "rope-none"),
        ("rope", "none", "rope-none"),
        ("rope", "all", "rope-all"),
        ("deltanet", "native", "deltanet-all"),
        ("gated_deltanet", "none", "gated_deltanet-none"),
        ("rwkv7", "native", "rwkv7-native"),
        ("mamba", "native", "mamba-all"),
    ],
)
def test_equal_models_have_equal_names(architecture: str, local: str, name: str) -> None:
    assert variant(architecture, local) == name  # type: ignore[arg-type]
    assert split_variant(name)[0] == architecture


def test_settings_refuse_what_does_not_exist(archbench_values: dict) -> None:  # type: ignore[type-arg]
    tasks = archbench_values["tasks"]
    for change, message in (
        ({"grid": {"tasks": ["sorting"], "architectures": ["rope"], "seeds": 2}}, "no task"),
        ({"grid": {"tasks": ["mqar"], "architectures": ["s5"], "seeds": 2}}, "no architecture"),
        ({"pilot": {"rates": [1e-3], "rungs": [1.0], "seed": 1}}, "reported seeds"),
        ({"tasks": tasks | {"mqar": tasks["mqar"] | {"rate_of": "sorting"}}}, "rates of its own"),
        (
            {"tasks": tasks | {"mqar_half": tasks["mqar_half"] | {"rate_of": "mqar_double"}}},
            "rates of its own",
        ),
        ({"against": {"mqar": {"even_x2": "odd"}}}, "no condition 'odd' is tested"),
        ({"against": {"sorting": {"even_x2": "even"}}}, "no condition 'even' is tested"),
        ({"levels": {"mqar": {"unit": "pairs", "trained": ["mqar", "sorting"]}}}, "'sorting'"),
        (
            {
                "levels": {
                    "mqar": {
                        "unit": "pairs",
                        "trained": ["mqar", "mqar_half"],
                        "tested": ["elsewhere"],
                    }
                }
            },
            "'elsewhere'",
        ),
    ):
        with pytest.raises(UserError, match=message):
            validate(ArchbenchSpec, archbench_values | change, "here")


def test_learning_rates_of_other_levels_are_those_of_the_task(archbench_values: dict) -> None:  # type: ignore[type-arg]
    study = validate(ArchbenchSpec, archbench_values, "here")
    assert study.rate_task("mqar_double") == study.rate_task("mqar") == "mqar"
    rates = study.records_of("rates")
    assert "rates/mqar/rope-none/record.json" in rates
    assert not any("mqar_double" in record for record in rates)
    assert len(rates) == len({*rates})


@pytest.fixture
def archbench_values() -> dict:  # type: ignore[type-arg]
    import yaml

    root = Path(__file__).parents[3]
    values = yaml.safe_load((root / "config/studies/archbench.yaml").read_text(encoding="utf-8"))
    return {key: value for key, value in values["archbench"].items() if key != "scales"}


@pytest.mark.parametrize(
    ("arguments", "wanted", "variables"),
    [
        ("--all", "", {}),
        ("--all --config scale=ci -n", "--config scale=ci -n", {}),
        (
            "--architectures lstm,gru --tasks mqar",
            "",
            {"SEQLAB_ARCHITECTURES": "lstm,gru", "SEQLAB_TASKS": "mqar"},
        ),
        # However Snakemake's settings are spelled, they stay as they are.
        ("--tasks mqar -C scale=ci", "-C scale=ci", {"SEQLAB_TASKS": "mqar"}),
        (
            "--profile workflow/profiles/ci --tasks mqar,knapsack",
            "--profile workflow/profiles/ci",
            {"SEQLAB_TASKS": "mqar,knapsack"},
        ),
    ],
)
def test_the_original_options_become_variables(
    arguments: str, wanted: str, variables: dict[str, str]
) -> None:
    line = ["snakemake", "archbench_benchmark", *wanted.split()]
    assert command(arguments.split()) == (line, variables)


@pytest.mark.parametrize(
    "arguments", ["-n", "--all --tasks mqar", "--tasks ,", "--architectures lstm,,gru"]
)
def test_the_original_script_needs_to_be_told_what(arguments: str) -> None:
    with pytest.raises(SystemExit):
        command(arguments.split())


def test_rates_are_ordered_by_accuracy_and_where_that_is_alike_by_loss() -> None:
    scores = {
        1e-4: (0.121, 2.3),
        1e-3: (0.125, 2.1),
        1e-2: (0.6, 3.0),
        1e-1: (-math.inf, math.inf),
    }
    assert best_first(scores) == [1e-2, 1e-3, 1e-4, 1e-1]
    # Alike, on both sides of a multiple of the step.
    assert best_first({1e-3: (0.1301, 2.2), 1e-2: (0.1299, 2.0)}) == [1e-2, 1e-3]
    with pytest.raises(UserError, match="diverged with every"):
        best_first({1e-1: (-math.inf, math.inf)})


def test_what_only_analyses_and_figures_read_retrains_nothing(archbench_values: dict) -> None:  # type: ignore[type-arg]
    before = validate(ArchbenchSpec, archbench_values, "here")
    changes = {"against": {}, "panels": {"one": {"mqar": ["trained"]}}, "alpha": 0.01}
    after = validate(ArchbenchSpec, archbench_values | changes, "here")
    wildcards = {"scale": "laptop", "task": "mqar", "variant": "rope-none", "seed": "0"}
    for step in ("make_tests", "choose_rate", "train_variant", "run_speed", "draw_perplexity"):
        assert before.step_spec(step, wildcards) == after.step_spec(step, wildcards), step
    for step in ("analyse_grid", "draw_transfer"):
        assert before.step_spec(step, wildcards) != after.step_spec(step, wildcards), step

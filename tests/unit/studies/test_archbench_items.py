"""Every law can be drawn from, every figure and table be made from planted runs."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from seqlab.claims import evaluate
from seqlab.claims_spec import load_claims
from seqlab.provenance.atomic import write_text
from seqlab.reference import load_config
from seqlab.spec import Spec
from seqlab.studies.archbench import wording
from seqlab.studies.archbench.analysis import (
    difficulty,
    factorial_study,
    grid,
    rates,
    speed,
    vocabulary,
)
from seqlab.studies.archbench.analysis.frames import read_table
from seqlab.studies.archbench.architectures import AGAIN, variant
from seqlab.studies.archbench.figures import (
    accuracy,
    affinity,
    effects,
    perplexity,
    survival,
    transfer,
)
from seqlab.studies.archbench.figures.glitches import drawn
from seqlab.studies.archbench.problems.base import generator
from seqlab.studies.archbench.problems.registry import problem_of
from seqlab.studies.archbench.spec import FIGURES, TABLES, ArchbenchSpec
from seqlab.workflow import SCALES, Settings

ROOT = Path(__file__).resolve().parents[3]
SEEDS = 3


@pytest.fixture(scope="module")
def settings() -> Settings:
    return Settings(load_config(ROOT))


@pytest.mark.parametrize("scale", SCALES)
def test_every_law_of_every_scale_can_be_drawn_from(settings: Settings, scale: str) -> None:
    for name, task in settings("archbench", scale).tasks.items():
        problem = problem_of(task)
        for number, law in enumerate(task.laws()):
            batch = problem.draw(law, 2, generator(name, "test", number))
            assert batch.input_ids.max() < problem.vocab_size
            assert batch.input_ids.shape[1] <= problem.longest
            assert batch.asked.any(1).all()


def observed(study: ArchbenchSpec, part: str) -> pd.DataFrame:
    """Return what runs of an experiment would have reached, at random."""
    experiment, rng = study.experiments[part], np.random.default_rng(0)
    rows = []
    for task in experiment.tasks:
        for architecture in experiment.architectures:
            for local in experiment.local:
                mixing = variant(architecture, local).rpartition("-")[2]
                for seed in range(SEEDS):
                    common = {
                        "task": task,
                        "architecture": architecture,
                        "local": mixing,
                        "seed": seed,
                        "provenance": "measured",
                        "device": "CPU",
                    }
                    training = {
                        "compute_s": rng.uniform(1, 9),
                        "steps": 100.0,
                        "state_bytes": 64.0,
                        "parameters": 9.0,
                        "non_embedding_parameters": 8.0,
                        "rate": 1e-3,
                        "steps_to_90": 50.0 if seed else np.nan,
                    }
                    arms = {"training": training}
                    for condition in study.tasks[task].tests:
                        share = rng.uniform(0.55, 1)
                        arms[condition] = {
                            "accuracy": share,
                            "legal_accuracy": share,
                            "exact": share / 2,
                            "nll": rng.uniform(0.1, 9),
                            "queries": 500.0,
                            "glitches": float(rng.integers(0, 3)),
                            "glitch_rate": 0.1,
                            "distance_00": 3.0,
                            "distance_07": 31.0,
                            "accuracy_at_00": share,
                            "accuracy_at_07": share / 2,
                        }
                        if task.startswith("knapsack"):
                            arms[condition] |= {"value_exact": share / 3, "item_f1": share}
                    rows += [
                        common | {"condition": arm, "metric": metric, "value": value}
                        for arm, metrics in arms.items()
                        for metric, value in metrics.items()
                    ]
    return pd.DataFrame(rows)


def solved(study: ArchbenchSpec) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"task": name, "condition": test, "metric": solver, "value": value, "device": "CPU"}
            for name, task in study.tasks.items()
            for test in task.tests
            for solver, value in (
                ("floor", 0.5),
                ("ceiling", 1.0),
                *((("greedy", 0.9), ("alone", 0.6)) if task.kind == "knapsack" else ()),
            )
        ]
    )


def learned(study: ArchbenchSpec) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "task": task,
                "architecture": architecture,
                "local": "none",
                "seed": seed,
                "step": step,
                "accuracy": 0.5 + step / 300,
                "loss": 1.0,
            }
            for task in study.grid.tasks
            for architecture in study.grid.architectures
            for seed in range(SEEDS)
            for step in (50, 100)
        ]
    )


def timed(study: ArchbenchSpec) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "condition": f"{name}/T{length}",
                "seed": seed,
                "metric": "step_ms",
                "value": 10.0 + length / 64 + seed / 10,
                "device": "CPU",
            }
            for name in (*study.grid.architectures, AGAIN)
            for length in study.speed.lengths
            for seed in range(SEEDS)
        ]
    )


def piloted(study: ArchbenchSpec) -> pd.DataFrame:
    common = {"task": "mqar", "architecture": "rope", "local": "none", "seed": 100, "device": "CPU"}
    return pd.DataFrame(
        [
            common | {"condition": "lr-0.001-rung-0", "metric": "accuracy", "value": 0.4},
            common | {"condition": "lr-0.001-rung-0", "metric": "steps", "value": 100.0},
            common | {"condition": "chosen", "metric": "rate", "value": 0.001},
        ]
    )


@pytest.fixture(scope="module")
def folder(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the tables of every part as CSV files."""
    study, root = settings("archbench", "laptop"), tmp_path_factory.mktemp("archbench")
    known = solved(study)

    def put(part: str, name: str, table: pd.DataFrame) -> None:
        (root / part).mkdir(exist_ok=True)
        write_text(root / part / f"{name}.csv", table.to_csv(index=False))

    put("tests", "observations", known)
    for part, module in (
        ("grid", grid),
        ("factorial", factorial_study),
        ("vocabulary", vocabulary),
        ("difficulty", difficulty),
    ):
        table = observed(study, part)
        spec = study.step_spec(f"analyse_{part}", {})
        if part == "difficulty":
            # As at a scale that leaves a whole series out.
            table = table[~table["task"].str.startswith("knapsack")]
            kept = tuple(task for task in spec.tasks if not task.startswith("knapsack"))
            spec = spec.model_copy(update={"tasks": kept})
        put(part, "observations", table)
        put(part, "curves", learned(study))
        put(part, "statistics", module.analyse(table, known, spec))
    put("speed", "statistics", speed.analyse(timed(study), study.step_spec("analyse_speed", {})))
    put("rates", "observations", piloted(study))
    put("rates", "statistics", rates.analyse(piloted(study)))
    return root


def run(step: str, spec: Spec, **paths: Path) -> None:
    module = importlib.import_module(f"seqlab.studies.archbench.steps.{step}")
    getattr(module, step)(spec, **paths)


@pytest.mark.parametrize(
    ("part", "artefact"), [(part, name) for part, names in FIGURES.items() for name in names]
)
def test_a_figure_is_drawn(
    settings: Settings, folder: Path, tmp_path: Path, part: str, artefact: str
) -> None:
    study, step = settings("archbench", "laptop"), f"draw_{artefact}"
    outputs = {suffix: tmp_path / f"figure.{suffix}" for suffix in ("pdf", "png", "csv")}
    inputs = {"statistics": folder / part / "statistics.csv"}
    if part != "speed":
        inputs |= {name: folder / part / f"{name}.csv" for name in ("observations", "curves")}
        inputs["solvers"] = folder / "tests/observations.csv"
    run(step, study.step_spec(step, {"scale": "laptop"}), **inputs, **outputs)
    assert all(path.stat().st_size > 0 for path in outputs.values())
    assert len(pd.read_csv(outputs["csv"])) > 0


@pytest.mark.parametrize(
    ("part", "artefact"), [(part, name) for part, names in TABLES.items() for name in names]
)
def test_a_table_is_written(
    settings: Settings, folder: Path, tmp_path: Path, part: str, artefact: str
) -> None:
    study, step = settings("archbench", "laptop"), f"tabulate_{artefact}"
    outputs = {suffix: tmp_path / f"table.{suffix}" for suffix in ("csv", "md", "tex")}
    inputs = {name: folder / part / f"{name}.csv" for name in ("statistics", "observations")}
    run(step, study.step_spec(step, {"scale": "laptop"}), **inputs, **outputs)
    table = pd.read_csv(outputs["csv"], keep_default_na=False)
    assert len(table) > 0
    assert {"provenance", "device"} <= {*table}
    if "p_holm" in table:
        assert {"n", "verdict"} <= {*table}


def test_every_claim_has_the_rows_that_it_asks_for(folder: Path) -> None:
    claims = load_claims(ROOT / "config/claims/archbench.yaml")
    tables = {
        f"archbench/{part}/statistics.csv": read_table(folder / part / "statistics.csv")
        for part in FIGURES
    }
    for verdict in evaluate([claims], tables, {}, "paper"):
        analogue = verdict.analogue_of and "itself is judged" in verdict.reason
        assert analogue or verdict.rows or verdict.verdict == "not_evaluable", verdict
        assert verdict.verdict != "not_run" or analogue, verdict


def test_panels_of_glitches_come_by_length_and_share(settings: Settings, folder: Path) -> None:
    spec = settings("archbench", "laptop").step_spec("draw_glitches", {"scale": "laptop"})
    # As the step receives it: sorted JSON.
    labels = json.loads(spec.canonical())["labels"]["flip_flop"]
    data = drawn(read_table(folder / "grid/observations.csv"), labels)
    conditions = [*dict.fromkeys(data["condition"])]
    assert {*conditions} == {*labels}
    assert [labels[c] for c in conditions[:4]] == ["T64 p0.1", "T64 p0.8", "T64 p0.98", "T128 p0.8"]
    assert len(data) == len(conditions) * data["architecture"].nunique() * SEEDS
    clean = data["glitches"] == 0
    assert clean.any() and data["ceiling"][clean].to_numpy() == pytest.approx(3 / 500)
    assert data["ceiling"][~clean].isna().all()


def test_columns_of_perplexity_have_names_of_their_own(settings: Settings, folder: Path) -> None:
    spec = settings("archbench", "laptop").step_spec("draw_perplexity", {"scale": "laptop"})
    labels = spec.labels
    # Recall with uniform fillers has the short law of the training condition.
    assert labels["mqar"]["uniform"] == labels["mqar"]["trained"]
    data = perplexity.drawn(read_table(folder / "grid/statistics.csv"), spec.tasks, labels)
    columns = data[["task", "condition", "label"]].drop_duplicates()
    assert not columns.duplicated(["task", "label"]).any()
    assert "T64 kv8 uniform" in {*columns["label"]}


def test_hedges_g_is_written_beside_each_line_and_not_beyond_ten() -> None:
    rows = [
        {"model": name, "n": 5, "estimate": 0.1, "ci_low": 0.0, "ci_high": 0.2, "hedges_g": g}
        for name, g in (("lstm", -720.9), ("gru", 1.23), ("gla", np.nan))
    ]
    data = pd.DataFrame(rows).assign(task="mqar", verdict="higher", provenance="measured")
    (ax,) = effects.draw(data, scale="laptop").axes
    at = {text.xy[1]: text.get_text() for text in ax.texts if text.xy[0] > 1}
    names = [tick.get_text() for tick in ax.get_yticklabels()]
    places = dict(zip(names, ax.get_yticks(), strict=True))
    written = {name: at.get(y) for name, y in places.items()}
    assert written == {"LSTM": "< -10", "GRU": "+1.2", "GLA": ""}


def test_panels_of_effects_with_other_architectures_name_their_own() -> None:
    rows = [
        {"task": task, "model": name, "n": 5, "estimate": 0.1, "ci_low": 0.0, "ci_high": 0.2}
        for task, name in (("mqar", "lstm"), ("mqar", "gru"), ("knapsack", "gru"))
    ]
    data = pd.DataFrame(rows).assign(hedges_g=1.0, verdict="higher", provenance="measured")
    names = [
        [tick.get_text() for tick in ax.get_yticklabels()]
        for ax in effects.draw(data, scale="laptop").axes
    ]
    assert names == [["LSTM", "GRU"], ["GRU"]]


def test_survival_steps_down_where_runs_are_solved_and_marks_the_censored() -> None:
    at = {0: 100.0, 1: 300.0, 2: 300.0}
    rows = [
        {"task": "mqar", "architecture": "rope", "seed": seed, "condition": "training"}
        | {"metric": metric, "value": value}
        for seed in range(4)
        for metric, value in (("steps", 900.0), ("steps_to_90", at.get(seed, np.nan)))
    ]
    found = survival.drawn(pd.DataFrame(rows), ["mqar"])
    curve = found[found["kind"] == "curve"]
    assert curve["step"].tolist() == [0, 100, 300, 900, 900]
    assert curve["share"].tolist() == pytest.approx([1, 0.75, 0.25, 0.25, 0.25])
    censored = found[found["kind"] == "censored"]
    assert censored["step"].tolist() == [900] and censored["share"].tolist() == [0.25]
    assert (found["n"] == 4).all()


def test_survival_leaves_out_tasks_that_an_architecture_was_not_run_on() -> None:
    rows = [
        {"task": task, "architecture": name, "seed": 0, "condition": "training"}
        | {"metric": metric, "value": value}
        for task, name in (("mqar", "rope"), ("mqar", "lstm"), ("knapsack", "rope"))
        for metric, value in (("steps", 900.0), ("steps_to_90", np.nan))
    ]
    found = survival.drawn(pd.DataFrame(rows), ["mqar", "knapsack"])
    assert set(found.groupby(["task", "architecture"]).groups) == {
        ("mqar", "rope"),
        ("mqar", "lstm"),
        ("knapsack", "rope"),
    }


def test_intervals_are_called_what_they_cover() -> None:
    # Of a symmetric law: the mean is outside where all runs lie on one side of it.
    assert wording.interval_of_means(3) == "BCa CI, at most 75 %"
    assert wording.interval_of_means(5) == "BCa CI, at most 94 %"
    assert wording.interval_of_means(10) == "95 % BCa CI"
    assert wording.interval_of_means(1) == "one run, no CI"


def test_stars_of_the_affinities_are_tests_whatever_the_margin_says() -> None:
    row = {"task": "mqar", "n": 5, "ci_low": -0.01, "ci_high": 0.01, "estimate": 0.004}
    rows = [
        row | {"contrast": contrast, "model": model, "p_holm": p, "verdict": "equivalent"}
        for contrast, p_of in (("affinity", (np.nan, np.nan)), ("residual", (0.04, 0.06)))
        for model, p in zip(("lstm", "rope"), p_of, strict=True)
    ]
    figure = affinity.draw(affinity.drawn(pd.DataFrame(rows)), scale="ci")
    texts = [[text.get_text() for text in ax.texts[:2]] for ax in figure.axes[:2]]
    assert texts == [["0.00", "0.00"], ["0.00*", "0.00"]]


def test_panels_of_survival_are_in_the_order_of_the_other_figures(folder: Path) -> None:
    observed = read_table(folder / "grid/observations.csv")
    figure = survival.draw(survival.drawn(observed, ["knapsack", "flip_flop", "mqar"]), scale="ci")
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles == ["MQAR", "flip-flop", "knapsack"]


def test_lines_of_accuracy_are_those_of_the_names_beside_them() -> None:
    cells = (("mqar", "rope"), ("mqar", "gated_deltanet_drawn"), ("knapsack", "rope"))
    rows = [
        {"task": task, "architecture": name, "kind": kind, "value": 0.5, "n": 1}
        | {"ci_low": 0.4, "ci_high": 0.6}
        for task, name in cells
        for kind in ("run", "mean")
    ]
    first, second = accuracy.draw(pd.DataFrame(rows), scale="ci").axes
    assert [*first.get_yticks()] == [*second.get_yticks()] == [0, 1]
    assert first.get_ylim() == second.get_ylim()
    assert not [text for text in first.texts if text.get_text() == "not run"]
    (gap,) = [text for text in second.texts if text.get_text() == "not run"]
    assert gap.get_position()[1] == 1  # of Gated DeltaNet with drawn decays


def test_legends_name_what_any_panel_shows() -> None:
    cells = (("a", "rope"), ("b", "gated_deltanet_drawn"), ("b", "lstm"), ("b", "rope"))
    rows = [
        {"panel": panel, "architecture": name, "kind": "mean", "place": 0, "value": 0.5, "n": 3}
        | {"ci_low": 0.4, "ci_high": 0.6, "label": "T64"}
        for panel, name in cells
    ]
    (legend,) = transfer.draw(pd.DataFrame(rows), scale="ci").legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "LSTM",
        "RoPE",
        "Gated DeltaNet, drawn",
    ]


def test_perplexity_of_what_was_not_run_is_no_number() -> None:
    rows = [
        {"task": task, "condition": "trained", "label": task, "model": name, "n": 2}
        | {"estimate": 20.0 if name == "rope" else 1e5}
        for task, name in (("mqar", "rope"), ("mqar", "lstm"), ("knapsack", "rope"))
    ]
    (ax,) = perplexity.draw(pd.DataFrame(rows), scale="ci").axes
    shown = {text.xy: (text.get_text(), text.get_color()) for text in ax.texts if len(text.xy) == 2}
    assert shown[0, 0][0] == ">1e4" and shown[1, 1][0] == "20"
    assert shown[1, 0] == ("–", "black")

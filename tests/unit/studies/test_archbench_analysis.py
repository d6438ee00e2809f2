"""Statistics of the architecture benchmark on planted data, against statsmodels and by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from statsmodels.formula.api import ols

from seqlab.errors import UserError
from seqlab.stats import multiplicity
from seqlab.studies.archbench.analysis import (
    difficulty,
    factorial_study,
    grid,
    rates,
    speed,
    vocabulary,
)
from seqlab.studies.archbench.analysis.affinity import residuals
from seqlab.studies.archbench.analysis.frames import runs
from seqlab.studies.archbench.analysis.generalisation import half_level
from seqlab.studies.archbench.analysis.rows import STATISTICS
from seqlab.studies.archbench.architectures import AGAIN, NINE
from seqlab.studies.archbench.steps_spec import AnalyseSpec, LevelsSpec

TASKS = ("mqar", "flip_flop", "knapsack")
LOADS = {"kv4": 4, "trained": 8, "kv16": 16, "kv32": 32}
LEVELS = LevelsSpec(unit="pairs", trained={"mqar_half": 4, "mqar": 8}, tested=LOADS)
FLOORS = {"mqar": 0.125, "flip_flop": 0.5, "knapsack": 0.5}
SPEC = AnalyseSpec(
    tasks=TASKS,
    levels={"mqar": LEVELS},
    alpha=0.05,
    margin=0.02,
    glitch_margin=0.002,
    cost_margin=0.05,
    slope_margin=0.03,
    learned=0.5,
    seed=17,
)
SEEDS = 5
KNAPSACK_SOLVERS = {"knapsack": (("greedy", 0.9), ("alone", 0.65))}
# Mean accuracy of every architecture on every task.
PLANTED = {name: {"mqar": 0.6, "flip_flop": 0.9, "knapsack": 0.7} for name in NINE} | {
    "deltanet": {"mqar": 0.95, "flip_flop": 0.9, "knapsack": 0.7},
    "lstm": {"mqar": 0.2, "flip_flop": 1.0, "knapsack": 0.7},
    "gru": {"mqar": 0.2, "flip_flop": 1.0, "knapsack": 0.7},
}


def observations(noise: float = 0.01, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = []

    def add(task: str, name: str, condition: str, run: int, **metrics: float) -> None:
        local = "all" if name in ("deltanet", "gated_deltanet") else "none"
        rows.extend(
            {
                "task": task,
                "architecture": name,
                "local": local,
                "condition": condition,
                "seed": run,
                "metric": metric,
                "value": value,
                "provenance": "measured",
                "device": "CPU",
            }
            for metric, value in metrics.items()
        )

    for name, tasks in PLANTED.items():
        for task, accuracy in tasks.items():
            for run in range(SEEDS):
                reached = accuracy if accuracy == 1 else accuracy + noise * rng.normal()
                wrong = {"glitch_rate": 1 - reached} if task == "flip_flop" else {}
                add(task, name, "trained", run, accuracy=reached, nll=1.0, exact=reached, **wrong)
                if task == "mqar":
                    for condition, pairs in LOADS.items():
                        if condition != "trained":
                            lost = 1 / (1 + (pairs / 16) ** 2)
                            add(task, name, condition, run, accuracy=lost, nll=2.0, exact=lost)
                solved = {"steps_to_90": 100.0 + run} if reached >= 0.9 else {}
                cost = 10.0 if name == "gru" else 20.0
                add(
                    task, name, "training", run, compute_s=cost, steps=400, state_bytes=64, **solved
                )
    return pd.DataFrame(rows)


def solvers() -> pd.DataFrame:
    conditions = {(task, "trained") for task in TASKS}
    conditions |= {("mqar", condition) for condition in LOADS}
    return pd.DataFrame(
        [
            {
                "task": task,
                "condition": condition,
                "metric": metric,
                "value": value,
                "device": "CPU",
            }
            for task, condition in sorted(conditions)
            for metric, value in (
                ("floor", FLOORS[task]),
                ("ceiling", 1.0),
                *KNAPSACK_SOLVERS.get(task, ()),
            )
        ]
    )


@pytest.fixture(scope="module")
def found() -> pd.DataFrame:
    return grid.analyse(observations(), solvers(), SPEC)


def rows_of(found: pd.DataFrame, contrast: str, **where: object) -> pd.DataFrame:
    rows = found[found["contrast"] == contrast]
    for column, value in where.items():
        rows = rows[rows[column] == value]
    return rows


def test_accuracies_are_corrected_for_the_floor() -> None:
    table = runs(observations(noise=0), solvers())
    own = table[(table["task"] == "mqar") & (table["architecture"] == "deltanet")]
    home = own[own["condition"] == "trained"]
    assert home["corrected"].to_numpy() == pytest.approx((0.95 - 0.125) / 0.875)
    assert home["perplexity"].to_numpy() == pytest.approx(math.e)
    assert (home["compute_s"] == 20).all() and (home["steps_to_90"] >= 100).all()
    assert len(table) == len(NINE) * SEEDS * (3 + 3)


def test_means_have_intervals_and_say_who_solved(found: pd.DataFrame) -> None:
    assert list(found.columns) == STATISTICS
    deltanet = (
        rows_of(found, "mean", task="mqar", condition="trained", metric="accuracy")
        .set_index("model")
        .loc["deltanet"]
    )
    assert deltanet["ci_low"] < deltanet["estimate"] < deltanet["ci_high"]
    assert deltanet["share"] == 1.0
    still = rows_of(found, "mean", task="flip_flop", metric="accuracy", model="gru").iloc[0]
    assert still["verdict"] == "degenerate" and still["reason"] == "identical in every run"


def test_planted_pairs_are_found_and_equal_ones_are_not(found: pd.DataFrame) -> None:
    pairs = rows_of(found, "pair", task="mqar")
    assert len(pairs) == 36
    for _, row in pairs.iterrows():
        planted = PLANTED[row["treatment"]]["mqar"] - PLANTED[row["control"]]["mqar"]
        if planted:
            assert row["verdict"] == ("higher" if planted > 0 else "lower")
        else:
            assert row["verdict"] in ("inconclusive", "equivalent")
    raw = pairs["p_raw"].to_numpy()
    assert pairs["p_holm"].to_numpy() == pytest.approx(multiplicity.adjust(raw))
    both = rows_of(found, "pair", task="flip_flop", treatment="lstm", control="gru").iloc[0]
    # It has no test, and stays in the family: that must not shrink with the data.
    assert both["verdict"] == "degenerate" and both["hedges_g"] == 0
    assert both["p_raw"] == both["p_holm"] == 1


def test_holm_is_what_one_computes_by_hand(found: pd.DataFrame) -> None:
    raw = rows_of(found, "pair", task="flip_flop").sort_values("p_raw")
    assert len(raw) == 36
    largest = 0.0
    for place, (_, row) in enumerate(raw.iterrows()):
        largest = max(largest, min(1.0, row["p_raw"] * (len(raw) - place)))
        assert row["p_holm"] == pytest.approx(largest)


def test_exact_p_values_stand_beside_the_least_that_they_can_be(found: pd.DataFrame) -> None:
    row = rows_of(found, "pair", task="mqar", treatment="lstm", control="deltanet").iloc[0]
    # Complete separation of five and five: two of 252 splits are as far apart.
    assert row["p_exchange"] == row["exchange_floor"] == pytest.approx(2 / 252)


def test_variance_is_statsmodels(found: pd.DataFrame) -> None:
    table = runs(observations(), solvers())
    table = table[table["condition"] == "trained"]
    model = ols("corrected ~ C(architecture, Sum) * C(task, Sum)", table).fit()
    theirs = sm.stats.anova_lm(model, typ=2)
    ours = found[found["contrast"].str.startswith("anova")].set_index("contrast")
    names = {
        "anova_architecture": "C(architecture, Sum)",
        "anova_architecture_x_task": "C(architecture, Sum):C(task, Sum)",
    }
    residual = theirs.loc["Residual"]
    for own, name in names.items():
        assert ours.loc[own, "statistic"] == pytest.approx(theirs.loc[name, "F"], rel=1e-6)
        square = residual["sum_sq"] / residual["df"]
        omega = (theirs.loc[name, "sum_sq"] - theirs.loc[name, "df"] * square) / (
            theirs["sum_sq"].sum() + square
        )
        assert ours.loc[own, "omega_squared"] == pytest.approx(omega, rel=1e-6)
        assert ours.loc[own, "verdict"] == "difference"
    assert np.isnan(ours.loc["anova_task", "p_raw"])
    # LSTM and GRU are right in every run of one task: cells without variance.
    assert ours["p_hc3"].isna().all()


def test_residuals_sum_to_zero_and_show_what_was_planted(found: pd.DataFrame) -> None:
    table = rows_of(found, "residual").pivot_table(index="model", columns="task", values="estimate")
    assert table.sum(0).to_numpy() == pytest.approx(np.zeros(3), abs=1e-12)
    assert table.sum(1).to_numpy() == pytest.approx(np.zeros(9), abs=1e-12)
    cells = rows_of(found, "residual").set_index(["model", "task"])
    assert cells.loc[("deltanet", "mqar"), "verdict"] == "higher"
    assert cells.loc[("lstm", "mqar"), "verdict"] == "lower"
    drawn = np.random.default_rng(0).random((4, 9, 3))
    assert residuals(drawn).sum(-1) == pytest.approx(np.zeros((4, 9)))


def test_the_front_is_of_cost_and_accuracy(found: pd.DataFrame) -> None:
    front = rows_of(found, "front", task="flip_flop").set_index("model")
    assert front.loc["gru", "verdict"] == "on the front" and front.loc["gru", "estimate"] == 1.0
    assert front.loc["lstm", "verdict"] == "dominated"
    assert front.loc["gru", "rank"] == front.loc["lstm", "rank"] == 1.5


def test_unsolved_runs_are_censored(found: pd.DataFrame) -> None:
    solved = rows_of(found, "solved", task="mqar").set_index("model")
    assert solved.loc["deltanet", "verdict"] == "solved"
    assert solved.loc["deltanet", "median"] == 102.0
    assert solved.loc["rope", "verdict"] == "censored" and np.isnan(solved.loc["rope", "median"])
    tests = rows_of(found, "log_rank", task="mqar").set_index("model")
    assert tests.loc["gla", "verdict"] == "degenerate" and tests.loc["gla", "p_raw"] == 1
    # All five against none: nothing is further apart, and eight such tests still decide nothing.
    assert tests.loc["deltanet", "p_raw"] == tests.loc["deltanet", "exchange_floor"]
    assert tests.loc["deltanet", "p_holm"] == pytest.approx(8 * tests.loc["deltanet", "p_raw"])
    half = observations()
    steps = (half["metric"] == "steps_to_90") & (half["architecture"] == "deltanet")
    cut = half[~(steps & (half["task"] == "mqar") & half["seed"].isin([3, 4]))]
    mixed = rows_of(grid.analyse(cut, solvers(), SPEC), "solved", task="mqar", model="deltanet")
    # Of 100, 101, 102 and two censored runs the third is the median.
    assert mixed["median"].tolist() == [102.0] and mixed["verdict"].tolist() == ["mixed"]


def test_hypotheses_are_about_each_of_their_members(found: pd.DataFrame) -> None:
    recall = rows_of(found, "h1_recall").set_index(["treatment", "control"])
    assert len(recall) == 6 and (recall["n"] == SEEDS).all()
    assert recall.loc[("deltanet", "lstm"), "estimate"] == pytest.approx(0.75, abs=0.02)
    assert (recall["verdict"] == "higher").all()
    raw = recall["p_raw"].to_numpy()
    assert recall["p_holm"].to_numpy() == pytest.approx(multiplicity.adjust(raw))
    headline = rows_of(found, "headline")
    assert len(headline) == 8 and (headline["treatment"] == "deltanet").all()
    assert len(rows_of(found, "h3_knapsack")) == 14
    assert (rows_of(found, "h3_knapsack")["verdict"] != "higher").all()


def test_groups_are_held_against_each_transformer(found: pd.DataFrame) -> None:
    groups = rows_of(found, "h0_modern_match_attention", task="mqar").set_index("control")
    assert {*groups.index} == {"vanilla", "rope"}
    # The mean of 0.95 and four times 0.6.
    assert groups.loc["rope", "estimate"] == pytest.approx(0.07, abs=0.01)
    cost = rows_of(found, "h0_cost", task="mqar")
    assert cost["ratio"].to_numpy() == pytest.approx(1) and len(cost) == 2
    held = rows_of(found, "h2_flip_flop")
    assert {*held["treatment"]} == {"rwkv7", "gla", "rope"} and {*held["control"]} == {"vanilla"}
    assert (held["metric"] == "glitch_rate").all()
    front = rows_of(found, "front_of_group", task="flip_flop").set_index("model")
    # GRU is the cheapest, and right in every run.
    assert front.loc["recurrent", "estimate"] == 1.0 and front.loc["attention", "estimate"] == 0.0


def test_what_is_not_learned_yet_is_no_failure() -> None:
    rows = observations()
    on_recall = (rows["task"] == "mqar") & (rows["metric"] == "accuracy")
    slow = on_recall & rows["architecture"].isin(["gla", "retention", "vanilla"])
    rows.loc[slow & (rows["condition"] == "trained"), "value"] -= 0.45
    found = grid.analyse(rows, solvers(), SPEC)
    # A mean over some that have learned the task and some that have not says nothing of either.
    groups = rows_of(found, "h0_modern_match_attention").set_index(["task", "control"])["verdict"]
    assert (groups["mqar"] == "not_evaluable").all()
    assert not (groups["flip_flop"] == "not_evaluable").any()
    assert not (rows_of(found, "h0_cost")["verdict"] == "not_evaluable").any()
    recall = rows_of(found, "h1_recall").set_index(["treatment", "control"])
    neither = recall.loc[("retention", "lstm")]
    assert neither["verdict"] == "not_evaluable" and "not learned" in neither["reason"]
    assert recall.loc[("rope", "lstm"), "verdict"] == "higher"
    # Their tests stay in the family.
    raw = recall["p_raw"].to_numpy()
    assert recall["p_holm"].to_numpy() == pytest.approx(multiplicity.adjust(raw))


def test_who_is_cheap_and_has_learned_nothing_puts_no_group_on_the_front() -> None:
    rows = observations()
    cheap = (rows["architecture"] == "vanilla") & (rows["task"] == "flip_flop")
    rows.loc[cheap & (rows["metric"] == "compute_s"), "value"] = 1.0
    rows.loc[cheap & (rows["metric"] == "accuracy"), "value"] = 0.6
    found = grid.analyse(rows, solvers(), SPEC)
    own = rows_of(found, "front", task="flip_flop", model="vanilla").iloc[0]
    assert own["verdict"] == "on the front"
    group = rows_of(found, "front_of_group", task="flip_flop", model="attention").iloc[0]
    assert group["estimate"] == 0.0


def test_accuracies_are_held_against_solvers_with_simultaneous_intervals(
    found: pd.DataFrame,
) -> None:
    above = rows_of(found, "above_alone")
    assert len(above) == 9 and {*above["task"]} == {"knapsack"}
    assert above["estimate"].to_numpy() == pytest.approx(0.05, abs=0.02)
    below = rows_of(found, "above_greedy")
    assert (below["ci_high"] < 0).all() and (below["verdict"] == "lower").all()
    alone = rows_of(found, "mean", task="knapsack", metric="above_alone").set_index("model")
    wide = above.set_index("model").loc[alone.index]
    # One of nine may be picked by what it shows.
    assert (wide["ci_high"] - wide["ci_low"] > alone["ci_high"] - alone["ci_low"]).all()


def test_half_load_is_that_of_the_curve(found: pd.DataFrame) -> None:
    x = np.log2([4, 8, 16, 32, 64])
    y = 1 / (1 + np.exp(1.7 * (x - 4.2)))
    assert half_level(x, y) == pytest.approx(2**4.2, rel=1e-4)
    assert half_level(x, np.full(5, 0.99)) == math.inf and half_level(x, np.full(5, 0.1)) == 0
    assert half_level(x, 1 - y) == 0
    assert len(rows_of(found, "half_load")) == 9


def test_transfer_is_against_the_training_condition(found: pd.DataFrame) -> None:
    rows = rows_of(found, "transfer", task="mqar", model="deltanet")
    assert (
        set(rows["condition"]) == {"kv4", "kv16", "kv32"} and (rows["control"] == "trained").all()
    )
    assert (rows[rows["condition"] == "kv32"]["verdict"] == "lower").all()


def crossed(interaction: float, seed: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = []
    for name in ("rope", "deltanet"):
        for local in ("none", "all"):
            for run in range(5):
                gained = 0.5 * (local == "all")
                gained += interaction * (local == "all") * (name == "deltanet")
                value = 0.3 + gained + 0.01 * rng.normal()
                for condition, metric, found in (
                    ("trained", "accuracy", value),
                    ("trained", "nll", 1.0),
                    ("training", "compute_s", 3.0),
                    ("training", "steps", 100.0),
                ):
                    rows.append(
                        {
                            "task": "marked_mqar",
                            "architecture": name,
                            "local": local,
                            "condition": condition,
                            "seed": run,
                            "metric": metric,
                            "value": found,
                            "device": "CPU",
                        }
                    )
    return pd.DataFrame(rows)


@pytest.mark.parametrize("interaction", [0.0, 0.15])
def test_the_crossed_design_tells_convolution_from_mixer(interaction: float) -> None:
    known = pd.DataFrame(
        [
            {"task": "marked_mqar", "condition": "trained", "metric": name, "value": value}
            for name, value in (("floor", 1 / 6), ("ceiling", 1.0))
        ]
    )
    spec = SPEC.model_copy(update={"tasks": ("marked_mqar",), "levels": {}})
    found = factorial_study.analyse(crossed(interaction), known, spec)
    effects = rows_of(found, "convolution").set_index("model")
    assert (effects["verdict"] == "higher").all()
    assert effects.loc["rope", "estimate"] == pytest.approx(0.5, abs=0.03)
    row = rows_of(found, "interaction").iloc[0]
    assert row["estimate"] == pytest.approx(interaction, abs=0.03)
    assert (row["verdict"] == "higher") == bool(interaction)
    # What the original compared is convolution and mixer at once.
    assert rows_of(found, "mixer_confounded").iloc[0]["verdict"] == "higher"
    if not interaction:
        assert rows_of(found, "mixer_with").iloc[0]["verdict"] != "higher"
    # Without convolutions neither has learned the task.
    without = rows_of(found, "mixer_without").iloc[0]
    assert without["verdict"] == "not_evaluable" and "not learned" in without["reason"]
    # What neither has learned tells no mixers apart; the convolution's effect is what it is.
    lower = crossed(interaction)
    lower.loc[lower["metric"] == "accuracy", "value"] *= 0.3
    found = factorial_study.analyse(lower, known, spec)
    for contrast in ("interaction", "mixer_with", "mixer_without", "mixer_confounded"):
        assert rows_of(found, contrast)["verdict"].tolist() == ["not_evaluable"]
    assert (rows_of(found, "convolution")["verdict"] == "higher").all()


def test_costs_of_several_devices_are_refused() -> None:
    rows = observations()
    rows.loc[rows["seed"] == 2, "device"] = "another"
    with pytest.raises(UserError, match="2 devices"):
        grid.analyse(rows, solvers(), SPEC)
    timed = rows.assign(condition=rows["architecture"] + "/T64")
    with pytest.raises(UserError, match="2 devices"):
        speed.analyse(timed, SPEC)


def test_slopes_are_exponents_of_the_length() -> None:
    rng = np.random.default_rng(0)
    rows = [
        {
            "condition": f"{name}/T{length}",
            "seed": seed,
            "metric": "step_ms",
            "value": 10 * (length / 64) ** power * np.exp(0.01 * rng.normal()),
            "device": "CPU",
        }
        for name, power in (("rope", 0.6), ("deltanet", 0.0), (AGAIN, 0.6))
        for length in (64, 256, 1024)
        for seed in range(5)
    ]
    found = speed.analyse(pd.DataFrame(rows), SPEC.model_copy(update={"again": "rope"}))
    slopes = rows_of(found, "slope").set_index("model")
    assert slopes.loc["rope", "estimate"] == pytest.approx(0.6, abs=0.02)
    assert slopes.loc["rope", "verdict"] == "higher"
    assert slopes.loc["deltanet", "verdict"] in ("equivalent", "inconclusive")
    times = rows_of(found, "time")
    assert len(times) == 6 and (times["ci_low"] < times["ci_high"]).all()
    assert {*slopes.index} == {*times["model"]} == {"rope", "deltanet"}
    noise = rows_of(found, "aa")
    assert len(noise) == 3 and (noise["control"] == "rope").all()
    assert noise["estimate"].to_numpy() == pytest.approx(1, abs=0.03)
    # Two of deviation 0.01 differ by 0.014; t of 4 degrees of freedom, five runs: about 2 %.
    assert (noise["noise_limit"] > 0).all() and (noise["noise_limit"] < 0.06).all()
    # A slope within the margin is no equivalence where identical models differ by more.
    assert (slopes["noise_limit"] > 0).all()


def by_task(reached: dict[tuple[str, str], float], name: str = "rope") -> pd.DataFrame:
    """Return five runs per task and condition, of known accuracy with a little noise."""
    rng = np.random.default_rng(2)
    rows = []
    for (task, condition), accuracy in reached.items():
        for seed in range(5):
            value = accuracy + 0.005 * rng.normal()
            metrics = {"accuracy": value, "nll": 1.0, "legal_accuracy": value + 0.01}
            for arm, found in (
                (condition, metrics),
                ("training", {"steps": 9.0, "compute_s": 1.0}),
            ):
                rows += [
                    {
                        "task": task,
                        "architecture": name,
                        "local": "none",
                        "condition": arm,
                        "seed": seed,
                        "metric": metric,
                        "value": number,
                        "device": "CPU",
                    }
                    for metric, number in found.items()
                ]
    return pd.DataFrame(rows).drop_duplicates(["task", "condition", "seed", "metric"])


def floors(reached: dict[tuple[str, str], float]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"task": task, "condition": condition, "metric": metric, "value": value}
            for task, condition in reached
            for metric, value in (("floor", 0.0), ("ceiling", 1.0))
        ]
    )


THREE = LEVELS.model_copy(update={"trained": {"mqar_half": 4, "mqar": 8, "mqar_double": 16}})


def test_half_of_the_accuracy_is_lost_between_levels() -> None:
    spec = SPEC.model_copy(update={"levels": {"mqar": THREE}})
    reached = {
        ("mqar_half", "trained"): 0.98,
        ("mqar", "trained"): 0.5,
        ("mqar_double", "trained"): 0.02,
    }
    found = difficulty.analyse(by_task(reached), floors(reached), spec)
    row = rows_of(found, "half_level").iloc[0]
    assert row["estimate"] == pytest.approx(8, rel=0.02)
    assert row["ci_low"] < row["estimate"] < row["ci_high"] and row["verdict"] == "described"
    flat = dict.fromkeys(reached, 0.95)
    row = rows_of(difficulty.analyse(by_task(flat), floors(flat), spec), "half_level").iloc[0]
    assert row["verdict"] == "censored" and np.isnan(row["estimate"])


def test_resamples_beyond_the_levels_open_the_interval() -> None:
    spec = SPEC.model_copy(update={"levels": {"mqar": THREE}})
    reached = {
        ("mqar_half", "trained"): 0.9,
        ("mqar", "trained"): 0.7,
        ("mqar_double", "trained"): 0.3,
    }
    table = by_task(reached)
    # One of five runs loses nothing: a quarter of the resamples have it twice, and cross nowhere.
    spared = (table["seed"] == 0) & (table["metric"] == "accuracy")
    table.loc[spared, "value"] = 0.95
    row = rows_of(difficulty.analyse(table, floors(reached), spec), "half_level").iloc[0]
    assert row["verdict"] == "described" and row["ci_high"] == math.inf
    assert 8 < row["estimate"] < 24 and 0.5 < row["share"] < 0.9


def test_two_levels_are_no_curve() -> None:
    reached = {("mqar_half", "trained"): 0.9, ("mqar", "trained"): 0.1}
    found = difficulty.analyse(by_task(reached), floors(reached), SPEC)
    row = rows_of(found, "half_level").iloc[0]
    assert row["verdict"] == "not_run" and "2 levels" in row["reason"]


def test_architectures_that_were_not_run_are_listed() -> None:
    reached = {("mqar", "trained"): 0.9}
    spec = SPEC.model_copy(update={"wanted": ("lstm", "rope"), "levels": {}})
    found = difficulty.analyse(by_task(reached), floors(reached), spec)
    missing = found[found["verdict"] == "not_run"]
    assert missing["model"].tolist() == ["lstm"] and missing["n"].tolist() == [0]


def test_what_was_not_learned_cannot_be_lost() -> None:
    reached = {("mqar_frozen", "trained"): 0.3, ("mqar_frozen", "unseen"): 0.3}
    spec = SPEC.model_copy(update={"tasks": ("mqar_frozen",), "levels": {}})
    found = vocabulary.analyse(by_task(reached), floors(reached), spec)
    row = rows_of(found, "transfer").iloc[0]
    assert row["verdict"] == "not_evaluable" and row["reason"].startswith("not learned: 0.30")


def test_unseen_ids_and_embeddings_are_compared() -> None:
    reached = {
        ("mqar_frozen", "trained"): 0.95,
        ("mqar_frozen", "unseen"): 0.9,
        ("mqar_learned", "trained"): 0.95,
        ("mqar_learned", "unseen"): 0.1,
    }
    spec = SPEC.model_copy(update={"tasks": ("mqar_frozen", "mqar_learned"), "levels": {}})
    found = vocabulary.analyse(by_task(reached), floors(reached), spec)
    lost = rows_of(found, "transfer", condition="unseen").set_index("task")
    assert lost["estimate"].to_dict() == pytest.approx(
        {"mqar_frozen": -0.05, "mqar_learned": -0.85}, abs=0.02
    )
    assert (lost["verdict"] == "lower").all()
    both = rows_of(found, "embeddings").set_index("condition")
    assert both.loc["unseen", "estimate"] == pytest.approx(0.8, abs=0.02)
    assert both.loc["unseen", "verdict"] == "higher"
    assert both.loc["trained", "verdict"] in ("equivalent", "inconclusive")
    legal = rows_of(found, "mean", metric="legal_accuracy", condition="unseen")
    assert len(legal) == 2


@pytest.mark.parametrize(
    ("chosen", "other", "verdict"),
    [
        (0.001, 0.3, ""),
        (0.01, 0.3, "at the edge"),
        (0.001, 0.39, "by loss"),
        (0.01, 0.39, "at the edge, by loss"),
    ],
)
def test_trials_of_a_pilot_are_listed_with_what_was_chosen(
    chosen: float, other: float, verdict: str
) -> None:
    common = {"task": "mqar", "architecture": "rope", "local": "none", "seed": 100, "device": "CPU"}
    rows = [
        {"condition": "lr-0.001-rung-0", "metric": "accuracy", "value": 0.4},
        {"condition": "lr-0.001-rung-0", "metric": "steps", "value": 100.0},
        {"condition": "lr-0.0001-rung-0", "metric": "accuracy", "value": np.nan},
        {"condition": "lr-0.01-rung-0", "metric": "accuracy", "value": 0.2},
        {"condition": "lr-0.01-rung-0", "metric": "steps", "value": 100.0},
        {"condition": "lr-0.001-rung-1", "metric": "accuracy", "value": 0.4},
        {"condition": "lr-0.001-rung-1", "metric": "steps", "value": 200.0},
        {"condition": "lr-0.01-rung-1", "metric": "accuracy", "value": other},
        {"condition": "lr-0.01-rung-1", "metric": "steps", "value": 200.0},
        {"condition": "chosen", "metric": "rate", "value": chosen},
    ]
    found = rates.analyse(pd.DataFrame([common | row for row in rows]))
    trials = rows_of(found, "trial").set_index("condition")
    assert trials.loc["lr-0.001-rung-0", ["estimate", "steps"]].tolist() == [0.4, 100.0]
    assert trials.loc["lr-0.0001-rung-0", "verdict"] == "diverged"
    assert rows_of(found, "chosen")[["estimate", "verdict"]].to_numpy().tolist() == [
        [chosen, verdict]
    ]

"""Tables of the architecture benchmark: rows of the statistics, in words and print order."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from seqlab.plots.words import verdict_word
from seqlab.studies.archbench import wording
from seqlab.studies.archbench.analysis.frames import (
    ABOVE_ALONE,
    ABOVE_GREEDY,
    CORRECTED,
    GLITCH_RATE,
)
from seqlab.studies.archbench.analysis.hypotheses import HYPOTHESES
from seqlab.studies.archbench.tasks_spec import TRAINED

# Task -> condition -> its law in short.
Labels = Mapping[str, Mapping[str, str]]

_PAIR = ("estimate", "ci_low", "ci_high", "p_raw", "p_holm")
# Measures of answers to whole knapsacks -> their headers.
_KNAPSACK = {
    "item_f1": "item F1",
    "exact": "exact set",
    "value_exact": "exact value",
    "value_error": "error of the value",
    "value_ratio": "value of the set",
    "infeasible": "infeasible sets",
    ABOVE_ALONE: "above items alone",
    ABOVE_GREEDY: "above greedy",
}
# Exact p of what is paired, and the least that it can be with so many runs.
_EXACT = ("p_signflip", "signflip_floor")


def summary(statistics: pd.DataFrame, labels: Labels) -> pd.DataFrame:
    """Return one row per task, condition and architecture: what it reached, and what it took."""
    means = statistics[statistics["contrast"] == "mean"]
    front = statistics[statistics["contrast"] == "front"]
    together = statistics[statistics["contrast"] == "front_of_group"]
    groups = {
        (row["task"], row["condition"], name): row["estimate"]
        for _, row in together.iterrows()
        for name in row["treatment"].split("+")
    }
    rows = []
    for (task, condition, name, treatment), part in means.groupby(
        ["task", "condition", "model", "treatment"], sort=False
    ):
        by = part.set_index("metric")
        accuracy = by.loc["accuracy"]
        own = front[
            (front["task"] == task) & (front["condition"] == condition) & (front["model"] == name)
        ]
        rows.append(
            {
                "task": wording.task(task),
                "condition": labels[task][condition],
                "architecture": wording.architecture(name),
                "local mixing": treatment.rpartition("-")[2],
                "n": accuracy["n"],
                "accuracy": accuracy["estimate"],
                "ci_low": accuracy["ci_low"],
                "ci_high": accuracy["ci_high"],
                "sd": accuracy["sd"],
                "median": accuracy["median"],
                "least": accuracy["least"],
                "most": accuracy["most"],
                "above floor": by.loc["corrected", "estimate"],
                "runs at 0.9 or more": accuracy["share"],
                "glitch rate": by["estimate"].get(GLITCH_RATE, math.nan),
                "most glitches": by["most"].get(GLITCH_RATE, math.nan),
                "perplexity": by.loc["perplexity", "estimate"],
                "training s": by.loc["compute_s", "estimate"],
                "rank": own["rank"].iloc[0] if len(own) else math.nan,
                "front": own["verdict"].iloc[0] if len(own) else "",
                "P(front)": own["estimate"].iloc[0] if len(own) else math.nan,
                "P(its group on the front)": groups.get((task, condition, name), math.nan),
                "provenance": "measured",
                "device": accuracy["device"],
            }
        )
    return pd.DataFrame(rows)


def variance(statistics: pd.DataFrame) -> pd.DataFrame:
    """Return the analysis of variance, the planned contrasts, and accuracies above solvers."""
    planned = [plan.name for plan in HYPOTHESES]
    wanted = statistics["contrast"].str.startswith("anova") | statistics["contrast"].isin(
        [*planned, ABOVE_ALONE, ABOVE_GREEDY]
    )
    rows = statistics[wanted]
    shares = rows["contrast"].str.startswith("anova")
    logs = rows["test"].fillna("").str.contains("log ratios")
    what = rows["metric"].map({"compute_s": "seconds of training", GLITCH_RATE: "glitch rates"})
    what = "difference of " + what.fillna("accuracies")
    what = what.where(~logs, "log ratio of seconds of training").where(
        ~shares, "partial eta squared"
    )
    columns = ("task", "condition", "contrast", "treatment", "control", "estimate of")
    extra = ("statistic", "omega_squared", "p_hc3", *_EXACT)
    return _tested(rows.assign(**{"estimate of": what}), columns, extra)


def pairs(statistics: pd.DataFrame) -> pd.DataFrame:
    """Return every pair of architectures on every task."""
    rows = statistics[statistics["contrast"] == "pair"]
    extra = ("hedges_g", "cliffs_delta", "p_exchange", "exchange_floor")
    return _tested(rows, ("task", "treatment", "control"), extra)


def affinity(statistics: pd.DataFrame) -> pd.DataFrame:
    """Return accuracies above the floor, interactions, specialisation and rank correlations."""
    wanted = ("affinity", "residual", "specialisation", "rank_correlation")
    rows = statistics[statistics["contrast"].isin(wanted)]
    return _tested(rows, ("contrast", "task", "treatment", "control"), _EXACT)


def transfer(statistics: pd.DataFrame, labels: Labels) -> pd.DataFrame:
    """Return accuracy above the floor under other conditions minus that of their references."""
    rows = statistics[statistics["contrast"] == "transfer"]
    laws = [labels[t][c] for t, c in zip(rows["task"], rows["condition"], strict=True)]
    columns = ("task", "condition", "law", "treatment", "control")
    return _tested(rows.assign(law=laws), columns, _EXACT)


def distance(statistics: pd.DataFrame, labels: Labels) -> pd.DataFrame:
    """Return accuracy on the farthest tenth of the queries minus that on the nearest."""
    rows = statistics[statistics["contrast"] == "far_and_near"]
    laws = [labels[t][c] for t, c in zip(rows["task"], rows["condition"], strict=True)]
    return _tested(rows.assign(law=laws), ("task", "condition", "law", "treatment"), _EXACT)


def vocabulary(statistics: pd.DataFrame) -> pd.DataFrame:
    """Return what other ids cost each model, and what the treatment of embeddings changes."""
    rows = statistics[statistics["contrast"].isin(["transfer", "embeddings"])]
    columns = ("contrast", "task", "condition", "treatment", "control", "metric")
    return _tested(rows, columns, _EXACT)


def difficulty(statistics: pd.DataFrame) -> pd.DataFrame:
    """Return accuracies above the floor of models trained at each level, and half levels."""
    means = (
        (statistics["contrast"] == "mean")
        & (statistics["metric"] == CORRECTED)
        & (statistics["condition"] == TRAINED)
    )
    rows = statistics[means | (statistics["contrast"] == "half_level")]
    return _tested(rows, ("contrast", "task", "treatment"), ("share",))


def rates(statistics: pd.DataFrame) -> pd.DataFrame:
    """Return every trial of every pilot, and what was chosen."""
    found = pd.DataFrame(
        {
            "task": statistics["task"].map(wording.task),
            "variant": statistics["treatment"],
            "trial": statistics["condition"],
            "steps": statistics["steps"],
            "accuracy": statistics["estimate"].where(statistics["metric"] == "accuracy"),
            "learning rate": statistics["estimate"].where(statistics["metric"] == "rate"),
            "verdict": statistics["verdict"].fillna(""),
            "n": statistics["n"],
            "provenance": statistics["provenance"],
            "device": statistics["device"],
        }
    )
    return found.reset_index(drop=True)


def convergence(statistics: pd.DataFrame) -> pd.DataFrame:
    """Return how many runs solved a task and after how many steps; the rest is censored."""
    solved = statistics[statistics["contrast"] == "solved"]
    ranks = statistics[statistics["contrast"] == "log_rank"]
    rows = []
    for _, row in solved.iterrows():
        own = ranks[(ranks["task"] == row["task"]) & (ranks["treatment"] == row["treatment"])]
        rows.append(
            {
                "task": wording.task(row["task"]),
                "architecture": wording.architecture(row["model"]),
                "runs": row["n"],
                "solved": row["estimate"],
                "median step": row["median"],
                "verdict": row["verdict"],
                "log-rank p (Holm)": own["p_holm"].iloc[0] if len(own) else math.nan,
                "least p of so many runs": own["exchange_floor"].iloc[0] if len(own) else math.nan,
                "against": wording.architecture(own["control"].iloc[0]) if len(own) else "",
                "log-rank verdict": verdict_word(own["verdict"].iloc[0]) if len(own) else "",
                "provenance": "measured",
                "device": row["device"],
            }
        )
    return pd.DataFrame(rows)


def half_load(statistics: pd.DataFrame) -> pd.DataFrame:
    """Return the load at which half of the accuracy above the floor is gone."""
    rows = statistics[statistics["contrast"] == "half_load"]
    return _tested(rows, ("task", "treatment"), ("share",))


def factorial(statistics: pd.DataFrame) -> pd.DataFrame:
    """Return means above the floor, effects of the convolution and the mixers, interactions."""
    kinds = ("convolution", "interaction", "mixer_confounded", "mixer_with", "mixer_without")
    means = (statistics["contrast"] == "mean") & (statistics["metric"] == CORRECTED)
    rows = statistics[means | statistics["contrast"].isin(kinds)]
    return _tested(rows, ("task", "contrast", "treatment", "control", "metric"), _EXACT)


def knapsack(statistics: pd.DataFrame, labels: Labels) -> pd.DataFrame:
    """Return what architectures make of knapsacks as wholes, one row per condition and model."""
    rows = statistics[
        (statistics["contrast"] == "mean") & statistics["metric"].isin([*_KNAPSACK, "accuracy"])
    ]
    rows = rows[rows["task"] == "knapsack"]
    found = []
    for (condition, name), part in rows.groupby(["condition", "model"], sort=False):
        by = part.set_index("metric")["estimate"]
        found.append(
            {
                "condition": condition,
                "law": labels["knapsack"][condition],
                "architecture": wording.architecture(name),
                "n": part["n"].max(),
                "accuracy": by["accuracy"],
                **{title: by.get(metric, math.nan) for metric, title in _KNAPSACK.items()},
                "provenance": "measured",
                "device": part["device"].iloc[0],
            }
        )
    return pd.DataFrame(found)


def solvers(statistics: pd.DataFrame, labels: Labels) -> pd.DataFrame:
    """Return what those reach who need no training, one row per condition."""
    rows = statistics[statistics["contrast"] == "solver"]
    wide = rows.pivot_table(index=["task", "condition"], columns="model", values="estimate")
    found = wide.reset_index().rename_axis(columns=None)
    laws = [labels[t][c] for t, c in zip(found["task"], found["condition"], strict=True)]
    found.insert(2, "law", laws)
    found["task"] = found["task"].map(wording.task)
    return found.assign(provenance="counted", device=rows["device"].iloc[0])


def sizes(observations: pd.DataFrame) -> pd.DataFrame:
    """Return parameters, state, learning rate and mean steps per task and architecture."""
    rows = observations[observations["condition"] == "training"]
    wide = rows.pivot_table(index=["task", "architecture"], columns="metric", values="value")
    shown = {
        "parameters": "parameters",
        "non_embedding_parameters": "without embeddings",
        "state_bytes": "state, bytes",
        "rate": "learning rate",
        "steps": "steps",
    }
    found = wide[[*shown]].rename(columns=shown).reset_index()
    order = found["architecture"].map(wording.ORDER.index)
    found = found.assign(order=order).sort_values(["task", "order"]).drop(columns="order")
    found["task"] = found["task"].map(wording.task)
    found["architecture"] = found["architecture"].map(wording.architecture)
    return found.assign(provenance="counted", device=rows["device"].iloc[0])


def _tested(rows: pd.DataFrame, labels: Sequence[str], extra: Sequence[str] = ()) -> pd.DataFrame:
    """Return labels in words, estimates with intervals, and verdicts."""
    found = rows[[*labels, "n", *_PAIR[:3], *extra, *_PAIR[3:], "test", "verdict", "reason"]].copy()
    if "task" in found:
        found["task"] = found["task"].map(wording.task)
    found["verdict"] = found["verdict"].map(lambda text: "" if text != text else verdict_word(text))
    return found.assign(provenance=rows["provenance"], device=rows["device"]).fillna(
        {"reason": "", "test": "", **{name: "" for name in labels}}
    )

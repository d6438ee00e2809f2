"""Architectures against each other and against solvers: pairs, hypotheses, two ways of variance."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from seqlab.stats import multiplicity
from seqlab.stats.anova import permutation_p, two_way
from seqlab.stats.contrast import (
    DEGENERATE,
    INCONCLUSIVE,
    Contrast,
    independent_contrast,
    paired_contrast,
)
from seqlab.stats.independent import exchange_test
from seqlab.stats.robust import two_way_robust_p
from seqlab.studies.archbench.analysis.frames import CORRECTED, Row, trained_runs
from seqlab.studies.archbench.analysis.generalisation import unless_learned
from seqlab.studies.archbench.analysis.hypotheses import Group, Planned
from seqlab.studies.archbench.analysis.means import columns_of
from seqlab.studies.archbench.analysis.rows import contrast_row, correct_whole_family
from seqlab.studies.archbench.tasks_spec import TRAINED

_PERMUTATIONS = 5000
DIFFERENCE = "difference"


def pair_rows(
    found: pd.DataFrame,
    tasks: Sequence[str],
    names: Sequence[str],
    *,
    item: str,
    alpha: float,
    margin: float,
    seed: int,
) -> Iterator[Row]:
    """Yield Welch's test of every pair of architectures, Holm over the pairs of a task.

    Pairs without a test, as of one number in every run, stay in the family with a p of 1: it must
    not shrink with the data. `p_exchange` is that of all splits of the runs, `exchange_floor` the
    least it can be.
    """
    rng = np.random.default_rng(seed)
    for task in tasks:
        part = trained_runs(found, task)
        wide = columns_of(part, "accuracy", names)
        pairs = list(combinations(wide.columns, 2))
        both = [
            independent_contrast(wide[a].to_numpy(), wide[b].to_numpy(), margin=margin, alpha=alpha)
            for a, b in pairs
        ]
        corrected = correct_whole_family([contrast for contrast, _ in both])
        for (a, b), contrast, (_, test) in zip(pairs, corrected, both, strict=True):
            exchange = exchange_test(wide[a].to_numpy(), wide[b].to_numpy(), rng)
            yield contrast_row(
                contrast,
                item=item,
                contrast="pair",
                task=task,
                condition=TRAINED,
                model=a,
                treatment=a,
                control=b,
                metric="accuracy",
                provenance="measured",
                device=part["device"].iloc[0],
                hedges_g=test.hedges_g,
                cliffs_delta=test.cliffs_delta,
                p_exchange=exchange.p,
                exchange_floor=exchange.floor,
            )


def planned_rows(
    found: pd.DataFrame,
    tasks: Sequence[str],
    planned: Sequence[Planned],
    *,
    item: str,
    alpha: float,
    margins: Mapping[str, float],
    learned: float,
) -> Iterator[Row]:
    """Yield the planned contrasts, paired by seed: one stream of training data for all.

    Accuracies are those after the steps of the task, within which a task may not be learned *yet*.
    Where neither of two has learned it nothing tells them apart, and a mean over several of which
    some have not says how many had by then: such rows are not evaluable.

    Args:
        found: Runs.
        tasks: Tasks that were run.
        planned: Hypotheses; members of architectures that were not run are left out.
        item: Item of the rows.
        alpha: Level of the tests.
        margins: Metric -> equivalence margin.
        learned: Least mean accuracy above the floor of an architecture that has learned a task.
    """
    for plan in planned:
        rows = []
        for task in plan.tasks or tasks:
            for condition in plan.conditions:
                part = found[(found["task"] == task) & (found["condition"] == condition)]
                if part.empty or plan.metric not in part:
                    continue
                wide = part.pivot_table(index="seed", columns="architecture", values=plan.metric)
                reached = part.groupby("architecture")[CORRECTED].mean()
                labels = {
                    "task": task,
                    "condition": condition,
                    "metric": plan.metric,
                    "device": part["device"].iloc[0],
                }
                for members in plan.members:
                    if {*members[0], *members[1]} <= {*wide.columns}:
                        contrast = _planned(wide, members, plan, margins[plan.metric], alpha)
                        unlearned = _unless_learned(reached, members, plan, learned)
                        rows.append((labels, members, unlearned, contrast))
        corrected = correct_whole_family([contrast for *_, contrast in rows])
        for (labels, (treatment, control), unlearned, _), contrast in zip(
            rows, corrected, strict=True
        ):
            row = contrast_row(
                contrast,
                **labels,
                item=item,
                contrast=plan.name,
                model="+".join(treatment),
                treatment="+".join(treatment),
                control="+".join(control),
                provenance="measured",
            )
            yield row | unlearned


def _unless_learned(
    reached: pd.Series, members: tuple[Group, Group], plan: Planned, learned: float
) -> Row:
    """Return the verdict of a row about accuracies that no learning separates, or nothing."""
    if plan.metric != "accuracy":
        return {}
    # Of two architectures the better one has to have learned the task, of a group each.
    sides = [reached[list(group)] for group in members]
    groups = [float(side.min()) for side in sides if len(side) > 1]
    return unless_learned(min(groups or [max(float(side.max()) for side in sides)]), learned)


def _planned(
    wide: pd.DataFrame, members: tuple[Group, Group], plan: Planned, margin: float, alpha: float
) -> Contrast:
    """Return one member: mean of the treatments against mean of the controls, by seed."""
    values = np.log(wide) if plan.logs else wide
    sides = [values[list(group)].mean(axis=1).to_numpy() for group in members]
    if plan.logs:
        sides = [np.exp(side) for side in sides]
    return paired_contrast(
        *sides, scale="log_ratio" if plan.logs else "difference", margin=margin, alpha=alpha
    )


def solver_contrast_rows(
    found: pd.DataFrame,
    names: Sequence[str],
    metrics: Sequence[str],
    *,
    item: str,
    alpha: float,
    margin: float,
) -> Iterator[Row]:
    """Yield accuracy minus that of a solver on the same sequences, by architecture.

    Intervals are simultaneous (Bonferroni over the architectures), so that one of them may be
    picked by what it shows.

    Args:
        found: Runs under the training condition.
        names: Architectures.
        metrics: Columns of such differences, such as `above_greedy`.
        item: Item of the rows.
        alpha: Level of the family.
        margin: Equivalence margin of an accuracy.
    """
    for metric in metrics:
        if metric not in found:
            continue
        for task, part in found.dropna(subset=metric).groupby("task", sort=False):
            wide = columns_of(part, metric, names)
            for name in wide.columns:
                contrast = paired_contrast(
                    wide[name].to_numpy(),
                    np.zeros(len(wide)),
                    margin=margin,
                    alpha=alpha / len(wide.columns),
                )
                row = contrast_row(
                    contrast,
                    item=item,
                    contrast=metric,
                    task=task,
                    condition=TRAINED,
                    model=name,
                    treatment=name,
                    control=metric.removeprefix("above_"),
                    metric="accuracy",
                    provenance="measured",
                    device=part["device"].iloc[0],
                )
                count = len(wide.columns)
                yield row | {
                    "p_bonferroni": min(1.0, count * contrast.p_raw),
                    "reason": f"{contrast.reason}; level and interval divided by {count}",
                }


def variance_rows(
    found: pd.DataFrame,
    tasks: Sequence[str],
    names: Sequence[str],
    *,
    item: str,
    alpha: float,
    seed: int,
) -> Iterator[Row]:
    """Yield architecture, task and interaction: F of type II, and p of permuted labels.

    Accuracies near a floor or a ceiling are neither normal nor of one variance: the permutation of
    architectures within task and seed is the test, F its statistic. That of the architecture asks
    whether it matters on any task. The estimate is the partial eta squared. Tasks differ in kind,
    so that only architecture and interaction are permuted. `p_hc3` is that of a Wald test which
    allows a variance to each cell; there is none where a cell has no variance.
    """
    part = pd.concat([trained_runs(found, task) for task in tasks])
    part = part[part["architecture"].isin(names)]
    labels = {
        "item": item,
        "condition": TRAINED,
        "model": "",
        "metric": CORRECTED,
        "provenance": "measured",
        "device": part["device"].iloc[0],
        "n": len(part),
    }
    values = part[CORRECTED].to_numpy(dtype=float)
    architecture, task = part["architecture"].to_numpy(), part["task"].to_numpy()
    try:
        anova = two_way(values, architecture, task, names=("architecture", "task"), log=False)
    except ValueError as error:
        yield labels | {"contrast": "anova", "verdict": DEGENERATE, "reason": str(error)}
        return
    raw = permutation_p(
        values,
        architecture,
        task,
        rng=np.random.default_rng(seed),
        permutations=_PERMUTATIONS,
        blocks=part["seed"].to_numpy(),
    )
    mean_square = anova.residual_sum_sq / anova.residual_df
    total = anova.residual_sum_sq + sum(effect.sum_sq for effect in anova.effects)
    holm = multiplicity.adjust(raw)
    robust = two_way_robust_p(values, architecture, task)
    for effect, p, corrected, hc3 in zip(anova.effects, raw, holm, robust, strict=True):
        omega = (effect.sum_sq - effect.df * mean_square) / (total + mean_square)
        decided = DIFFERENCE if corrected <= alpha else INCONCLUSIVE
        yield labels | {
            "contrast": f"anova_{effect.name.replace(' ', '_')}",
            "task": "all",
            "test": f"{_PERMUTATIONS} permutations within task and seed of "
            f"F({effect.df}, {anova.residual_df})",
            "estimate": effect.eta_sq_partial,
            "omega_squared": omega,
            "statistic": effect.f,
            "p_raw": p,
            "p_holm": float(corrected),
            "p_hc3": float(hc3),
            "verdict": "described" if math.isnan(p) else decided,
            "reason": "tasks differ in kind" if math.isnan(p) else f"F = {effect.f:.3g}",
        }

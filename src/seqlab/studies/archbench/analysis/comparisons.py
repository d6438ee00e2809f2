"""Architectures against each other: pairs, planned groups, and two ways of variance."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from seqlab.stats import multiplicity
from seqlab.stats.anova import permutation_p, two_way
from seqlab.stats.contrast import (
    DEGENERATE,
    INCONCLUSIVE,
    correct_family,
    independent_contrast,
    paired_contrast,
)
from seqlab.stats.robust import two_way_robust_p
from seqlab.studies.archbench.analysis.frames import CORRECTED, Row, contrast_row, trained_runs
from seqlab.studies.archbench.analysis.means import columns_of
from seqlab.studies.archbench.tasks_spec import TRAINED

_PERMUTATIONS = 5000
DIFFERENCE = "difference"


@dataclass(frozen=True)
class Planned:
    """A hypothesis of the study, stated before the data.

    Attributes:
        name: Of the contrast.
        task: Where it is tested; None for every task, each on its own.
        treatment: Architectures whose mean is expected to be higher.
        control: Architectures that it is held against.
    """

    name: str
    task: str | None
    treatment: tuple[str, ...]
    control: tuple[str, ...]


def pair_rows(
    found: pd.DataFrame,
    tasks: Sequence[str],
    names: Sequence[str],
    *,
    item: str,
    alpha: float,
    margin: float,
) -> Iterator[Row]:
    """Yield Welch's test of every pair of architectures, Holm over the pairs of a task."""
    for task in tasks:
        part = trained_runs(found, task)
        wide = columns_of(part, "accuracy", names)
        pairs = list(combinations(wide.columns, 2))
        both = [
            independent_contrast(wide[a].to_numpy(), wide[b].to_numpy(), margin=margin, alpha=alpha)
            for a, b in pairs
        ]
        corrected = correct_family([contrast for contrast, _ in both])
        for (a, b), contrast, (_, test) in zip(pairs, corrected, both, strict=True):
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
            )


def planned_rows(
    found: pd.DataFrame,
    tasks: Sequence[str],
    planned: Sequence[Planned],
    *,
    item: str,
    alpha: float,
    margin: float,
) -> Iterator[Row]:
    """Yield the planned contrasts, paired by seed: one stream of training data for all.

    The family are the tests of one hypothesis.
    """
    for plan in planned:
        members = []
        for task in tasks:
            if plan.task not in (None, task):
                continue
            part = trained_runs(found, task)
            wide = part.pivot_table(index="seed", columns="architecture", values="accuracy")
            if not {*plan.treatment, *plan.control} <= {*wide.columns}:
                continue
            treatment = wide[list(plan.treatment)].mean(axis=1)
            control = wide[list(plan.control)].mean(axis=1)
            contrast = paired_contrast(
                treatment.to_numpy(), control.to_numpy(), margin=margin, alpha=alpha
            )
            members.append((task, part["device"].iloc[0], contrast))
        corrected = correct_family([contrast for *_, contrast in members])
        for (task, device, _), contrast in zip(members, corrected, strict=True):
            yield contrast_row(
                contrast,
                item=item,
                contrast=plan.name,
                task=task,
                condition=TRAINED,
                model="",
                treatment="+".join(plan.treatment),
                control="+".join(plan.control),
                metric="accuracy",
                provenance="measured",
                device=device,
            )


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
    architectures within tasks is the test, F its statistic. The estimate is the partial eta
    squared; omega squared stands in `share`. Tasks differ in kind, so that only architecture and
    interaction are permuted. `p_hc3` is that of a Wald test which allows a variance to each cell.
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
            "test": f"{_PERMUTATIONS} permutations within tasks of "
            f"F({effect.df}, {anova.residual_df})",
            "estimate": effect.eta_sq_partial,
            "share": omega,
            "statistic": effect.f,
            "p_raw": p,
            "p_holm": float(corrected),
            "p_hc3": float(hc3),
            "verdict": "described" if math.isnan(p) else decided,
            "reason": "tasks differ in kind" if math.isnan(p) else f"F = {effect.f:.3g}",
        }

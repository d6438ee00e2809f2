"""Short convolution and mixer, crossed: which of the two it is that recalls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from seqlab.stats.contrast import Contrast, paired_contrast
from seqlab.studies.archbench.analysis.frames import CORRECTED, Row, trained_runs
from seqlab.studies.archbench.analysis.generalisation import unless_learned
from seqlab.studies.archbench.analysis.rows import contrast_row, correct_whole_family
from seqlab.studies.archbench.tasks_spec import TRAINED

WITH, WITHOUT = "all", "none"


def factorial_rows(
    found: pd.DataFrame,
    tasks: Sequence[str],
    control: str,
    *,
    item: str,
    alpha: float,
    margin: float,
    learned: float,
) -> Iterator[Row]:
    """Yield effects of the convolution, mixers against `control`, and their interactions.

    All are paired by seed. The contrasts of one kind on one task are a family. Where a row compares
    mixers, none of whose variants has learned the task, nothing tells them apart, and it is not
    evaluable.
    """
    for task in tasks:
        part = trained_runs(found, task)
        if part.empty:
            continue
        wide = part.pivot_table(index="seed", columns=["architecture", "local"], values="accuracy")
        reached = part.groupby(["architecture", "local"])[CORRECTED].mean()
        families = _families(wide, control)
        for kind, members in families.items():
            contrasts = [
                paired_contrast(a.to_numpy(), b.to_numpy(), margin=margin, alpha=alpha)
                for *_, a, b in members
            ]
            for (treatment, against, variants, *_), contrast in zip(
                members, correct_whole_family(contrasts), strict=True
            ):
                row = _row(kind, task, treatment, against, contrast, part, item)
                if kind != "convolution":
                    row |= unless_learned(float(reached[variants].max()), learned)
                yield row


# Treatment, control, the (architecture, local mixing) that they are made of, and both by seed.
_Member = tuple[str, str, list[tuple[str, str]], pd.Series, pd.Series]


def _families(wide: pd.DataFrame, control: str) -> dict[str, list[_Member]]:
    """Return kind of contrast -> its members."""
    crossed = [
        name
        for name in dict.fromkeys(wide.columns.get_level_values(0))
        if {(name, WITH), (name, WITHOUT)} <= {*wide.columns}
    ]
    families: dict[str, list[_Member]] = {"convolution": [], "interaction": []}
    for name in crossed:
        families["convolution"].append(_against(wide, (name, WITH), (name, WITHOUT)))
    others = [name for name in crossed if name != control]
    if control not in crossed:
        return families
    own = wide[control, WITH] - wide[control, WITHOUT]
    for name in others:
        gained = wide[name, WITH] - wide[name, WITHOUT]
        variants = [(a, local) for a in (name, control) for local in (WITH, WITHOUT)]
        families["interaction"].append((f"{name} x convolution", control, variants, gained, own))
    # The last is what the original study compared: one with its convolution against one that has
    # none.
    for kind, mixing, controls in (
        ("mixer_with", WITH, WITH),
        ("mixer_without", WITHOUT, WITHOUT),
        ("mixer_confounded", WITH, WITHOUT),
    ):
        families[kind] = [_against(wide, (name, mixing), (control, controls)) for name in others]
    return families


def _against(wide: pd.DataFrame, a: tuple[str, str], b: tuple[str, str]) -> _Member:
    return "-".join(a), "-".join(b), [a, b], wide[a], wide[b]


def _row(
    kind: str,
    task: str,
    treatment: str,
    against: str,
    contrast: Contrast,
    part: pd.DataFrame,
    item: str,
) -> Row:
    return contrast_row(
        contrast,
        item=item,
        contrast=kind,
        task=task,
        condition=TRAINED,
        model=treatment.split("-", maxsplit=1)[0].split(" ", maxsplit=1)[0],
        treatment=treatment,
        control=against,
        metric="accuracy",
        provenance="measured",
        device=part["device"].iloc[0],
    )

"""Judging claims by what was measured.

Input: claims (`seqlab.claims_spec`); statistics tables of the study, whose columns `device` and
`model` say what each row was measured on. Output: one verdict per claim, as rows of a table.

A claim is judged only by rows that meet its needs; where there are none it is `not_run` and its
analogue, an own claim about this scale, is judged instead. No test is computed here: a rule reads
the interval and the verdict of contrasts that `seqlab.stats.contrast` decided.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from seqlab.claims_spec import Claim, ClaimFile, Columns, Estimand, Needs, ThresholdRule
from seqlab.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

Outcome = Literal["supported", "refuted", "inconclusive", "not_evaluable", "not_run"]
_NEEDS = ("device", "model", "data")
_DECIDED = ("faster", "slower", "lower", "higher", "difference", "equivalent")


@dataclass(frozen=True, slots=True)
class Facts:
    """What is at hand: names of devices, models and data sets of the runs behind a table."""

    device: tuple[str, ...] = ()
    model: tuple[str, ...] = ()
    data: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """What claims are judged by: statistics by name, data sets by model, and the scale of all."""

    tables: Mapping[str, pd.DataFrame]
    data: Mapping[str, str]
    scale: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one claim; `estimate` is the row that decided, NaN where none did."""

    study: str
    item: str
    id: str
    kind: str
    statement: str
    published: str
    verdict: Outcome
    reason: str
    estimate: float = math.nan
    low: float = math.nan
    high: float = math.nan
    unit: str = ""
    n: int = 0
    rows: int = 0
    analogue_of: str = ""


def load_tables(claims: Sequence[ClaimFile], paths: Sequence[Path]) -> dict[str, pd.DataFrame]:
    """Read the tables that the claims name, of those among `paths` that exist.

    A table is matched by the end of its path, so the folder of the scale does not matter.
    """
    import pandas as pd

    named = {claim.estimand.table for file in claims for claim in file.claims if claim.estimand}
    tables = {}
    for name in sorted(named):
        found = [path for path in paths if path.as_posix().endswith(f"/{name}") and path.is_file()]
        if found:
            # Only empty cells are missing: a scheme or method may be called "none".
            tables[name] = pd.read_csv(found[0], keep_default_na=False, na_values=[""])
    return tables


def evaluate(
    files: Sequence[ClaimFile],
    tables: Mapping[str, pd.DataFrame],
    data: Mapping[str, str],
    scale: str = "",
) -> list[Verdict]:
    """Judge every claim.

    Args:
        files: Claims of the studies.
        tables: Statistics by the name that estimands use; a missing one makes its claims `not_run`.
        data: Model -> data set it is measured on.
        scale: Scale of the runs behind all tables.

    Raises:
        UserError: A table lacks a column that an estimand names.
    """
    found = Found(tables, data, scale)
    return [_judge(file, claim, found) for file in files for claim in file.claims]


def verdict_table(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """Return one row per verdict; the columns are the fields of `Verdict`."""
    import pandas as pd

    fields = list(Verdict.__dataclass_fields__)
    return pd.DataFrame([{f: getattr(v, f) for f in fields} for v in verdicts], columns=fields)


def facts_of(table: pd.DataFrame, data: Mapping[str, str]) -> Facts:
    """Return what the runs behind a table were made on; `data` as for `evaluate`."""
    return Facts(**{kind: tuple(sorted(set(_names(table, kind, data)) - {""})) for kind in _NEEDS})


def unmet(needs: Needs, facts: Facts) -> str:
    """Return which needs the facts do not meet, or an empty string.

    Names are compared without case and punctuation; a need may be a part of the fact's name.
    """
    missing = []
    for kind in _NEEDS:
        need = getattr(needs, kind)
        have = getattr(facts, kind)
        if need is not None and not any(_is(need, name) for name in have):
            missing.append(f"{kind} {need} (here: {', '.join(have) or 'none'})")
    return f"needs {'; '.join(missing)}" if missing else ""


def _judge(file: ClaimFile, claim: Claim, at_hand: Found) -> Verdict:
    outcome, reason, found, deciding = _outcome(file, claim, at_hand)
    numbers: dict[str, Any] = {}
    if deciding is not None and claim.estimand is not None:
        c = claim.estimand.columns
        numbers = {
            "estimate": float(deciding[c.estimate]),
            "low": float(deciding[c.low]),
            "high": float(deciding[c.high]),
            "n": int(deciding[c.n]),
            "unit": claim.estimand.unit,
        }
    return Verdict(
        study=file.study,
        item=claim.item,
        id=claim.id,
        kind=claim.kind,
        statement=claim.statement,
        published="; ".join(f"{p.quantity}: {p.value:g} {p.unit}" for p in claim.published),
        verdict=outcome,
        reason=reason,
        rows=found,
        analogue_of=claim.analogue_of or "",
        **numbers,
    )


def _outcome(
    file: ClaimFile, claim: Claim, at_hand: Found
) -> tuple[Outcome, str, int, pd.Series | None]:
    """Return outcome, reason, number of rows read and the row that decided."""
    if claim.estimand is None or claim.rule is None:
        return "not_evaluable", claim.not_evaluable or "", 0, None
    name = claim.estimand.table
    if claim.analogue_of is not None:
        original = next(c for c in file.claims if c.id == claim.analogue_of)
        if not _rows(original, at_hand).empty:
            return "not_run", f"{original.id} itself is judged at this scale", 0, None
    if name not in at_hand.tables:
        return "not_run", f"table {name} has not been made", 0, None
    missing = _missing(claim.needs, at_hand.tables[name], at_hand)
    if missing:
        return "not_run", missing, 0, None
    rows = _rows(claim, at_hand)
    if rows.empty:
        return "not_run", f"no run of {name} has what the claim is about", 0, None
    judged = [(*_apply(claim.rule, row, claim.estimand.columns), row) for _, row in rows.iterrows()]
    outcome, reason, deciding = _combine(judged, claim.rule.combine)
    if len(judged) > 1:
        agreeing = sum(found == outcome for found, _, _ in judged)
        reason = f"{agreeing} of {len(judged)} rows {outcome}; {reason}"
    return outcome, reason, len(judged), deciding


def _rows(claim: Claim, at_hand: Found) -> pd.DataFrame:
    """Return the rows that judge a claim: of runs that meet its needs, picked by its estimand."""
    import pandas as pd

    if (
        claim.estimand is None
        or claim.estimand.table not in at_hand.tables
        or claim.needs.scale not in (None, at_hand.scale)
    ):
        return pd.DataFrame()
    table = _meeting(claim.needs, at_hand.tables[claim.estimand.table], at_hand.data)
    return _select(table, claim.estimand, claim.id)


def _select(table: pd.DataFrame, estimand: Estimand, claim: str) -> pd.DataFrame:
    columns = estimand.columns.model_dump().values()
    absent = sorted({*estimand.where, *estimand.where_not, *columns} - set(table.columns))
    if absent:
        raise UserError(
            f"column {absent[0]!r} is not in {estimand.table}",
            where=f"claim {claim}",
            fix=f"use one of {', '.join(map(str, table.columns))}",
        )
    for column, wanted in estimand.where.items():
        table = table[table[column].isin(wanted if isinstance(wanted, list) else [wanted])]
    for column, unwanted in estimand.where_not.items():
        table = table[~table[column].isin(unwanted if isinstance(unwanted, list) else [unwanted])]
    return table


_Judged = tuple[Outcome, str, Any]


def _combine(judged: Sequence[_Judged], how: str) -> _Judged:
    """Return the row that decides: under `all` the worst for the claim, under `any` the best."""
    order: tuple[Outcome, ...]
    order = ("refuted", "not_evaluable", "not_run", "inconclusive", "supported")
    if how == "any":
        order = ("supported", "inconclusive", "not_evaluable", "not_run", "refuted")
    return min(judged, key=lambda row: order.index(row[0]))


def _apply(rule: Any, row: pd.Series, columns: Columns) -> tuple[Outcome, str]:
    """Apply a rule to one row of contrasts."""
    verdict, why = str(row[columns.verdict]), str(row[columns.reason])
    estimate = float(row[columns.estimate])
    words = f"{verdict}: {why}"
    if verdict == "not_evaluable":
        return "not_evaluable", why
    if verdict == "not_run":
        return "not_run", why
    identical = verdict == "degenerate" and why.startswith("identical")
    if verdict == "degenerate" and not identical:
        # Without variance nothing can be tested; that something differs at all is still plain.
        if rule.kind == "equality" and math.isfinite(estimate):
            return "refuted", words
        return "not_evaluable", words
    if rule.kind == "threshold":
        outcome, words = _against_limit(rule, row, columns, estimate if identical else None)
        if rule.combine == "any" and outcome == "supported" and verdict == "inconclusive":
            # One of many intervals lies beyond the limit by chance more often than one alone.
            return "inconclusive", f"{words}, but {why}"
        return outcome, words
    if identical:
        return ("supported" if rule.kind in ("equality", "equivalence") else "refuted"), why
    if rule.kind == "equality":
        return "refuted", words
    if verdict == "inconclusive":
        return "inconclusive", why
    if verdict not in _DECIDED:
        raise UserError(f"a rule of kind {rule.kind} cannot read the verdict {verdict!r}")
    holds = {
        "direction": verdict == getattr(rule, "expected", None),
        "equivalence": verdict == "equivalent",
        "difference": verdict != "equivalent",
    }[rule.kind]
    return ("supported" if holds else "refuted"), words


def _against_limit(
    rule: ThresholdRule, row: pd.Series, columns: Columns, exact: float | None
) -> tuple[Outcome, str]:
    low, high = float(row[columns.low]), float(row[columns.high])
    if exact is not None:
        low = high = exact
    if not (math.isfinite(low) and math.isfinite(high)):
        return "not_evaluable", "the estimate has no interval"
    words = (
        f"interval [{low:.4g}, {high:.4g}] against {rule.relation.replace('_', ' ')} {rule.value:g}"
    )
    if rule.relation == "at_least":
        low, high, limit = -high, -low, -rule.value
    else:
        limit = rule.value
    if high <= limit:
        return "supported", words
    return ("refuted" if low > limit else "inconclusive"), words


def _missing(needs: Needs, table: pd.DataFrame, at_hand: Found) -> str:
    """Return why no row of a table meets the needs, or an empty string."""
    if needs.scale not in (None, at_hand.scale):
        return f"needs runs of scale {needs.scale} (here: {at_hand.scale or 'none'})"
    missing = unmet(needs, facts_of(table, at_hand.data))
    if not missing and not table.empty and _meeting(needs, table, at_hand.data).empty:
        return "no run meets all of its needs at once"
    return missing


def _meeting(needs: Needs, table: pd.DataFrame, data: Mapping[str, str]) -> pd.DataFrame:
    """Return the rows of runs that meet every need.

    A claim that names no device is one about every device that there are rows of.
    """
    for kind in _NEEDS:
        need = getattr(needs, kind)
        if need is not None:
            # An index of the rows: an empty list would pick no columns.
            meets = [_is(need, name) for name in _names(table, kind, data)]
            table = table.loc[[label for label, met in zip(table.index, meets, strict=True) if met]]
    return table


def _names(table: pd.DataFrame, kind: str, data: Mapping[str, str]) -> list[str]:
    """Return the device, model or data set of every row; "" where it has none."""
    column = "device" if kind == "device" else "model"
    if column not in table:
        return [""] * len(table)
    names = ["" if isinstance(name, float) else str(name) for name in table[column]]
    return [data.get(name, "") for name in names] if kind == "data" else names


def _is(need: str, name: str) -> bool:
    return _plain(need) in _plain(name)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())

"""Tables as CSV (full precision), Markdown and LaTeX (booktabs), formatted the same everywhere."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqlab.plots.words import verdict_word
from seqlab.provenance.atomic import write_text

if TYPE_CHECKING:
    import pandas as pd

MISSING = "–"
_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "–": "--",
    "—": "---",
    "×": r"$\times$",
    "±": r"$\pm$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "−": r"$-$",
    "µ": r"$\mu$",
}
_P_FLOOR = 0.001


def write_table(
    data: pd.DataFrame,
    *,
    csv: str | Path,
    md: str | Path | None = None,
    tex: str | Path | None = None,
    formats: Mapping[str, str] | None = None,
) -> None:
    """Write a table in up to three forms.

    Args:
        data: One row per line, columns in print order.
        csv: Values at full precision.
        md: Markdown; None for none.
        tex: LaTeX; None for none.
        formats: Column -> format specification (".3f"); other numbers get four significant digits.

    Raises:
        UserError: A path cannot be written.
    """
    write_text(Path(csv), data.to_csv(index=False, lineterminator="\n"))
    if md is not None:
        write_text(Path(md), to_markdown(data, formats))
    if tex is not None:
        write_text(Path(tex), to_latex(data, formats))


def to_markdown(data: pd.DataFrame, formats: Mapping[str, str] | None = None) -> str:
    """Return a Markdown table; numbers are right-aligned."""
    header = [_markdown(str(column)) for column in data.columns]
    rule = ["---:" if right else "---" for right in _numeric(data)]
    body = [[_markdown(cell) for cell in row] for row in formatted(data, formats)]
    return "".join(f"| {' | '.join(line)} |\n" for line in (header, rule, *body))


def to_latex(data: pd.DataFrame, formats: Mapping[str, str] | None = None) -> str:
    """Return a booktabs `tabular`, ready for an input command; every text is escaped."""
    align = "".join("r" if right else "l" for right in _numeric(data))
    header = " & ".join(escape_latex(str(column)) for column in data.columns)
    lines = [rf"\begin{{tabular}}{{@{{}}{align}@{{}}}}", r"\toprule", rf"{header} \\", r"\midrule"]
    for row in formatted(data, formats):
        lines.append(" & ".join(escape_latex(cell) for cell in row) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def formatted(data: pd.DataFrame, formats: Mapping[str, str] | None = None) -> list[list[str]]:
    """Return the cells as text: four significant digits, small p as a bound, verdicts in words."""
    given = formats or {}
    columns = [str(column) for column in data.columns]
    return [
        [_cell(value, name, given.get(name)) for name, value in zip(columns, row, strict=True)]
        for row in data.itertuples(index=False, name=None)
    ]


def escape_latex(text: str) -> str:
    """Return `text` with every character that LaTeX would interpret made literal."""
    return "".join(_LATEX.get(character, character) for character in text)


def _cell(value: Any, column: str, specification: str | None) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return MISSING
    if isinstance(value, bool | str) or not isinstance(value, numbers.Real):
        return verdict_word(str(value))
    if specification is not None:
        return format(value, specification)
    if isinstance(value, numbers.Integral):
        return str(value)
    if column.startswith("p_") and 0 <= float(value) < _P_FLOOR:
        return "< 0.001"
    return format(float(value), ".4g")


def _numeric(data: pd.DataFrame) -> list[bool]:
    kinds = [data[column].dtype.kind for column in data.columns]
    return [kind in "iuf" for kind in kinds]


def _markdown(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")

"""Tables: formats, escapes, words, files."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from seqlab.plots.tables import escape_latex, formatted, to_latex, to_markdown, write_table


@pytest.fixture
def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "scheme": ["per_tensor", "a|b & 50 %"],
            "n": [12, 6],
            "ratio": [1.23456, np.nan],
            "p_holm": [0.00001, 0.04],
            "verdict": ["not_run", "equivalent"],
        }
    )


def test_cells(table):
    assert formatted(table) == [
        ["per_tensor", "12", "1.235", "< 0.001", "not run"],
        ["a|b & 50 %", "6", "–", "0.04", "equivalent"],
    ]
    assert formatted(table, {"ratio": ".2f"})[0][2] == "1.23"


def test_markdown(table):
    lines = to_markdown(table).splitlines()
    assert lines[0] == "| scheme | n | ratio | p_holm | verdict |"
    assert lines[1] == "| --- | ---: | ---: | ---: | --- |"
    assert lines[3].startswith("| a\\|b & 50 % | 6 | – |")


def test_latex(table):
    text = to_latex(table)
    assert text.startswith("\\begin{tabular}{@{}lrrrl@{}}\n\\toprule\n")
    assert "per\\_tensor & 12 & 1.235 & \\textless{} 0.001 & not run \\\\" in text
    assert "a\\textbar{}b \\& 50 \\% & 6 & -- & 0.04 & equivalent \\\\" in text
    assert text.endswith("\\bottomrule\n\\end{tabular}\n")


def test_every_active_character_is_escaped():
    assert escape_latex("\\{}$#^~_%&") == (
        "\\textbackslash{}\\{\\}\\$\\#\\textasciicircum{}\\textasciitilde{}\\_\\%\\&"
    )


def test_files(tmp_path, table):
    paths = {kind: tmp_path / f"t.{kind}" for kind in ("csv", "md", "tex")}
    write_table(table, **paths)
    back = pd.read_csv(paths["csv"])
    pd.testing.assert_frame_equal(back, table, check_dtype=False)
    assert paths["md"].read_text("utf-8") == to_markdown(table)
    assert paths["tex"].read_text("utf-8") == to_latex(table)
    write_table(table, csv=tmp_path / "only.csv")
    assert not (tmp_path / "only.md").exists()

"""Figures: byte stability across processes, text size read from the PDF, primitives, claims."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from seqlab.errors import UserError
from seqlab.plots import primitives
from seqlab.plots.claims_figure import draw_claims
from seqlab.plots.contact_sheet import draw_contact_sheet
from seqlab.plots.legibility import pdf_text_sizes, smallest_text_pt
from seqlab.plots.save import save_drawn_data, save_figure
from seqlab.plots.style import (
    COLUMN_IN,
    PAGE_IN,
    PALETTE,
    SIMULATED_HATCH,
    hatch,
    look,
    marker_face,
    new_figure,
    style,
)


def contrasts() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "label": ["per tensor", "per channel", "group 32", "Q of (group) 64"],
            "series": ["a", "b", "a", "b"],
            "x": [1.0, 2.0, 3.0, 4.0],
            "estimate": [0.97, 1.0, 1.04, 1.0],
            "ci_low": [0.96, 0.99, 1.01, np.nan],
            "ci_high": [0.98, 1.01, 1.07, np.nan],
            "verdict": ["faster", "equivalent", "slower", "degenerate"],
            "provenance": ["measured", "simulated", "measured", "counted"],
            "on_front": [True, False, True, True],
        }
    )


def draw_example() -> Figure:
    data = contrasts()
    with style():
        fig = new_figure(PAGE_IN, 2.4)
        panels = primitives.small_multiples(fig, ["forest", "dots"], columns=2, share_y=False)
        primitives.forest(panels[0], data, reference=1.0, band=(0.98, 1.02))
        primitives.panel_note(panels[0], n=12, interval="95 % interval", scale="laptop")
        primitives.dot_interval(panels[1], data, x="label", series="series")
        primitives.noise_band(panels[1], (0.99, 1.01), label="identical arms")
    return fig


def claims() -> pd.DataFrame:
    def row(item: str, name: str, verdict: str, **more: object) -> dict[str, object]:
        base = {"study": "codesign", "kind": "published", "analogue_of": np.nan}
        return base | {"item": item, "id": name, "verdict": verdict} | more

    return pd.DataFrame(
        [
            row("table10", "c", "not_run"),
            row("fig2", "a", "not_evaluable"),
            row("fig2", "b", "not_run"),
            row("fig2", "b@laptop", "refuted", analogue_of="b"),
            row("fig2", "p", "supported", kind="prediction"),
            row("table9", "d", "inconclusive"),
        ]
    )


def digests(folder: Path) -> list[str]:
    paths = sorted(folder.glob("*.p*"))
    return [path.name + hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


def save_all(folder: Path) -> None:
    save_figure(draw_example(), folder / "example.pdf", folder / "example.png")
    save_figure(draw_claims(claims()), folder / "claims.pdf", folder / "claims.png")


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    save_all(folder)
    return folder


def test_same_data_same_bytes_in_two_processes(saved, tmp_path):
    here, there = saved, tmp_path
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); "
    code += f"from test_figures import *; save_all(Path({str(there)!r}))"
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        env=os.environ | {"PYTHONHASHSEED": "77", "TZ": "Asia/Tokyo"},
    )
    assert len(digests(here)) == 4
    assert digests(here) == digests(there)
    pdf = (here / "example.pdf").read_bytes()
    assert b"CreationDate" not in pdf
    assert b"/Subtype /CIDFontType2" in pdf
    assert b"/FontFile2" in pdf
    assert b"Type3" not in pdf


def test_text_of_every_figure_is_at_least_six_points(saved):
    for name in ("example", "claims"):
        sizes = pdf_text_sizes(saved / f"{name}.pdf")
        assert len(sizes) > 10
        assert min(sizes) >= 6 - 1e-3


def test_the_reader_sees_superscripts_rotation_and_operators_inside_text(tmp_path):
    with style():
        fig = new_figure()
        fig.text(0.1, 0.1, "Q ) 3 Tf ( q \\", fontsize=9)
        fig.text(0.5, 0.5, "turned", fontsize=8, rotation=30)
        fig.text(0.5, 0.8, "$x^2$", fontsize=10)
    path = tmp_path / "a.pdf"
    save_figure(fig, path)
    assert sorted({round(size, 3) for size in pdf_text_sizes(path)}) == [7.0, 8.0, 9.0, 10.0]


@pytest.mark.parametrize(("text", "size"), [("small", 5.5), ("$x^2$", 7.0)])
def test_small_text_is_refused(tmp_path, text, size):
    with style():
        fig = new_figure()
        fig.text(0.5, 0.5, text, fontsize=size)
    with pytest.raises(ValueError, match="below 6 pt"):
        save_figure(fig, tmp_path / "a.pdf")
    assert not (tmp_path / "a.pdf").exists()


def test_smallest_text_scales_with_the_printed_width():
    with style():
        fig = new_figure(PAGE_IN)
        fig.text(0.5, 0.5, "text", fontsize=8)
        fig.text(0.5, 0.4, "hidden", fontsize=2, visible=False)
    assert smallest_text_pt(fig) == 8
    assert smallest_text_pt(fig, COLUMN_IN) == pytest.approx(8 * COLUMN_IN / PAGE_IN)
    assert smallest_text_pt(Figure()) == float("inf")


def test_the_users_matplotlibrc_has_no_effect():
    with mpl.rc_context({"font.size": 30, "lines.linewidth": 9}):
        with style():
            assert mpl.rcParams["font.size"] == 7.0
            assert mpl.rcParams["lines.linewidth"] == 1.0
        assert mpl.rcParams["font.size"] == 30


def luminance(color: str) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def test_neighbouring_colours_differ_in_grey():
    greys = [luminance(color) ** (1 / 3) for color in PALETTE[:5]]
    assert min(abs(np.diff(greys))) > 0.1
    assert len({look(k)["marker"] for k in range(8)}) == 8


def test_simulated_is_hatched_and_hollow():
    assert hatch("simulated") == SIMULATED_HATCH
    assert hatch("measured") == ""
    assert marker_face("simulated", "red") == "white"
    assert marker_face("counted", "red") == "red"


def axes():
    with style():
        return new_figure().subplots()


def test_forest_draws_rows_top_down_with_words():
    ax = axes()
    primitives.forest(ax, contrasts(), reference=1.0)
    assert [tick.get_text() for tick in ax.get_yticklabels()] == list(contrasts()["label"])
    assert list(ax.get_yticks()) == [3, 2, 1, 0]
    assert [t.get_text() for t in ax.texts] == ["faster", "equivalent", "slower", "no variance"]
    hollow = [
        line for line in ax.lines if line.get_markerfacecolor() == "white" and len(line.get_xdata())
    ]
    assert [list(line.get_xdata()) for line in hollow] == [[1.0]]
    intervals = [list(line.get_xdata()) for line in ax.lines if len(line.get_xdata()) == 2]
    assert [0.96, 0.98] in intervals
    assert len(intervals) == 4  # three intervals and the reference


def test_dot_interval_joins_numeric_series():
    ax = axes()
    primitives.dot_interval(ax, contrasts(), x="x", series="series", join=True)
    joined = [list(line.get_xdata()) for line in ax.lines if len(line.get_xdata()) > 1]
    assert joined == [[1.0, 3.0], [2.0, 4.0]]
    single = axes()
    primitives.dot_interval(single, contrasts(), x="label")
    assert [t.get_text() for t in single.get_xticklabels()] == list(contrasts()["label"])


def test_bars_hatch_simulated_values():
    ax = axes()
    primitives.bar_interval(ax, contrasts(), x="label")
    assert [bar.get_hatch() for bar in ax.patches] == ["", SIMULATED_HATCH, "", ""]
    assert [bar.get_height() for bar in ax.patches] == list(contrasts()["estimate"])
    assert len(ax.containers) == 4 + 3  # bars and the intervals of three


def test_pareto_joins_only_the_front():
    ax = axes()
    primitives.pareto(ax, contrasts(), x="x", y="estimate", series="series")
    assert list(ax.lines[0].get_xdata()) == [1.0, 3.0, 4.0]


def test_legend_explains_provenance_beside_the_series():
    ax = axes()
    primitives.pareto(ax, contrasts(), x="x", y="estimate", series="series")
    ax.legend()
    primitives.provenance_legend(ax, ["measured", "simulated", "measured"])
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["measured", "simulated"]
    assert len([child for child in ax.get_children() if "Legend" in type(child).__name__]) == 2
    bars = axes()
    primitives.provenance_legend(bars, ["simulated"], bars=True)
    assert bars.get_legend().get_patches()[0].get_hatch() == SIMULATED_HATCH


def test_small_multiples_drops_unused_panels():
    with style():
        fig = new_figure()
        panels = primitives.small_multiples(fig, list("abcde"), columns=3)
    assert [panel.get_title(loc="left") for panel in panels] == list("abcde")
    assert len(fig.axes) == 5


@pytest.mark.parametrize("limits", [(1.0, 1.2), (0.001, 500.0)])
def test_log_axis_has_plain_labels(tmp_path, limits):
    with style():
        fig = new_figure()
        ax = fig.subplots()
        ax.set_yscale("log")
        ax.set_ylim(*limits)
        primitives.plain_log_axis(ax.yaxis)
    save_figure(fig, tmp_path / "a.pdf")
    shown = [t.get_text() for t in ax.get_yticklabels()]
    assert len(shown) >= 3
    assert all(float(text) > 0 for text in shown)


def test_claims_figure_has_a_row_per_item_and_says_every_verdict_in_words():
    fig = draw_claims(claims())
    assert [label.get_text() for label in fig.axes[0].get_yticklabels()] == [
        *("fig2", "table9", "table10")
    ]
    words = {text.get_text() for text in fig.legends[0].get_texts()}
    assert words == {"supported", "refuted", "inconclusive", "not evaluable", "not run"}
    titles = [ax.get_title(loc="left") for ax in fig.axes]
    assert "1 inconclusive" in titles[0] and "2 not run" in titles[0]
    assert fig.get_figwidth() == PAGE_IN


def test_an_analogue_stands_in_the_column_of_its_claim():
    _, analogues, predictions = draw_claims(claims()).axes
    marks = [line for line in analogues.lines if line.get_linestyle() == "None"]
    assert [(*line.get_xdata(), *line.get_ydata()) for line in marks] == [(2, 0)]
    assert "predictions" in predictions.get_title(loc="left")


def test_what_pilots_had_shown_is_no_prediction():
    table = claims()
    shown = table[table["kind"] == "prediction"].assign(id="r", kind="replication")
    fig = draw_claims(pd.concat([table, shown], ignore_index=True))
    titles = [ax.get_title(loc="left") for ax in fig.axes]
    assert len(titles) == 4 and titles[2].startswith("predictions")
    assert titles[3] == "replications\nof pilots\n1 supported"


def test_items_do_not_repeat_the_name_of_their_study():
    named = claims().assign(study="archbench", item="archbench_table1")
    labels = [label.get_text() for label in draw_claims(named).axes[0].get_yticklabels()]
    assert labels == ["table1"]


def test_claims_of_several_studies_name_the_study():
    two = pd.concat([claims(), claims().assign(study="archbench")], ignore_index=True)
    fig = draw_claims(two)
    labels = [label.get_text() for label in fig.axes[0].get_yticklabels()]
    wanted = [*("codesign fig2", "codesign table9", "codesign table10"), "archbench fig2"]
    assert labels[:4] == wanted


def test_contact_sheet(saved, tmp_path):
    previews = [saved / "example.png", saved / "claims.png"]
    sheet = draw_contact_sheet(previews)
    assert [panel.get_title(loc="left") for panel in sheet.axes] == ["example", "claims"]
    save_figure(sheet, tmp_path / "sheet.pdf", tmp_path / "sheet.png")
    with pytest.raises(UserError, match="at least one"):
        draw_contact_sheet([])
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    for bad in ("broken.png", "absent.png"):
        with pytest.raises(UserError, match="cannot read preview"):
            draw_contact_sheet([tmp_path / bad])


def test_drawn_data_reads_back_exactly(tmp_path):
    data = contrasts()
    data["estimate"] = [1 / 3, 2 / 3, np.pi, 1e-300]
    save_drawn_data(data, tmp_path / "drawn.csv")
    back = pd.read_csv(tmp_path / "drawn.csv", float_precision="round_trip")
    assert list(back["estimate"]) == list(data["estimate"])

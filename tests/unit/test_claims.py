"""Claims: loading, needs, analogues, rules and the committed file of Figure 2."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from seqlab.claims import Facts, evaluate, load_tables, unmet, verdict_table
from seqlab.claims_spec import Claim, ClaimFile, Needs, load_claims
from seqlab.errors import UserError
from seqlab.stats.contrast import FASTER_SLOWER, paired_contrast

ROOT = Path(__file__).parents[2]
TABLE = "codesign/quantization/statistics.csv"
HERE = {"device": "AMD EPYC", "model": "mamba_sotu"}
DATA = {"mamba_sotu": "sotu", "mamba_2.8b": "WikiText-103"}


def contrast_row(effect: float, noise: float, scheme: str = "per_tensor", **extra: object) -> dict:
    rng = np.random.default_rng(0)
    control = rng.lognormal(2, 0.1, 12)
    wiggle = rng.normal(size=12)
    wiggle = (wiggle - wiggle.mean()) / wiggle.std(ddof=1)
    contrast = paired_contrast(
        control * np.exp(math.log1p(effect) + noise * wiggle),
        control,
        scale="log_ratio",
        margin=0.02,
        labels=FASTER_SLOWER,
    )
    return {"scheme": scheme, **contrast.row(), **extra}


FASTER = contrast_row(-0.15, 0.01)
SLOWER = contrast_row(0.15, 0.01)
EQUIVALENT = contrast_row(0.0, 0.004)
UNCLEAR = contrast_row(0.0, 0.2)
IDENTICAL = contrast_row(0.0, 0.0)
CONSTANT = contrast_row(0.1, 0.0)


def judge(kind: dict, *rows: dict, combine: str = "all", **claim: object):
    base = {
        "id": "c",
        "item": "fig2",
        "statement": "s",
        "estimand": {
            "table": TABLE,
            "where": {"scheme": ["per_tensor", "group32"]},
            "columns": {"estimate": "ratio", "low": "ratio_low", "high": "ratio_high"},
            "unit": "ratio",
        },
        "rule": {**kind, "combine": combine},
    }
    file = ClaimFile(study="codesign", source="x", claims=[Claim.model_validate({**base, **claim})])
    table = pd.DataFrame([HERE | row for row in rows or [FASTER]])
    return evaluate([file], {TABLE: table}, DATA)[0]


def test_the_setup_covers_every_contrast_verdict():
    rows = (FASTER, SLOWER, EQUIVALENT, UNCLEAR, IDENTICAL, CONSTANT)
    assert [row["verdict"] for row in rows] == [
        *("faster", "slower", "equivalent", "inconclusive", "degenerate", "degenerate")
    ]


@pytest.mark.parametrize(
    ("rule", "outcomes"),
    [
        (
            {"kind": "direction", "expected": "faster"},
            "supported refuted refuted inconclusive refuted not_evaluable",
        ),
        (
            {"kind": "threshold", "relation": "at_most", "value": 0.95},
            "supported refuted refuted inconclusive refuted not_evaluable",
        ),
        (
            {"kind": "threshold", "relation": "at_least", "value": 1.0},
            "refuted supported inconclusive inconclusive supported not_evaluable",
        ),
        (
            {"kind": "equivalence"},
            "refuted refuted supported inconclusive supported not_evaluable",
        ),
        ({"kind": "equality"}, "refuted refuted refuted refuted supported refuted"),
        (
            {"kind": "difference"},
            "supported supported refuted inconclusive refuted not_evaluable",
        ),
    ],
)
def test_rules(rule, outcomes):
    rows = (FASTER, SLOWER, EQUIVALENT, UNCLEAR, IDENTICAL, CONSTANT)
    assert [judge(rule, row).verdict for row in rows] == outcomes.split()


def test_the_deciding_row_is_reported():
    verdict = judge({"kind": "direction", "expected": "faster"}, FASTER)
    assert verdict.estimate == pytest.approx(FASTER["ratio"])
    assert (verdict.low, verdict.high) == (FASTER["ratio_low"], FASTER["ratio_high"])
    assert (verdict.n, verdict.rows, verdict.unit) == (12, 1, "ratio")


def test_all_needs_every_row_and_any_needs_one():
    rows = (EQUIVALENT, contrast_row(0.15, 0.01, "group32"))
    every = judge({"kind": "equivalence"}, *rows)
    assert every.verdict == "refuted"
    assert every.estimate == pytest.approx(1.15)
    assert "1 of 2 rows" in every.reason
    assert judge({"kind": "difference"}, *rows, combine="any").verdict == "supported"
    with_unclear = judge({"kind": "equivalence"}, EQUIVALENT, UNCLEAR)
    assert with_unclear.verdict == "inconclusive"


def test_a_contrast_that_could_not_be_made_decides_nothing() -> None:
    row = {**FASTER, "verdict": "not_evaluable", "reason": "no match", "ratio": math.nan}
    for kind in ("equivalence", "equality", "difference"):
        verdict = judge({"kind": kind}, row)
        assert (verdict.verdict, verdict.reason) == ("not_evaluable", "no match")
    assert judge({"kind": "direction", "expected": "faster"}, row).verdict == "not_evaluable"


def test_needs_that_are_not_met_are_not_run():
    verdict = judge({"kind": "equivalence"}, needs={"device": "A100", "data": "sotu"})
    assert verdict.verdict == "not_run"
    assert "device A100 (here: AMD EPYC)" in verdict.reason
    assert "sotu" not in verdict.reason
    assert math.isnan(verdict.estimate)


NOT_RUN = FASTER | {"verdict": "not_run", "reason": "laptop budget"}


def test_a_row_that_was_not_run_refutes_nothing():
    for rule in ({"kind": "direction", "expected": "faster"}, {"kind": "difference"}):
        assert judge(rule, NOT_RUN).verdict == "not_run"
        assert judge(rule, FASTER, NOT_RUN).verdict == "not_run"
        assert judge(rule, FASTER, NOT_RUN, combine="any").verdict == "supported"
    assert judge({"kind": "equivalence"}, FASTER, NOT_RUN).verdict == "refuted"


def test_one_of_many_intervals_needs_its_corrected_verdict_too():
    rule = {"kind": "threshold", "relation": "at_most", "value": 0.95}
    chance = FASTER | {"verdict": "inconclusive", "reason": "p 0.2 after Holm"}
    assert judge(rule, chance).verdict == "supported"
    verdict = judge(rule, chance, SLOWER, combine="any")
    assert verdict.verdict == "inconclusive" and "after Holm" in verdict.reason


def test_an_unknown_verdict_is_refused():
    with pytest.raises(UserError, match="cannot read the verdict 'nan'"):
        judge({"kind": "difference"}, FASTER | {"verdict": math.nan})


def test_an_analogue_is_judged_where_no_row_judges_its_claim():
    estimand = {
        "table": TABLE,
        "where": {"scheme": "per_tensor"},
        "columns": {"estimate": "ratio", "low": "ratio_low", "high": "ratio_high"},
        "unit": "ratio",
    }
    measured = estimand | {"where": {"scheme": "per_tensor", "provenance": "measured"}}
    rule = {"kind": "direction", "expected": "faster"}
    base = {"item": "fig2", "statement": "s", "rule": rule}
    claims = [
        Claim.model_validate(base | {"id": "c", "estimand": measured}),
        Claim.model_validate(base | {"id": "c@laptop", "estimand": estimand, "analogue_of": "c"}),
    ]
    file = ClaimFile(study="codesign", source="x", claims=claims)
    table = pd.DataFrame([HERE | FASTER | {"provenance": "simulated"}])
    assert [v.verdict for v in evaluate([file], {TABLE: table}, DATA)] == ["not_run", "supported"]
    both = table.assign(provenance="measured")
    assert [v.verdict for v in evaluate([file], {TABLE: both}, DATA)] == ["supported", "not_run"]


def test_a_claim_of_published_sizes_waits_for_their_scale():
    estimand = {
        "table": TABLE,
        "where": {"scheme": "per_tensor"},
        "columns": {"estimate": "ratio", "low": "ratio_low", "high": "ratio_high"},
        "unit": "ratio",
    }
    rule = {"kind": "direction", "expected": "faster"}
    base = {"item": "fig2", "statement": "s", "rule": rule, "estimand": estimand}
    claims = [
        Claim.model_validate(base | {"id": "c", "needs": {"scale": "paper"}}),
        Claim.model_validate(base | {"id": "c@laptop", "analogue_of": "c"}),
    ]
    file = ClaimFile(study="codesign", source="x", claims=claims)
    table = {TABLE: pd.DataFrame([HERE | FASTER])}
    laptop = evaluate([file], table, DATA, "laptop")
    assert [v.verdict for v in laptop] == ["not_run", "supported"]
    assert laptop[0].reason == "needs runs of scale paper (here: laptop)"
    paper = evaluate([file], table, DATA, "paper")
    assert [v.verdict for v in paper] == ["supported", "not_run"]


def test_rows_of_other_devices_do_not_judge_a_claim():
    a100 = {"device": "NVIDIA A100-SXM4-80GB", "model": "mamba_2.8b"}
    rule = {"kind": "direction", "expected": "faster"}
    needs = {"device": "A100", "model": "mamba-2.8b", "data": "wikitext103"}
    verdict = judge(rule, FASTER | a100, SLOWER, needs=needs)
    assert (verdict.verdict, verdict.rows) == ("supported", 1)
    apart = (FASTER | {"device": "A100"}, SLOWER | {"model": "mamba_2.8b"})
    assert judge(rule, *apart, needs=needs).reason == "no run meets all of its needs at once"


def test_rows_without_a_model_are_no_model():
    verdict = judge({"kind": "equality"}, IDENTICAL | {"model": math.nan}, needs={"model": "nan"})
    assert verdict.reason == "needs model nan (here: none)"


def test_names_compare_without_case_and_punctuation():
    needs = Needs(device="A100", model="mamba-2.8b")
    assert (
        unmet(needs, Facts(device=("NVIDIA A100-SXM4",), model=("state-spaces/Mamba_2.8B",))) == ""
    )
    assert "model mamba-2.8b (here: none)" in unmet(needs, Facts(device=("a100",)))


def test_a_missing_table_and_missing_rows():
    claim = {"estimand": {"table": "other.csv", "where": {}, "unit": "x"}}
    assert "not been made" in judge({"kind": "equality"}, **claim).reason
    nothing = judge({"kind": "equality"}, contrast_row(0.1, 0.01, "group128"))
    assert nothing.verdict == "not_run"
    excluded = judge(
        {"kind": "equality"},
        IDENTICAL,
        estimand={
            "table": TABLE,
            "where": {},
            "where_not": {"scheme": "per_tensor"},
            "unit": "x",
        },
    )
    assert excluded.verdict == "not_run"


def test_a_misspelt_column_is_an_error():
    with pytest.raises(UserError, match="'shceme' is not in"):
        judge(
            {"kind": "equality"},
            estimand={"table": TABLE, "where": {"shceme": "x"}, "unit": "x"},
        )


def test_undecidable_claims_need_a_reason():
    verdict = judge({}, rule=None, estimand=None, not_evaluable="no data were published")
    assert (verdict.verdict, verdict.reason) == ("not_evaluable", "no data were published")
    for wrong in (
        {"not_evaluable": "but it has a rule"},
        {"rule": None},
        {"rule": None, "estimand": None},
    ):
        with pytest.raises(ValueError, match="give estimand and rule"):
            judge({"kind": "equality"}, **wrong)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("study: [", "no valid YAML"),
        ("study: s\nsource: x\nclaims: []\ncliams: []", "unknown key"),
        (
            "study: s\nsource: x\nclaims:\n"
            "- &c {id: a, item: i, statement: s, not_evaluable: r}\n- *c",
            "defined twice",
        ),
        (
            "study: s\nsource: x\nclaims:\n"
            "- {id: a, item: i, statement: s, not_evaluable: r, analogue_of: b}",
            "unknown claim 'b'",
        ),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path, text, message):
    path = write(tmp_path / "claims.yaml", text)
    with pytest.raises(UserError, match=message) as caught:
        load_claims(path)
    assert "claims.yaml" in str(caught.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot read claims"):
        load_claims(tmp_path / "none.yaml")


# The committed claims of Figure 2.


def figure_two(effect: float, model: str, device: str = "AMD EPYC") -> pd.DataFrame:
    rows = []
    for contrast in (
        "repermute_vs_permute_first",
        "permute_first_vs_quantize_first",
        "random_vs_none",
    ):
        for metric in ("prefill_ms", "decode_ms", "bits_per_byte"):
            for scheme in ("per_tensor", "per_channel", "group32", "all"):
                moved = scheme == "group32" and metric == "bits_per_byte"
                row = contrast_row(effect if moved else 0.0, 0.004, scheme)
                rows.append(
                    {
                        "contrast": contrast,
                        "metric": metric,
                        "bits": 8,
                        "subset": "all",
                        "model": model,
                        "device": device,
                        **row,
                    }
                )
    return pd.DataFrame(rows)


def test_claims_of_figure_two_on_a_laptop(tmp_path):
    claims = load_claims(ROOT / "config/claims/codesign.yaml")
    path = write(
        tmp_path / "results/laptop" / TABLE, figure_two(0.1, "mamba_sotu").to_csv(index=False)
    )
    tables = load_tables([claims], [path, tmp_path / "absent.csv"])
    verdicts = {v.id: v for v in evaluate([claims], tables, DATA)}
    for name in ("fig2_repermute", "fig2_repermute_size", "fig2_order"):
        assert verdicts[name].verdict == "not_run"
        assert verdicts[f"{name}@laptop"].verdict == "refuted"
        assert verdicts[f"{name}@laptop"].n == 12
        assert verdicts[name].published
    for name in ("p1_dense_layout_null", "p4_commuting_quality", "p4_commuting_latency"):
        assert verdicts[name].verdict == "supported"
    assert verdicts["p4_groupwise_quality"].verdict == "supported"
    assert verdicts["fig2_older_chart"].verdict == "not_evaluable"
    frame = verdict_table(list(verdicts.values()))
    assert len(frame) == len(claims.claims)
    assert set(frame["verdict"]) <= {
        *("supported", "refuted", "inconclusive", "not_evaluable", "not_run")
    }


def test_on_the_published_machine_the_claim_itself_is_judged():
    claims = load_claims(ROOT / "config/claims/codesign.yaml")
    tables = {TABLE: figure_two(0.1, "mamba_2.8b", "NVIDIA A100-SXM4-80GB")}
    verdicts = {v.id: v for v in evaluate([claims], tables, DATA)}
    assert verdicts["fig2_repermute"].verdict == "refuted"
    assert verdicts["fig2_repermute@laptop"].verdict == "not_run"
    assert "itself is judged" in verdicts["fig2_repermute@laptop"].reason


def test_without_tables_nothing_is_judged():
    claims = load_claims(ROOT / "config/claims/codesign.yaml")
    verdicts = evaluate([claims], {}, DATA)
    assert {v.verdict for v in verdicts} == {"not_run", "not_evaluable"}

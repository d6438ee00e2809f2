"""Figure 2 from a tiny model to its drawing, through the command line, in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from seqlab.cli import main
from seqlab.data.tokenizer import save_tokenizer, train_bpe
from seqlab.data.tokens import load_tokens, write_tokens
from seqlab.models.mamba import MambaForCausalLM
from seqlab.models.mamba_config import MambaConfig
from seqlab.models.mamba_init import init_weights
from seqlab.models.pretrained import load_causal_lm, save_causal_lm
from seqlab.models.sites import mamba_sites
from seqlab.provenance.atomic import write_json
from seqlab.provenance.record import Record, read_record
from seqlab.studies.codesign.quantization import names
from seqlab.studies.codesign.quantization.contrasts import analyse, families, pooled, summarise
from seqlab.studies.codesign.quantization.run import Run
from seqlab.studies.codesign.quantization.spec import (
    AnalyseSpec,
    Quantization,
    QuantizationSpec,
    RunSpec,
)

SETTINGS = QuantizationSpec.model_validate(
    {
        "models": ["tiny"],
        "schemes": ["per_tensor", "group8"],
        "bits": [4],
        "seeds": 3,
        "parity_seeds": 2,
        "threads": 1,
        "affinity": {"tokens": 128, "window": 32},
        "solver": {"method": "spectral_balanced", "block": 8},
        "quality": {"windows": 4, "length": 16},
        "latency": {
            "threads": 1,
            "prefill_tokens": 16,
            "prefill_repeats": 3,
            "decode_repeats": 3,
            "warmup_max": 3,
            "planted_slowdown": 0.05,
            "max_foreign_load": 1000.0,
            "attempts": 1,
        },
        "margins": {"quality": 0.01, "latency": 0.02},
        "equivalence": {"inputs": 8, "length": 6, "tolerance": 1e-10},
    }
)
WILDCARDS = {"scale": "laptop", "model": "tiny"}


def spec(step: str, **wildcards: str) -> str:
    return SETTINGS.step_spec(step, WILDCARDS | wildcards).canonical()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a tiny model and its tokens; the working directory meanwhile."""
    root = tmp_path_factory.mktemp("project")
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefgh"), size=4)) for _ in range(40)]
    texts = [" ".join(rng.choice(words, size=400)) for _ in range(3)]
    tokenizer = train_bpe(texts, 300)
    write_tokens(root / "tokens", tokenizer, {"train": texts[:2], "test": texts[2:]})
    config = MambaConfig(vocab_size=304, hidden_size=16, num_hidden_layers=2, state_size=4)
    model = init_weights(MambaForCausalLM(config), 1)
    save_causal_lm(model, root / "model")
    save_tokenizer(tokenizer, root / "model")
    write_json(root / "model" / "source.json", ORIGIN)
    write_json(
        root / "model" / "training.json",
        {"held_out": {"bits_per_byte": 2.5}, "parameters": 10, "tokens": 0},
    )
    write_json(root / "tiny" / "bpe.json", {"bits_per_byte": {"xz": 2.0, "byte_4gram": 2.25}})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        yield root


ORIGIN = {
    "source": "init:mamba",
    "licence": None,
    "attribution": None,
    "revision": None,
    "sha256": {},
    "rehearsal": False,
    "detail": {},
}


def run(folder: Path, settings: str) -> int:
    outputs = ("--record", f"{folder}/record.json", "--samples", f"{folder}/samples.npz")
    inputs = ("--model", "model", "--tokens", "tokens")
    return main(["codesign", "run_quantization", "--spec", settings, *inputs, *outputs])


@pytest.fixture(scope="module")
def records(project: Path) -> list[Record]:
    found = []
    for seed in "012":
        folder = project / f"runs/tiny/seed-{seed}"
        assert run(folder, spec("run_quantization", seed=seed)) == 0
        found.append(read_record(folder / "record.json", samples=True))
    return found


def metric(record: Record, arm: str, name: str) -> float:
    value = record.arms[arm].metrics[name].value
    assert value is not None
    return value


def test_a_run_holds_every_arm_checked(records: list[Record]) -> None:
    expected = {
        names.DENSE,
        names.QUANTIZE_ONLY,
        names.QUANTIZE_ONLY_AA,
        names.RANDOM_QUANTIZE,
        *names.STRATEGIES,
        names.PLANTED,
    }
    for record in records:
        assert set(record.arms) == {f"{s}/w4/{a}" for s in SETTINGS.schemes for a in expected}
        for scheme in SETTINGS.schemes:
            for name in (names.RANDOM_QUANTIZE, *names.STRATEGIES):
                checks = record.arms[f"{scheme}/w4/{name}"].checks
                assert checks["layout_equivalence"].passed and checks["quantized_product"].passed


def test_raw_samples_hold_durations_window_scores_and_layouts(
    project: Path, records: list[Record]
) -> None:
    assert records
    with np.load(project / "runs/tiny/seed-0/samples.npz") as archive:
        assert archive["group8/w4/quantize_only/prefill_ns"].shape == (3,)
        assert archive["group8/w4/dense/window_nats"].shape == (4,)
        order = archive["group8/w4/permute_quantize/layout/hidden"]
    assert sorted(order) == list(range(16)) and list(order) != list(range(16))


@pytest.mark.parametrize("scheme", SETTINGS.schemes)
def test_the_third_strategy_is_the_function_of_the_second(
    records: list[Record], scheme: str
) -> None:
    second, third = (f"{scheme}/w4/{name}" for name in (names.PERMUTE_QUANTIZE, names.REPERMUTE))
    for record in records:
        assert metric(record, second, "bits_per_byte") == metric(record, third, "bits_per_byte")


@pytest.mark.parametrize("scheme", SETTINGS.schemes)
def test_per_tensor_scales_commute_and_groups_do_not(records: list[Record], scheme: str) -> None:
    for record in records:
        orders = {
            metric(record, f"{scheme}/w4/{arm}", "bits_per_byte")
            for arm in (names.QUANTIZE_ONLY, *names.STRATEGIES, names.RANDOM_QUANTIZE)
        }
        assert (len(orders) == 1) == (scheme == "per_tensor")


def test_the_same_seed_gives_the_same_quality(project: Path, records: list[Record]) -> None:
    assert run(project / "again", spec("run_quantization", seed="1")) == 0
    again = read_record(project / "again" / "record.json")
    for arm in (names.RANDOM_QUANTIZE, names.REPERMUTE):
        for name in ("bits_per_byte", "logit_error"):
            found = metric(again, f"group8/w4/{arm}", name)
            assert found == metric(records[1], f"group8/w4/{arm}", name)


def test_from_records_to_figure_table_and_caption(project: Path, records: list[Record]) -> None:
    assert len(records) == 3
    steps = {
        "collect_quantization": ("--runs", "runs", "--table", "t.csv"),
        "analyse_quantization": (
            *("--table", "t.csv"),
            *("--statistics", "s.csv", "--summary", "summary.csv"),
        ),
        "draw_quantization": (
            *("--statistics", "s.csv"),
            *("--pdf", "f.pdf", "--png", "f.png", "--csv", "f.csv"),
        ),
        "tabulate_quantization": (
            *("--statistics", "s.csv", "--table", "t.csv"),
            *("--csv", "table.csv", "--md", "table.md", "--tex", "table.tex"),
        ),
    }
    for step, arguments in steps.items():
        assert main(["codesign", step, "--spec", spec(step), *arguments]) == 0
    summary = pd.read_csv(project / "summary.csv")
    assert list(summary.columns[:4]) == ["strategy", "mean", "std", "n"]
    assert set(summary["strategy"]) == set(names.STRATEGIES) and set(summary["n"]) == {3}
    drawn, statistics = (pd.read_csv(project / name) for name in ("f.csv", "s.csv"))
    assert len(drawn) and set(drawn["contrast"]) <= set(statistics["contrast"])
    assert "identical in every run" in (project / "table.md").read_text()

    facts = json.loads(spec("facts_quantization")) | {"corpora": ["tiny/bpe"]}
    inputs = ("--models", "model", "--baselines", "tiny/bpe.json", "--statistics", "s.csv")
    arguments = ("--spec", json.dumps(facts), *inputs, "--facts", "facts.json")
    assert main(["codesign", "facts_quantization", *arguments]) == 0
    template = Path(__file__).resolve().parents[3] / "workflow/report/fig2.rst"
    paths = ("--template", str(template), "--facts", "facts.json", "--caption", "caption.rst")
    assert main(["paper", "write_caption", "--spec", "{}", *paths]) == 0
    caption = (project / "caption.rst").read_text()
    assert "2.500 bits per byte" in caption and "byte 4-gram 2.250 (difference +0.250)" in caption
    (project / "broken.rst").write_text("{{ nothing_of_this_name }}")
    paths = ("--template", "broken.rst", "--facts", "facts.json", "--caption", "x.rst")
    assert main(["paper", "write_caption", "--spec", "{}", *paths]) == 2


def planted(slowdown: float, seeds: int = 12, noise: float = 0.002) -> pd.DataFrame:
    """Return observations in which the third strategy is slower by a planted fraction."""
    rng = np.random.default_rng(7)
    metrics = ("bits_per_byte", "prefill_ms", "decode_ms")
    unchanged = (names.DENSE, names.QUANTIZE_ONLY, names.QUANTIZE_ONLY_AA, names.RANDOM_QUANTIZE)
    rows = []
    for seed in range(seeds):
        for arm in (*unchanged, *names.STRATEGIES, names.PLANTED):
            for name in metrics:
                factor = 1 + slowdown * (arm == names.REPERMUTE) + 0.05 * (arm == names.PLANTED)
                value = 2.0 if name == "bits_per_byte" else factor * np.exp(rng.normal(0, noise))
                rows.append(("tiny", "group8", 4, seed, arm, name, value, "x", "measured", "cpu"))
    columns = ["model", "scheme", "bits", "seed", "arm", "metric", "value", "unit", "provenance"]
    return pd.DataFrame(rows, columns=[*columns, "device"])


ANALYSE = AnalyseSpec(parity_seeds=6, alpha=0.05, margins=SETTINGS.margins)


@pytest.mark.parametrize(
    "slowdown,verdict", [(0.0, "equivalent"), (0.1, "slower"), (-0.1, "faster")]
)
def test_planted_effects_are_found(slowdown: float, verdict: str) -> None:
    statistics = analyse(planted(slowdown), ANALYSE)
    rows = statistics[(statistics["metric"] == "prefill_ms") & (statistics["subset"] == "all")]
    for scheme in ("group8", "all"):
        verdicts = rows[rows["scheme"] == scheme].set_index("contrast")["verdict"]
        assert verdicts["repermute_vs_permute_first"] == verdict
        assert verdicts["planted"] == "slower" and verdicts["aa"] == "equivalent"
    exact = statistics[statistics["metric"] == "bits_per_byte"]
    assert set(exact["verdict"]) == {"degenerate"} and set(exact["estimate"]) == {0.0}
    assert set(statistics[statistics["subset"] == "parity"]["n"]) == {6}


def test_pooling_averages_the_noise_of_the_schemes() -> None:
    one, other = planted(0.0), planted(0.0)
    rng = np.random.default_rng(1)
    other["scheme"] = "group16"
    other["value"] *= np.exp(rng.normal(0, 0.01, len(other)))
    both = pooled(pd.concat([one, other], ignore_index=True))
    assert len(both) == len(one) * 2 // 3 and set(both["scheme"]) == {"all"}
    row = both[(both["arm"] == names.DENSE) & (both["metric"] == "decode_ms")].iloc[0]
    pair = [
        frame[(frame["arm"] == names.DENSE) & (frame["metric"] == "decode_ms")]["value"].iloc[0]
        for frame in (one, other)
    ]
    assert row["value"] == pytest.approx(np.sqrt(pair[0] * pair[1]))


def test_every_family_is_analysed_and_an_empty_table_keeps_its_columns() -> None:
    observations = planted(0.0)
    statistics = analyse(observations, ANALYSE)
    timed = [family for family in families() if family.metric != "bits_per_byte"]
    assert len(statistics) == 2 * (len(list(families())) + len(timed))
    empty = analyse(observations.iloc[:0], ANALYSE)
    assert empty.empty and list(empty.columns) == list(statistics.columns)
    assert summarise(observations.iloc[:0], empty).empty


def test_a_group_that_does_not_divide_is_refused(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = json.loads(spec("run_quantization", seed="0")) | {"schemes": ["group5"]}
    assert run(project / "group5", json.dumps(settings)) == 2
    assert not (project / "group5/record.json").exists()
    assert "seqlab: error" in capsys.readouterr().err


def test_a_run_keeps_only_what_it_found_of_the_dense_model(project: Path) -> None:
    model = load_causal_lm(project / "model").eval()
    tokens = {split: load_tokens(project / "tokens", split) for split in ("train", "test")}
    settings = SETTINGS.step_spec("run_quantization", WILDCARDS | {"seed": "0"})
    assert isinstance(settings, RunSpec)
    run = Run(settings, model, mamba_sites(model.config), tokens["train"], tokens["test"], "numba")
    built = run.build(Quantization("group8", 4))
    assert len({arm.function for arm in built.values()}) == 4
    assert len(run._affinities) == 3
    run.forget()
    assert set(run._affinities) == {run.dense.function} == {key for key, _ in run._layouts}


@pytest.mark.parametrize(
    "change,needle",
    [
        ({"seeds": 1}, "seeds"),
        ({"parity_seeds": 9}, "parity_seeds must not exceed seeds"),
        ({"bits": [4, 4]}, "bits holds a value twice"),
        ({"affinity": {"tokens": 100, "window": 64}}, "multiple of affinity.window"),
        ({"schemes": ["group0"]}, "schemes"),
        ({"latency": SETTINGS.latency.model_dump() | {"threads": 2}}, "latency.threads"),
    ],
)
def test_wrong_settings_are_refused(change: dict[str, object], needle: str) -> None:
    with pytest.raises(ValueError, match=needle):
        QuantizationSpec.model_validate(SETTINGS.model_dump() | change)


def test_torch_threads_are_those_of_the_settings(records: list[Record]) -> None:
    assert torch.get_num_threads() == 1
    assert {record.environment["threads"] for record in records} == {1}

"""Compilers: arms are compiled, checked and timed; planted effects and interactions are found."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError
from tiny_subject import SPEC as BENCH
from tiny_subject import TinySubject
from torch import Tensor, nn

from seqlab.errors import UserError
from seqlab.models.compilers import Compiled, Unavailable
from seqlab.plots.tables import write_table
from seqlab.studies.codesign.backends import tables
from seqlab.studies.codesign.backends.run import compare_backends
from seqlab.studies.codesign.backends.spec import (
    ARMS,
    ITERATIVE_SPARSE,
    BackendsRunSpec,
    BackendsSpec,
)
from seqlab.studies.codesign.backends.statistics import LATENCY, analyse
from seqlab.studies.codesign.experiment import AnalyseSpec
from seqlab.studies.codesign.workbench.bench import Bench, Found

ANALYSE = AnalyseSpec(alpha=0.05, margin=0.02, quality_margin=0.005)
COMPILERS = ("eager", "inductor", "onnxruntime", "tvm")


class Subject(TinySubject):
    def compiled_inputs(self) -> Tensor:
        return self._ids(3, self.spec.batch, self.spec.length)


def run_spec() -> BackendsRunSpec:
    return BackendsRunSpec(
        bench=BENCH,
        cell="tiny",
        seed=0,
        threads=torch.get_num_threads(),
        compilers=COMPILERS,
        mode="default",
        trials=0,
        repeats=3,
    )


class Make:
    """Compiles nothing: calls the model, and remembers what it was given."""

    def __init__(self, wrong: str = "") -> None:
        self.wrong = wrong
        self.likes: list[tuple[str, str | None]] = []

    def __call__(
        self, model: nn.Module, inputs: Tensor, compiler: str, threads: int, **rest: Any
    ) -> Compiled:
        if compiler == "tvm":
            raise Unavailable(compiler, "not installed: tvm")
        like = rest["like"]
        self.likes.append((compiler, None if like is None else like.compiler))
        model = copy.deepcopy(model)
        scale = 1.01 if compiler == self.wrong else 1.0

        def call() -> Tensor:
            with torch.inference_mode():
                return model(inputs).logits * scale

        exported = Path("model.onnx") if compiler == "onnxruntime" else None
        details: dict[str, str | int | float] = {"graphs": 3} if compiler == "inductor" else {}
        return Compiled(compiler, "1", call, 0.5, threads, False, details, exported)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Found, Make]]:
    make = Make()
    folder = tmp_path_factory.mktemp("cache")
    bench = Bench(Subject(), BENCH, 0)
    yield compare_backends(bench, run_spec(), folder, make), make


def test_every_arm_is_timed_and_checked_by_every_compiler(made: tuple[Found, Make]) -> None:
    found, make = made
    places = {f"dense/{c}/{arm}" for c in COMPILERS for arm in ARMS["dense"]}
    places |= {f"dense/eager/{ITERATIVE_SPARSE}"}
    places |= {f"csr/{c}/{arm}" for c in ("eager", "inductor") for arm in ARMS["csr"]}
    assert set(found.metrics) == places
    for place, metrics in found.metrics.items():
        latency = metrics["latency_ms"]
        if "/tvm/" in place:
            assert latency.value is None and latency.reason == "not installed: tvm"
            continue
        assert latency.value is not None and latency.value > 0
        assert found.checks[place]["product"].passed
        if not place.endswith(ITERATIVE_SPARSE):
            assert found.checks[place]["compiled"].passed
    assert found.metrics["dense/inductor/dense"]["graphs"].value == 3
    assert "bits_per_byte" in found.metrics["dense/eager/iterative_1"]
    moved = found.checks["dense/onnxruntime/linear_PT"]
    assert moved["layout_equivalence"].passed
    # The first arm of a compiler is exported, the others take its file.
    likes = [like for compiler, like in make.likes if compiler == "onnxruntime"]
    assert likes == [None, *["onnxruntime"] * 3]
    seconds = [found.metrics[f"dense/onnxruntime/{a}"]["compile_s"].value for a in ARMS["dense"]]
    assert sorted(seconds, key=str) == [0.5, None, None, None]


def test_what_computes_something_else_is_not_timed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="logits differ"):
        compare_backends(Bench(Subject(), BENCH, 0), run_spec(), tmp_path, Make("inductor"))
    with pytest.raises(UserError, match="more than a tensor"):
        compare_backends(Bench(TinySubject(), BENCH, 0), run_spec(), tmp_path, Make())


def test_wrong_settings_are_refused() -> None:
    given: dict[str, Any] = {
        "seeds": 3,
        "threads": 1,
        "margin": 0.02,
        "quality_margin": 0.005,
        "architectures_measured": ["mamba"],
        "mode": "default",
        "trials": 0,
        "repeats": 3,
        "compilers_wanted": ["eager", "inductor"],
    }
    with pytest.raises(ValidationError, match="must hold eager"):
        BackendsSpec(**given, compilers=["inductor"])
    with pytest.raises(ValidationError, match="lacks tvm"):
        BackendsSpec(**given, compilers=["eager", "inductor", "tvm"])


def observations(both: float, runs: int = 5) -> pd.DataFrame:
    """Return made-up runs: fusion takes 0.8, the layout 0.9, and together `both` of the time."""
    rng = np.random.default_rng(0)
    rows = []
    for seed in range(runs):
        for kernel, arms in ARMS.items():
            for compiler in ("eager", "inductor", "tvm"):
                meant = (ITERATIVE_SPARSE,) if (kernel, compiler) == ("dense", "eager") else ()
                for arm in (*arms, *meant):
                    place = ("mamba", "m", kernel, compiler, arm, seed)
                    if compiler == "tvm":
                        if kernel == "dense":
                            lacking = (np.nan, "ms", "measured", "cpu", "not installed: tvm")
                            rows.append((*place, LATENCY, *lacking))
                        continue
                    fused, laid = compiler == "inductor", arm.startswith("iterative_1")
                    factor = both if fused and laid else 0.8**fused * 0.9**laid
                    ms = 10 * factor * float(np.exp(0.001 * rng.normal()))
                    rows.append((*place, LATENCY, ms, "ms", "measured", "cpu", np.nan))
                    rows.append((*place, "compile_s", 3.0, "s", "measured", "cpu", np.nan))
                    if kernel == "dense" and not fused:
                        score = 1.5 + 0.1 * (arm != "dense") + 0.001 * rng.normal()
                        quality = ("bits_per_byte", score, "bits/byte", "measured", "cpu", np.nan)
                        rows.append((*place, *quality))
    columns = ["cell", "model", "kernel", "level", "arm", "seed", "metric", "value", "unit"]
    return pd.DataFrame(rows, columns=[*columns, "provenance", "device", "reason"])


@pytest.mark.parametrize(
    ("both", "verdict", "words"),
    [
        (0.72, "equivalent", "additive on logs"),
        (0.6, "lower", "more than both"),
        (0.8, "higher", "less than both"),
    ],
)
def test_interactions(both: float, verdict: str, words: str) -> None:
    seen = observations(both)
    statistics = analyse(seen, ANALYSE)
    found = statistics[statistics["contrast"] == "interaction"].set_index("kernel")
    for kernel in ARMS:
        assert found.loc[kernel, "verdict"] == verdict
        assert found.loc[kernel, "ratio"] == pytest.approx(both / 0.72, rel=0.005)
    table = tables.fusion(seen, statistics)
    assert set(table["together"]) == {words} and (table["n"] == 5).all()


def test_contrasts_across_compilers_and_rows_not_run(tmp_path: Path) -> None:
    seen = observations(0.72)
    statistics = analyse(seen, ANALYSE)
    rows = statistics[statistics["kernel"] == "dense"].set_index(["contrast", "level"])
    for form in ("eager", "sparse"):
        ours = rows.loc[(f"iterative_{form}_vs_compiled_dense", "inductor")]
        assert ours["ratio"] == pytest.approx(0.9 / 0.8, rel=0.005) and ours["verdict"] == "slower"
    assert rows.loc[("compiled_vs_eager", "inductor"), "ratio"] == pytest.approx(0.8, rel=0.005)
    assert ("compiled_vs_eager", "eager") not in rows.index
    assert rows.loc[("layout", "eager"), "verdict"].iloc[0] == "faster"
    table = tables.compilers(
        seen, statistics, ["eager", "inductor", "openvino", "tvm"], "laptop"
    ).set_index("compiler")
    assert table.loc["tvm", "reason"] == "not installed: tvm"
    assert table.loc["openvino", "reason"] == "not among the compilers of laptop scale"
    assert set(table.loc[["tvm", "openvino"], "verdict"]) == {"not_run"}
    assert (
        table.loc["inductor", "verdict"] == "slower" and table.loc["eager", "verdict"] == "faster"
    )
    paths = {kind: tmp_path / f"table.{kind}" for kind in ("csv", "md", "tex")}
    write_table(table.reset_index(), **paths)
    assert "not run" in paths["md"].read_text()


def test_without_a_compiler_fusion_was_not_run() -> None:
    seen = observations(0.72)
    seen = seen[seen["level"] == "eager"]
    statistics = analyse(seen, ANALYSE)
    assert "interaction" not in set(statistics["contrast"])
    table = tables.fusion(seen, statistics)
    assert set(table["verdict"]) == set(table["provenance"]) == {"not_run"}
    assert set(table["reason"]) == {"inductor was not measured"}


def test_no_observations_make_empty_tables() -> None:
    nothing = observations(0.72).iloc[:0]
    statistics = analyse(nothing, ANALYSE)
    assert statistics.empty
    assert tables.fusion(nothing, statistics).empty
    assert tables.compilers(nothing, statistics, ["eager"], "paper").empty

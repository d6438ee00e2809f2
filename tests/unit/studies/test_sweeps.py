"""Sweeps: orders compute the same, planted effects are found, nulls stay nulls, figures draw."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from seqlab.data.tokens import Tokens
from seqlab.kernels.selective_scan import selective_scan
from seqlab.layout.permutation import Permutation
from seqlab.models.mamba import MambaForCausalLM
from seqlab.models.mamba_config import MambaConfig
from seqlab.models.mamba_init import init_weights
from seqlab.models.sites import mamba_sites
from seqlab.provenance.record import Metric
from seqlab.studies.codesign.caches import CacheSpec
from seqlab.studies.codesign.comparisons import STATISTICS
from seqlab.studies.codesign.sweeps import grids, layer, width
from seqlab.studies.codesign.sweeps.grid_figures import (
    bandwidth_data,
    bandwidth_figure,
    batch_data,
    batch_figure,
)
from seqlab.studies.codesign.sweeps.layer_figure import layer_data, layer_figure
from seqlab.studies.codesign.sweeps.spec import (
    BandwidthSpec,
    BatchSpec,
    CallsSpec,
    LayerSpec,
    SweepsAnalyseSpec,
    SweepsRunSpec,
    WidthSpec,
)
from seqlab.studies.codesign.sweeps.statistics import analyse
from seqlab.studies.codesign.sweeps.width_figure import width_data, width_figure
from seqlab.studies.codesign.workbench.bench import Bench, Found
from seqlab.studies.codesign.workbench.mamba import MambaSubject
from seqlab.studies.codesign.workbench.spec import (
    ArchitectureSpec,
    BenchTimingSpec,
    SolverSpec,
    WorkbenchSpec,
)
from seqlab.studies.codesign.workbench.subject import Subject
from seqlab.threads import fewer_threads

CALLS = CallsSpec(work=64, least=3, most=4)
BENCH = WorkbenchSpec(
    architectures={},
    caches=(
        CacheSpec(name="L1", size=4096, ways=4),
        CacheSpec(name="L2", size=32768, ways=8),
    ),
    solver=SolverSpec(method="spectral_balanced", node_order="multilevel"),
    timing=BenchTimingSpec(warmup_max=3, max_foreign_load=1e9, attempts=1, threads=1),
    gate=1e-10,
)
WIDTH = WidthSpec(
    widths=(32, 48, 64, 96),
    tokens=16,
    expansion=4,
    most_rows=128,
    density=0.05,
    fewest=8,
    communities=4,
    smallest=16,
    mixing=0.1,
    calls=CALLS,
)


class TinyMamba(MambaSubject):
    """A Mamba of random weights on random tokens."""

    def __init__(self) -> None:
        config = MambaConfig(vocab_size=32, hidden_size=32, num_hidden_layers=2, state_size=4)
        spec = ArchitectureSpec(
            kind="mamba",
            asset="tiny",
            pattern="2:4",
            kernels=("csr",),
            batch=1,
            length=16,
            block=16,
            calibration=4,
            traced=2,
            repeats=3,
            quality=0,
        )
        model = init_weights(MambaForCausalLM(config), 0).eval()
        Subject.__init__(
            self,
            "mamba",
            spec,
            model,
            mamba_sites(config),
            tuple(
                f"backbone.layers.{i}.mixer.{part}"
                for i in range(2)
                for part in ("in_proj", "out_proj")
            ),
            rehearsal=False,
        )
        rng = np.random.default_rng(0)
        ids = rng.integers(0, 32, 2048)
        self._held_out = Tokens(ids, np.array([0, 2048]), np.ones(32, np.int64))
        self._seed, self._device = 0, "cpu"
        self._calibration = self.text(4, 16)
        self.ids = self.text(1, 16)


@pytest.fixture
def bench() -> Bench:
    return Bench(TinyMamba(), BENCH, 0)


def test_every_order_of_a_block_is_timed_and_only_solved_ones_skip(bench: Bench) -> None:
    found = Found()
    spec = LayerSpec(lengths=(8, 16), block=16, pruned=0.5, calls=CALLS)
    with fewer_threads(1):
        layer.measure_layer(bench, spec, found)
    orders = {layer.ORIGINAL, layer.AGAIN, layer.RANDOM, layer.OURS}
    wanted = {
        f"{kernel}/{length}/{order}"
        for kernel in ("dense", "block_scan")
        for length in (8, 16)
        for order in orders
    }
    assert set(found.metrics) == wanted
    assert all(m["latency_ms"].value > 0 for m in found.metrics.values())
    scanned = {o: found.metrics[f"block_scan/8/{o}"]["scanned_blocks"].value for o in orders}
    assert scanned[layer.OURS] == 0.5
    assert scanned[layer.RANDOM] == scanned[layer.ORIGINAL] == 1.0
    assert "layout_equivalence" in found.checks["dense/8/ours"]
    assert found.checks["block_scan/16/ours"]["product"].passed


def test_pruned_channels_hand_on_nothing(bench: Bench) -> None:
    subject = bench.subject
    assert isinstance(subject, TinyMamba)
    alive = layer.living_channels(subject, 0.25)
    assert alive.sum() == 48
    pruned = layer.without_channels(subject.model, subject.sites["inner.0"], alive)
    inputs = layer.scan_inputs(pruned, subject.text(1, 12), alive)
    assert torch.count_nonzero(inputs.u[..., ~alive]) == 0
    assert torch.count_nonzero(inputs.complete()[..., ~alive]) == 0
    # The inputs are those of the block: its scan, projected, is what the mixer returns.
    model: Any = pruned
    block = model.backbone.layers[0]
    hidden = model.backbone.embeddings(subject.text(1, 12))
    with torch.inference_mode():
        expected = block.mixer(block.norm(hidden))
        torch.testing.assert_close(block.mixer.out_proj(inputs.complete()), expected)
    order = Permutation.random(64, np.random.default_rng(0))
    moved = inputs.arranged(order)
    y, _ = selective_scan(moved.u, moved.delta, moved.a, moved.b, moved.c, d=moved.d, z=moved.z)
    torch.testing.assert_close(order.inverse().apply(y, axis=-1), inputs.complete())


def test_a_scan_of_something_else_is_refused(bench: Bench) -> None:
    ones = torch.ones(1, 2, 4)
    same = {layer.ORIGINAL: Permutation.identity(4)}
    with pytest.raises(Exception, match="order original"):
        layer._checked({layer.ORIGINAL: lambda: 1.01 * ones}, same, lambda: ones)


def test_batches_are_timed_with_the_text_that_they_say(bench: Bench) -> None:
    found = Found()
    spec = BatchSpec(length=8, batches=(1, 2), wanted=(1, 2, 4), calls=CALLS)
    with fewer_threads(1):
        grids.measure_batches(bench, spec, found)
    assert {f"csr/{b}/{a}" for b in (1, 2) for a in grids.ARMS} <= set(found.metrics)
    assert len(found.samples["csr/1/latency/dense/ns"]) == 4
    assert found.checks["csr/all/iterative_1"]["product"].passed
    assert found.metrics["csr/all/linear_PT"]["sparsity"].value == 0.5


def test_products_are_placed_below_a_measured_roof(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:

    def peak(threads: int) -> float:
        # Foreign load is read off a clock of 10 ms ticks.
        time.sleep(0.1)
        return 40e9

    monkeypatch.setattr(grids, "matmul_roofline", peak)
    monkeypatch.setattr(grids, "copy_bandwidth", lambda threads: 10e9)
    found = Found()
    spec = BandwidthSpec(pairs=((1, 16), (2, 16)), wanted=((1, 16),), traced=2, calls=CALLS)
    with fewer_threads(1):
        grids.measure_bandwidth(bench, spec, found)
    machine = found.metrics[grids.MACHINE]
    assert machine["ridge"].value == 4.0
    linear, dense = found.metrics["csr/2x16/linear_PT"], found.metrics["csr/2x16/dense"]
    # First and last pruned layer: in_proj 128 x 32 and out_proj 32 x 64, half their weights left.
    assert linear["flops"].value == 2 * 32 * (128 * 32 + 32 * 64) / 2
    assert dense["flops"].value == 2 * linear["flops"].value
    assert linear["intensity"].value == linear["flops"].value / linear["dram_bytes"].value
    assert linear["memory_bound"].value == float(linear["intensity"].value < 4.0)
    assert "dram_bytes" not in dense
    nothing = Metric(value=0, unit="bytes", provenance="simulated")
    placed = grids.placed(nothing, 1.0, 1.0, 1.0, 1.0)
    assert placed["intensity"].value is None and placed["intensity"].reason


def test_planted_matrices_have_the_elements_and_communities_asked_for() -> None:
    spec = WIDTH.model_copy(update={"mixing": 0.0, "communities": 4, "density": 0.1})
    planted = width.planted_matrix(200, 96, spec, np.random.default_rng(0))
    assert (np.diff(planted.matrix.indptr) == 10).all()
    assert sorted(np.bincount(planted.community)) == [24] * 4
    for row in range(200):
        columns = planted.matrix.indices[slice(*planted.matrix.indptr[row : row + 2])]
        assert len(set(planted.community[columns])) == 1
    order = width.clustered_columns(planted)
    rows = width.rows_by_columns(planted, order)
    moved = planted.matrix[rows.indices][:, order.indices].tocoo()
    # Sorted by community on both sides: blocks on a diagonal.
    first = [moved.col[moved.row == row].min() // 24 for row in range(200)]
    assert first == sorted(first)


def test_the_clustered_order_keeps_communities_together() -> None:
    planted = width.planted_matrix(128, 64, WIDTH, np.random.default_rng(0))
    order = width.clustered_columns(planted)
    blocks = planted.community[order.indices].reshape(4, 16)
    assert all(len(set(block)) == 1 for block in blocks)


def test_every_order_of_a_width_computes_the_product() -> None:
    found = Found()
    spec = SweepsRunSpec(bench=BENCH, cell="width", seed=0, threads=1, sweep=WIDTH)
    with fewer_threads(1):
        width.measure_width(spec, found)
    kernels = (width.CSR, width.GATHER, width.DENSE)
    for kernel in kernels:
        for level in WIDTH.widths:
            arms = [found.metrics[f"{kernel}/{level}/{a}"] for a in ("random", "clustered")]
            assert arms[0]["stored"] == arms[1]["stored"]
            assert found.checks[f"{kernel}/{level}/clustered"]["product"].value < 1e-4
    assert found.metrics["csr/96/clustered"]["operand_bytes"].value == 96 * 16 * 4
    assert found.metrics["gather/48/clustered"]["operand_bytes"].value == 128 * 48 * 4


ANALYSE = SweepsAnalyseSpec(
    alpha=0.05,
    margin=0.02,
    quality_margin=0.005,
    wanted={
        "layer": ("64", "128"),
        "batch": ("1", "2", "4", "8"),
        "bandwidth": ("1x32", "1x64", "2x64"),
        "width": tuple(map(str, (64, 128, 256, 512, 1024, 2048))),
    },
    breakpoint_margin=1.0,
    resamples=200,
    seed=17,
)


def observations(gain: float = 0.0, noise: float = 0.002, runs: int = 6) -> pd.DataFrame:
    """Return made-up rows: what is permuted again is faster by `gain`, grown with the width."""
    rng, rows = np.random.default_rng(0), []

    def add(cell: str, kernel: str, level: Any, arm: str, seed: int, **values: float) -> None:
        for metric, value in values.items():
            kind = "simulated" if metric in ("dram_bytes", "intensity") else "measured"
            place = (cell, "made-up", kernel, str(level), arm, seed)
            rows.append((*place, metric, value, "1", kind, "cpu"))

    for seed in range(runs):

        def timed(value: float) -> float:
            return float(value * np.exp(noise * rng.normal()))

        for kernel in ("dense", "block_scan"):
            faster = gain if kernel == "block_scan" else 0.0
            for length in (64, 128):
                for arm in ("original", "original_aa", "random", "ours"):
                    value = timed(length / 64 * (1 - faster * (arm == "ours")))
                    add("layer", kernel, length, arm, seed, latency_ms=value)
        for batch in (1, 2, 4):
            for arm in ("linear_PT", "iterative_1", "dense", "dense_aa"):
                value = timed(batch * (1 - gain * (arm == "iterative_1")))
                add("batch", "csr", batch, arm, seed, latency_ms=value)
        add(
            "bandwidth", "roofline", "all", "machine", seed,
            peak_gflop_per_s=50 + timed(1), stream_gb_per_s=10 + timed(1), ridge=5.0,
        )  # fmt: skip
        for index, level in enumerate(("1x32", "1x64")):
            for arm in ("linear_PT", "iterative_1", "dense", "dense_aa"):
                again = arm == "iterative_1"
                value = timed(1 - gain * again)
                values = {"latency_ms": value, "site_latency_ms": timed(value)}
                if not arm.startswith("dense"):
                    values |= {
                        "gflop_per_s": timed(20), "dram_bytes": 1e6, "intensity": 2.0 + 8 * index,
                        "bandwidth_share": timed(0.3 + 0.2 * again * (gain > 0)),
                        "memory_bound": 1.0 - index,
                    }  # fmt: skip
                add("bandwidth", "csr", level, arm, seed, **values)
        add("width", "machine", "all", "caches", seed, L1_bytes=2**15, L2_bytes=2**20)
        for kernel in ("csr", "gather", "dense"):
            for octave, size in enumerate((64, 128, 256, 512, 1024, 2048)):
                share = gain * max(0, octave - 2) if kernel != "dense" else 0.0
                for arm in ("random", "random_aa", "clustered"):
                    value = timed(1 - share * (arm == "clustered"))
                    add(
                        "width", kernel, size, arm, seed,
                        latency_ms=value, operand_bytes=size * 4096,
                    )  # fmt: skip
    columns = ["cell", "model", "kernel", "level", "arm", "seed"]
    values = ["metric", "value", "unit", "provenance", "device"]
    return pd.DataFrame(rows, columns=[*columns, *values])


def pick(table: pd.DataFrame, **where: str) -> pd.DataFrame:
    for column, value in where.items():
        table = table[table[column] == value]
    assert len(table)
    return table


def test_planted_effects_are_found_and_the_control_shows_none() -> None:
    table = analyse(observations(0.1), ANALYSE)
    assert list(table.columns) == STATISTICS
    scan = pick(table, contrast="ours_vs_random", kernel="block_scan", metric="latency_ms")
    assert set(scan["verdict"]) == {"faster"}
    dense = pick(table, contrast="ours_vs_random", kernel="dense", metric="latency_ms")
    assert set(dense["verdict"]) == {"equivalent"}
    bound = pick(table, contrast="iterative_vs_linear_PT", level="memory_bound")
    assert set(bound["verdict"]) == {"faster"}
    peak = pick(table, contrast="peak_share")
    assert peak["verdict"].tolist() == ["higher"]
    # Shares are computed from times, and identical arms differ in those.
    assert 0 < peak["noise_limit"].item() < 0.1
    means = pick(table, contrast="mean", metric="peak_bandwidth_share")
    assert set(means["treatment"]) == {"linear_PT", "iterative_1"}
    spread = pick(table, contrast="spread_of_gain")
    assert spread["estimate"].item() < 1.0
    level = pick(table, contrast="breakpoint", kernel="csr")
    assert level["ci_low"].item() <= 256 <= level["ci_high"].item()
    # The operand is as large as the cache at a width of 256.
    at = pick(table, contrast="boundary", kernel="csr", treatment="L2")
    assert at["estimate"].item() == pytest.approx(256)
    assert pick(table, contrast="breakpoint_vs_L2", kernel="csr")["verdict"].item() == "equivalent"
    assert pick(table, contrast="power_law", kernel="csr")["verdict"].item() == "higher"


def test_without_an_effect_there_is_no_threshold() -> None:
    table = analyse(observations(0.0), ANALYSE)
    for contrast in ("breakpoint", "breakpoint_vs_L2"):
        row = pick(table, contrast=contrast, kernel="csr")
        assert row["verdict"].item() == "inconclusive"
        assert np.isnan(row["ci_low"].item())
        assert "no threshold" in row["reason"].item()
    contrast = pick(table, contrast="iterative_vs_linear_PT", cell="batch", metric="latency_ms")
    assert set(contrast["verdict"]) == {"equivalent", "not_run"}


def test_levels_that_were_not_run_are_said_not_to_be() -> None:
    table = analyse(observations(0.1), ANALYSE)
    missing = table[table["verdict"] == "not_run"]
    assert set(zip(missing["cell"], missing["level"], strict=True)) == {
        ("batch", "8"),
        ("bandwidth", "2x64"),
    }
    assert missing["reason"].str.startswith("laptop budget").all()
    assert (missing["n"] == 0).all()


def test_devices_are_never_pooled() -> None:
    both = pd.concat([observations(0.1), observations(0.0).assign(device="other")])
    table = analyse(both, ANALYSE)
    place = {"contrast": "breakpoint_vs_L2", "kernel": "csr"}
    assert pick(table, device="cpu", **place)["verdict"].item() == "equivalent"
    assert pick(table, device="other", **place)["verdict"].item() == "inconclusive"
    assert set(table.loc[table["n"] > 0, "n"]) == {6}


@pytest.mark.parametrize("gain", [0.0, 0.1])
def test_figures_draw_what_they_say(gain: float) -> None:
    rows = observations(gain)
    table = analyse(rows, ANALYSE)
    layers, batches, widths = layer_data(table), batch_data(table), width_data(table)
    placed = bandwidth_data(rows, table)
    assert len(layers) == 2 * 2 * (3 + 2)
    assert set(batches["panel"]) == {"latency", "ratio", "spread"}
    assert set(placed["panel"]) == {"placed", "roof", "ratio"}
    assert set(placed.loc[placed["panel"] == "placed", "level"]) == {"1x32", "1x64"}
    assert len(layer_figure(layers, scale="ci").axes) == 4
    assert len(batch_figure(batches, scale="ci").axes) == 2
    assert len(bandwidth_figure(placed, scale="ci").axes) == 3
    assert len(width_figure(widths, scale="ci").axes) == 3
    many = pd.concat([widths, widths.assign(device="other")])
    assert len(width_figure(many, scale="ci").axes) == 6


def test_a_rehearsal_leaves_empty_figures() -> None:
    rows = observations().head(0)
    table = analyse(rows, ANALYSE)
    assert table.empty and list(table.columns) == STATISTICS
    for data, figure in (
        (layer_data(table), layer_figure),
        (batch_data(table), batch_figure),
        (bandwidth_data(rows, table), bandwidth_figure),
        (width_data(table), width_figure),
    ):
        assert data.empty
        assert [text.get_text() for text in figure(data, scale="paper").axes[0].texts] == [
            "no runs"
        ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"widths": (64, 32, 96, 128)}, "ascend"),
        ({"fewest": 17}, "community"),
        ({"density": 0.3}, "do not fit"),
        ({"tokens": 20}, "multiple of 16"),
    ],
)
def test_widths_that_do_not_fit_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        WidthSpec(**WIDTH.model_dump() | changes)


def test_a_run_reads_its_own_sweep_and_nothing_else() -> None:
    import yaml

    from seqlab.spec import resolve
    from seqlab.studies.codesign.spec import CodesignSpec

    path = Path(__file__).resolve().parents[3] / "config/studies/codesign.yaml"
    values = yaml.safe_load(path.read_text())["codesign"]
    for scale in ("laptop", "ci", "paper"):
        study = resolve(CodesignSpec, values, scale, str(path))
        runs = study.sweeps.runs()
        assert len(runs) == study.sweeps.layer_seeds + 3 * study.sweeps.seeds
        for cell in study.sweeps.cells():
            spec = study.step_spec("run_sweeps", {"cell": cell, "seed": "1"})
            assert isinstance(spec, SweepsRunSpec)
            assert type(spec.sweep) is type(getattr(study.sweeps, cell))
            assert SweepsRunSpec.model_validate_json(spec.canonical()) == spec
    assert {*study.sweeps.batch.wanted} == {*study.sweeps.batch.batches}
    with pytest.raises(ValueError, match=r"batch\.wanted"):
        type(study.sweeps)(
            **study.sweeps.model_dump()
            | {"batch": study.sweeps.batch.model_dump() | {"wanted": (1,)}}
        )
    assert CALLS.calls(1) == 4 and CALLS.calls(1000) == 3

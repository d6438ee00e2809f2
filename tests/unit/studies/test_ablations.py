"""Ablations: variants are what they say, planted effects are found, nulls are nulls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import statsmodels.api
import statsmodels.formula.api
import torch
import yaml
from torch import Tensor, nn

from seqlab.data.community_graph import draw_community_graph
from seqlab.kernels import traces
from seqlab.kernels.aggregate import Adjacency
from seqlab.layout.node_orders import ORDERS
from seqlab.layout.permutation import Permutation
from seqlab.layout.solvers import METHODS
from seqlab.models.graph_network import (
    GraphNetwork,
    GraphNetworkConfig,
    graph_network_sites,
    normalized_adjacency,
)
from seqlab.models.mamba import MambaForCausalLM
from seqlab.models.mamba_config import MambaConfig
from seqlab.models.mamba_init import init_weights
from seqlab.models.sites import mamba_sites
from seqlab.studies.codesign.ablations import tables, variants
from seqlab.studies.codesign.ablations.contrasts import analyse
from seqlab.studies.codesign.ablations.gradients import gradient_affinities
from seqlab.studies.codesign.ablations.planner import Planner
from seqlab.studies.codesign.ablations.run import build_variants, measure_cell
from seqlab.studies.codesign.ablations.spec import AblationsSpec, RunAblationSpec
from seqlab.studies.codesign.ablations.variants import Plan, Variant
from seqlab.studies.codesign.experiment import AnalyseSpec
from seqlab.studies.codesign.workbench import names as arms
from seqlab.studies.codesign.workbench.bench import Bench, Found
from seqlab.studies.codesign.workbench.spec import ArchitectureSpec, WorkbenchSpec
from seqlab.studies.codesign.workbench.subject import Product, Subject

BENCH = WorkbenchSpec.model_validate(
    {
        "architectures": {
            "mamba": {
                **{"kind": "mamba", "asset": "tiny", "pattern": "2:4", "kernels": ["csr"]},
                **{"batch": 1, "length": 16, "block": 8, "calibration": 10, "traced": 1},
                **{"repeats": 3, "quality": 0},
            },
            "gcn": {
                **{"kind": "graph", "asset": "tiny", "pattern": "2:4", "kernels": ["csr"]},
                **{"batch": 1, "length": 1, "block": 32, "calibration": 1, "traced": 1},
                **{"repeats": 3, "quality": 0},
            },
        },
        "caches": [
            {"name": "L1", "size": 4096, "ways": 4},
            {"name": "L2", "size": 32768, "ways": 8},
        ],
        "solver": {"method": "spectral_balanced", "node_order": "multilevel"},
        "timing": {"warmup_max": 1, "max_foreign_load": 1000.0, "attempts": 1, "threads": 1},
        "gate": 1e-10,
    }
)
SETTINGS: dict[str, Any] = {
    "architectures_measured": ["mamba", "gcn"],
    "architecture": "mamba",
    "kernels": ["csr"],
    "methods": ["random", "identity", "tsp", "spectral_balanced", "metis"],
    "node_orders": ["random", "original", "multilevel"],
    "rounds": [0, 1, 2],
    "few_share": 0.1,
    "blocks": [4, 8],
    "clusters": [4, 64],
    "clusters_reference": 4,
    "repeats": 3,
    "quality": 0,
    "seeds": 3,
    "threads": 1,
    "margin": 0.02,
    "quality_margin": 0.005,
}
SPEC = AblationsSpec(**SETTINGS)
ANALYSE = AnalyseSpec(alpha=0.05, margin=0.02, quality_margin=0.005)


class TinyMamba(Subject):
    """A Mamba of random weights on random tokens; 16 hidden features, 32 inner, 4 layers."""

    def __init__(self, spec: ArchitectureSpec) -> None:
        config = MambaConfig(vocab_size=24, hidden_size=16, state_size=4, num_hidden_layers=4)
        model = init_weights(MambaForCausalLM(config), 0).eval()
        mixers = [f"backbone.layers.{i}.mixer" for i in range(4)]
        layers = tuple(f"{mixer}.{part}" for mixer in mixers for part in ("in_proj", "out_proj"))
        super().__init__("mamba", spec, model, mamba_sites(config), layers, rehearsal=False)
        generator = torch.Generator().manual_seed(0)
        self.windows = torch.randint(24, (spec.calibration, spec.length), generator=generator)

    def calibrate(self, model: nn.Module) -> None:
        model(self.windows)

    def calibration_losses(self, model: nn.Module) -> Iterator[Tensor]:
        for window in self.windows.split(1):
            logits = model(window[:, :-1]).logits
            yield nn.functional.cross_entropy(logits[0], window[0, 1:])

    def gate_inputs(self) -> Tensor:
        return self.windows[:8, :8]

    def caller(self, model: nn.Module, nodes: Permutation | None) -> Callable[[], Tensor]:
        return lambda: model(self.windows[:1]).logits

    def score(self, model: nn.Module) -> None:
        return None


class TinyGraph(Subject):
    """A graph network of random weights on 512 nodes in 16 communities, labels shuffled."""

    def __init__(self, spec: ArchitectureSpec) -> None:
        config = GraphNetworkConfig("gcn", 16, 16, 4)
        torch.manual_seed(0)
        model = GraphNetwork(config).eval()
        layers = ("convs.0.lin", "convs.1.lin")
        super().__init__("gcn", spec, model, graph_network_sites(config), layers, rehearsal=False)
        drawn = draw_community_graph(512, 3000, 16, 4, 16, 0.05, 1.0, np.random.default_rng(0))
        self._x = torch.from_numpy(drawn.features)
        self._adjacency = normalized_adjacency(torch.from_numpy(drawn.edge_index), 512, "gcn")

    @property
    def graph(self) -> scipy.sparse.csr_array:
        return self._adjacency.scipy()

    def calibrate(self, model: nn.Module) -> None:
        model(self._x, self._adjacency)

    def gate_inputs(self) -> dict[str, Any]:
        return {"x": self._x[:64], "adjacency": Adjacency.of(self.graph[:64][:, :64])}

    def caller(self, model: nn.Module, nodes: Permutation | None) -> Callable[[], Tensor]:
        assert nodes is not None
        x, adjacency = nodes.apply(self._x).contiguous(), self._adjacency.permuted(nodes.indices)
        return lambda: model(x, adjacency).logits

    def score(self, model: nn.Module) -> None:
        return None

    def products(self, model: nn.Module, kernel: str, nodes: Permutation | None) -> list[Product]:
        assert nodes is not None
        weight = self._adjacency.permuted(nodes.indices).weight
        x = torch.zeros(512, 16)
        return [
            Product(
                lambda: weight @ x,
                lambda: traces.csr_spmm(weight.indptr, weight.indices, 512, 16),
            )
        ]


def bench_of(name: str) -> tuple[RunAblationSpec, Bench]:
    """Return the settings of objectives on an architecture, and a fresh bench."""
    spec = SPEC.run_spec(BENCH, f"objectives-{name}", 0)
    subject = {"mamba": TinyMamba, "gcn": TinyGraph}[name](spec.bench.architectures[name])
    return spec, Bench(subject, spec.bench, 0)


def value(found: Found, arm: str, metric: str) -> float:
    got = found.metrics[f"csr/all/{arm}"][metric].value
    assert got is not None
    return got


# Settings.


def test_a_run_reads_what_its_cell_compares_and_nothing_else() -> None:
    assert SPEC.cells() == [
        *("objectives-mamba", "objectives-gcn", "components", "sensitivity", "grid", "clusters")
    ]
    own = ("methods", "node_orders", "rounds", "few_windows", "blocks", "clusters")
    read = {
        cell: {name for name in own if getattr(SPEC.run_spec(BENCH, cell, 0), name)}
        for cell in SPEC.cells()
    }
    assert read["objectives-mamba"] == {"methods"}
    assert read["objectives-gcn"] == {"node_orders"}
    assert read["components"] == {"rounds", "few_windows"}
    assert read["sensitivity"] == {"blocks"} and read["grid"] == set()
    assert list(SPEC.run_spec(BENCH, "grid", 0).bench.architectures) == ["mamba"]
    assert SPEC.run_spec(BENCH, "components", 0).few_windows == 1


def test_settings_name_methods_that_exist() -> None:
    names = {*variants.COMPONENT_METHODS, *SPEC.methods, "spectral_kmeans"}
    path = Path(__file__).parents[3] / "config/studies/codesign.yaml"
    names |= {*yaml.safe_load(path.read_text())["codesign"]["ablations"]["methods"]}
    assert names <= {*METHODS}
    assert {*SPEC.node_orders} <= {*ORDERS}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": ["random", "tsp"]}, "identity"),
        ({"node_orders": ["random"]}, "original"),
        ({"rounds": [1, 2]}, "rounds"),
        ({"clusters_reference": 5}, "clusters_reference"),
        ({"blocks": [1, 8]}, "two features"),
        ({"blocks": [8, 8]}, "twice"),
        ({"methods": ["identity", "magic"]}, "methods"),
    ],
)
def test_settings_that_compare_nothing_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AblationsSpec(**SETTINGS | change)


# Variants and their layouts.


def test_layers_laid_out_keep_the_shared_dimension() -> None:
    _, bench = bench_of("mamba")
    subsets = variants.layer_subsets(bench.subject.solved)
    assert subsets == {
        "first_half": ("hidden", "inner.0", "inner.1"),
        "second_half": ("hidden", "inner.2", "inner.3"),
        "every_other": ("hidden", "inner.0", "inner.2"),
    }
    planner = Planner(bench)
    everything = planner.order(planner.dense, Plan())
    half = planner.order(planner.dense, Plan(sites=subsets["first_half"]))
    for name, site in bench.subject.solved.items():
        laid = name in subsets["first_half"]
        wanted = everything.features[name] if laid else Permutation.identity(site.size)
        assert half.features[name] == wanted


def test_no_iteration_and_one_are_the_arms_of_the_workbench() -> None:
    _, bench = bench_of("mamba")
    planner, built = Planner(bench), bench.build([arms.LINEAR_PT, arms.ITERATIVE])
    for pipeline in (arms.LINEAR_PT, arms.ITERATIVE):
        arm, seconds = planner.build(Variant(pipeline=pipeline))
        assert arm.function == built[pipeline].function
        assert arm.order == built[pipeline].order and seconds > 0
    (_, once), (_, iterated) = (
        planner.build(Variant(pipeline=p)) for p in (arms.LINEAR_PT, arms.ITERATIVE)
    )
    assert iterated > once, "the second layout takes time too"


def test_the_adaptive_block_is_that_of_the_planted_communities() -> None:
    _, bench = bench_of("mamba")
    planner = Planner(bench)
    rng = np.random.default_rng(0)
    planted = {}
    for name, site in bench.subject.solved.items():
        label = rng.permutation(np.arange(site.size) // 8)
        planted[name] = (label[:, None] == label).astype(float)
        np.fill_diagonal(planted[name], 0)
    bench._affinities[planner.dense.function] = planted
    assert planner.best_block([4, 8, 16]) == 8


def test_gradient_affinity_is_the_correlation_of_gradient_times_activation() -> None:
    _, bench = bench_of("mamba")
    subject = bench.subject
    found = gradient_affinities(subject, subject.model, bench.spec.solver)
    layer = subject.model.get_submodule("backbone.layers.1.mixer.out_proj")
    seen: list[Tensor] = []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        inputs[0].retain_grad()
        seen.append(inputs[0])

    handle = layer.register_forward_pre_hook(keep)
    for loss in subject.calibration_losses(subject.model):
        loss.backward()
    handle.remove()
    products = np.concatenate([(x * x.grad)[0].detach().double().numpy() for x in seen])
    expected = np.abs(np.corrcoef(np.abs(products).T))
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(found["inner.1"], expected, atol=1e-5)
    assert {*found} == {*subject.solved}


def test_few_and_gradients_change_the_first_layout_alone() -> None:
    spec = SPEC.run_spec(BENCH, "components", 0)
    own = spec.bench.architectures["mamba"]
    bench = Bench(TinyMamba(own), spec.bench, 0)
    few = TinyMamba(own.model_copy(update={"calibration": spec.few_windows}))
    built = build_variants(spec, bench, few)
    assert next(iter(built.arms)) == variants.FULL
    assert {*built.arms} == {
        *(variants.FULL, "few_samples", "gradients", "iterations_0", "iterations_2"),
        *variants.COMPONENT_METHODS,
    }
    full = built.arms[variants.FULL]
    for name in ("few_samples", "gradients"):
        assert built.arms[name].function != full.function, "another order before pruning"
        assert built.arms[name].order == bench.order(built.arms[name]), "the last is structural"
    # More iterations than one end in the layout that is solved for what they pruned.
    twice = built.arms["iterations_2"]
    assert twice.order == bench.order(twice)


# Runs.


def test_objectives_share_one_function_and_differ_in_order() -> None:
    spec, bench = bench_of("mamba")
    found = measure_cell(spec, bench, None)
    assert [*found.metrics] == [
        f"csr/all/{name}"
        for name in ("identity", "random", "tsp", "spectral_balanced", "metis", "identity_aa")
    ]
    assert value(found, "identity", "similarity_to_reference") == 1
    assert value(found, "spectral_balanced", "similarity_to_reference") < 1
    best = value(found, "spectral_balanced", "q_newman")
    assert best > max(value(found, name, "q_newman") for name in ("identity", "random"))
    for name in found.metrics:
        assert found.metrics[name]["sparsity"].value == 0.5
        assert found.metrics[name]["L1_misses"].provenance == "simulated"
        assert found.checks[name]["product"].passed
    gated = {name for name, checks in found.checks.items() if "layout_equivalence" in checks}
    assert gated == {*found.metrics} - {"csr/all/identity", "csr/all/identity_aa"}


def test_a_method_without_its_package_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variants, "find_spec", lambda name: None)
    spec, bench = bench_of("mamba")
    found = measure_cell(spec.model_copy(update={"methods": ("identity", "metis")}), bench, None)
    absent = found.metrics["csr/all/metis"]["latency_ms"]
    assert absent.value is None and absent.reason == (
        "needs the package pymetis, which is not installed"
    )


def test_node_orders_leave_features_alone_and_find_communities() -> None:
    spec, bench = bench_of("gcn")
    found = measure_cell(spec, bench, None)
    assert next(iter(found.metrics)) == "csr/all/original"
    for metric, better in (("q_newman", 1), ("L1_misses", -1)):
        ours, random = (value(found, name, metric) for name in ("multilevel", "random"))
        assert better * ours > better * random
    planner = Planner(bench)
    order = planner.order(planner.dense, Plan(sites=(), nodes="multilevel"))
    assert all(
        order.features[name] == Permutation.identity(site.size)
        for name, site in bench.subject.sites.items()
    )


def test_more_clusters_than_features_are_cut_to_their_number() -> None:
    spec = SPEC.run_spec(BENCH, "clusters", 0)
    bench = Bench(TinyMamba(spec.bench.architectures["mamba"]), spec.bench, 0)
    found = measure_cell(spec, bench, None)
    assert (value(found, "k64", "clusters_least"), value(found, "k64", "clusters_most")) == (16, 32)
    assert (value(found, "k4", "clusters_least"), value(found, "k4", "clusters_most")) == (4, 4)
    assert "L1_misses" not in found.metrics["csr/all/k4"]


# Statistics and tables, on observations made up for the test.

LATENCY_OF = {
    "objectives-mamba": {
        **{"identity": 1.0, "random": 1.0, "tsp": 1.3, "spectral_balanced": 1.0, "metis": None},
        "identity_aa": 1.0,
    },
    "components": {
        **{"full": 1.0, "kmeans": 1.0, "few_samples": 1.0, "gradients": 1.0},
        **{"iterations_0": 1.2, "iterations_2": 1.0, "full_aa": 1.0},
    },
    "sensitivity": {
        **{"full": 1.0, "layers_first_half": 1.0, "layers_second_half": 1.0},
        **{"layers_every_other": 1.0, "sparsity_after": 1.0, "sparsity_before": 1.2},
        **{"block_16": 1.0, "block_adaptive": 1.0, "full_aa": 1.0},
    },
    "grid": {
        **{"iterated_spectral": 0.7, "iterated_random": 0.9, "once_spectral": 0.8},
        **{"once_random": 1.0, "iterated_spectral_aa": 0.7},
    },
    "clusters": {"k64": 1.0, "k16": 1.0, "k256": 1.0, "k64_aa": 1.0},
}
EXTRA = {
    ("sensitivity", "full"): {"block": 64},
    ("sensitivity", "block_16"): {"block": 16},
    ("sensitivity", "block_adaptive"): {"block": 16},
    **{("clusters", f"k{k}"): {"clusters_least": min(k, 128)} for k in (16, 64, 256)},
}


def observations(runs: int = 8) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    rows = []
    for cell, latencies in LATENCY_OF.items():
        for seed in range(runs):
            run = np.exp(0.01 * rng.normal())
            for arm, ms in latencies.items():
                noisy = None if ms is None else ms * run * np.exp(0.002 * rng.normal())
                metrics: dict[str, Any] = {"latency_ms": noisy}
                if ms is not None:
                    metrics |= {"q_newman": 0.1 + 0.001 * rng.normal(), "solver_s": 0.5}
                    metrics |= EXTRA.get((cell, arm), {})
                for metric, number in metrics.items():
                    place = (cell, "tiny", "csr", "all", arm, seed)
                    reason = "the package pymetis is not installed" if number is None else None
                    rows.append((*place, metric, number, "1", "measured", "cpu", reason))
    names = ["cell", "model", "kernel", "level", "arm", "seed", "metric", "value", "unit"]
    return pd.DataFrame(rows, columns=[*names, "provenance", "device", "reason"])


@pytest.fixture(scope="module")
def made() -> tuple[pd.DataFrame, pd.DataFrame]:
    table = observations()
    return table, analyse(table, ANALYSE)


def latency(statistics: pd.DataFrame) -> pd.DataFrame:
    return statistics[statistics["metric"] == "latency_ms"].set_index(["cell", "contrast"])


def test_planted_effects_are_found_and_nulls_are_nulls(
    made: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    verdict = latency(made[1])["verdict"]
    assert verdict["objectives-mamba", "tsp_vs_identity"] == "slower"
    assert verdict["objectives-mamba", "spectral_balanced_vs_tsp"] == "faster"
    assert verdict["objectives-mamba", "random_vs_identity"] == "equivalent"
    assert verdict["components", "iterations_0_vs_full"] == "slower"
    assert verdict["components", "kmeans_vs_full"] == "equivalent"
    assert verdict["sensitivity", "sparsity_before_vs_sparsity_after"] == "slower"
    assert verdict["sensitivity", "block_adaptive_vs_full"] == "equivalent"
    assert verdict["clusters", "k256_vs_k64"] == "equivalent"
    assert {verdict[cell, "aa"] for cell in LATENCY_OF} == {"equivalent"}


def test_p_is_corrected_over_the_variants_of_a_cell(
    made: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    rows = latency(made[1]).loc["components"].drop("aa")
    assert len(rows) == 5
    order = rows.sort_values("p_raw")
    factors = np.arange(len(order), 0, -1)
    expected = np.minimum(np.maximum.accumulate(order["p_raw"] * factors), 1)
    np.testing.assert_allclose(order["p_holm"], expected)


def test_what_was_not_run_is_said_with_its_reason(
    made: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    row = latency(made[1]).loc[("objectives-mamba", "metis_vs_identity")]
    assert row["verdict"] == "not_run" and "pymetis" in row["reason"] and row["n"] == 0
    table = tables.objectives(*made).set_index(["architecture", "objective"])
    assert [name for _, name in table.index][:3] == ["identity", "random", "TSP, 2-opt"]
    assert table.loc[("mamba", "METIS"), "verdict"] == "not_run"
    assert table.loc["llama"]["verdict"].item() == "not_run"


def test_the_grid_has_marginals_interaction_and_variance(
    made: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    rows = latency(made[1]).loc["grid"]
    np.testing.assert_allclose(rows.loc["iteration", "ratio"], np.sqrt(0.9 * 0.7 / 0.8), rtol=0.01)
    np.testing.assert_allclose(rows.loc["clustering", "ratio"], np.sqrt(0.8 * 0.7 / 0.9), rtol=0.01)
    np.testing.assert_allclose(rows.loc["interaction", "ratio"], 0.7 / (0.9 * 0.8), rtol=0.01)
    assert rows.loc["interaction", "verdict"] == "lower"
    grid = made[0][(made[0]["cell"] == "grid") & (made[0]["metric"] == "latency_ms")]
    grid = grid[~grid["arm"].str.endswith("_aa")].assign(
        logs=lambda t: np.log(t["value"].astype(float)),
        iteration=lambda t: t["arm"].str.startswith("iterated"),
        clustering=lambda t: t["arm"].str.endswith("spectral"),
    )
    model = statsmodels.formula.api.ols("logs ~ iteration * clustering", grid).fit()
    expected = statsmodels.api.stats.anova_lm(model, typ=2)
    for name, term in (
        ("anova_iteration", "iteration"),
        ("anova_clustering", "clustering"),
        ("anova_iteration_x_clustering", "iteration:clustering"),
    ):
        assert rows.loc[name, "statistic"] == pytest.approx(expected.loc[term, "F"])
        assert rows.loc[name, "p_raw"] == pytest.approx(expected.loc[term, "PR(>F)"])


def test_tables_show_reference_noise_and_every_configuration(
    made: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    shown = {
        "components": tables.components(*made),
        "sensitivity": tables.sensitivity(*made),
        "clusters": tables.cluster_counts(*made),
    }
    for table in shown.values():
        compared = table[table["verdict"] != "reference"]
        assert compared["ratio"].notna().all() and compared["aa_noise_percent"].notna().all()
        assert compared["p_holm"].notna().all() and (table["n"] == 8).all()
        assert table["configuration"].str.endswith(", again").sum() == 1
    labels = shown["components"].set_index("configuration")
    assert labels.loc["0 (linear_PT)", "ratio"] == pytest.approx(1.2, rel=0.01)
    assert labels.loc["1 (full)", "verdict"] == "reference"
    assert [*shown["components"]["configuration"]][:3] == [
        *("full", "k-means on rows of the affinity", "few calibration inputs")
    ]
    names = [*shown["sensitivity"]["configuration"]]
    assert names.index("16") < names.index("64 (full)")
    assert "adaptive (chosen: 16)" in names and "during (full)" in names
    assert [*shown["clusters"]["configuration"]] == [
        *("k = 16", "k = 64", "k = 256 (a dimension of 128 features gets 128)", "k64, again")
    ]
    grid = tables.iteration_clustering(*made)
    assert [*grid["group"].value_counts(sort=False)] == [4, 7, 1, 3]
    assert grid.set_index("effect").loc["interaction", "ratio"] < 1


def test_a_rehearsal_leaves_every_table_without_numbers() -> None:
    empty = observations().iloc[:0]
    statistics = analyse(empty, ANALYSE)
    assert statistics.empty
    for build in (
        *(tables.components, tables.sensitivity, tables.iteration_clustering),
        tables.cluster_counts,
    ):
        assert build(empty, statistics).empty
    assert [*tables.objectives(empty, statistics)["verdict"]] == ["not_run"]

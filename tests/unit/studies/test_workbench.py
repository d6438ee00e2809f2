"""The workbench: what arms are, that orders keep functions, and what is measured of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_subject import SPEC, TinySubject, tiny_bench
from torch import Tensor

from seqlab.errors import UserError
from seqlab.kernels.cachesim import Level, simulate
from seqlab.layout.permutation import Permutation
from seqlab.models.masks import Pattern, magnitude_mask
from seqlab.models.permuting import Layout
from seqlab.studies.codesign.canonical import function_digest, in_layout
from seqlab.studies.codesign.workbench import names
from seqlab.studies.codesign.workbench.arms import Arm
from seqlab.studies.codesign.workbench.bench import (
    Found,
    check_kernel,
    measure_arms,
    prepare,
    sparsity,
)
from seqlab.studies.codesign.workbench.layouts import (
    Order,
    activation_affinities,
    original_order,
    random_order,
    similarity,
    structural_affinities,
    worth,
)
from seqlab.studies.codesign.workbench.metrics import counted, simulated
from seqlab.studies.codesign.workbench.names import ARMS
from seqlab.studies.codesign.workbench.subject import linear_product


@pytest.fixture(scope="module")
def bench():  # type: ignore[no-untyped-def]
    return tiny_bench()


@pytest.fixture(scope="module")
def arms(bench):  # type: ignore[no-untyped-def]
    return bench.build(ARMS)


def test_what_is_laid_out_is_what_pruned_layers_read() -> None:
    assert sorted(TinySubject().solved) == ["hidden", "inner.0", "inner.1"]


def test_arms_without_T_compute_the_dense_function(arms: dict[str, Arm]) -> None:
    dense = arms[names.DENSE].function
    for name in (names.DENSE_AA, names.RANDOM, names.PERMUTE_ONLY):
        assert arms[name].function == dense
    for name in (names.ALGO_ONLY, names.LINEAR_PT, names.LINEAR_TP, names.ITERATIVE):
        assert arms[name].function != dense


def test_arms_are_the_pipelines_they_are_named_after(bench, arms: dict[str, Arm]) -> None:  # type: ignore[no-untyped-def]
    original = original_order(bench.subject)
    assert arms[names.DENSE].order == arms[names.ALGO_ONLY].order == original
    assert arms[names.PERMUTE_ONLY].order == arms[names.LINEAR_PT].order
    assert arms[names.LINEAR_TP].function == arms[names.ALGO_ONLY].function
    # P, T, P ends with the function of P, T in an order solved on that function.
    assert arms[names.ITERATIVE].function == arms[names.LINEAR_PT].function
    assert arms[names.ITERATIVE].order == bench.order(arms[names.LINEAR_PT])
    # A 2:4 mask made in another order of the inputs is another mask.
    assert arms[names.LINEAR_PT].function != arms[names.ALGO_ONLY].function


def test_more_rounds_prune_in_the_order_of_the_last_one(bench) -> None:  # type: ignore[no-untyped-def]
    twice = bench.build(["iterative_1", "iterative_2"])
    first, second = twice["iterative_1"], twice["iterative_2"]
    again = bench.build([names.LINEAR_PT])[names.LINEAR_PT]
    assert second.order != first.order
    pruned = in_layout(bench.subject.model, first.order.features)
    weight = pruned.get_submodule(bench.subject.layers[0]).weight
    mask = magnitude_mask(weight, Pattern.parse("2:4"))
    assert again.function == first.function
    kept = {name: int((p != 0).sum()) for name, p in second.model.named_parameters()}
    assert kept[f"{bench.subject.layers[0]}.weight"] == int(mask.sum())


def test_unstructured_masks_do_not_depend_on_the_order(bench) -> None:  # type: ignore[no-untyped-def]
    found = bench.build([names.LINEAR_PT, names.LINEAR_TP, names.ITERATIVE], "unstructured50")
    assert len({arm.function for arm in found.values()}) == 1
    # P2: with one function and a solver of functions, iterating ends where T, P does.
    assert found[names.ITERATIVE].order == found[names.LINEAR_TP].order
    ari = similarity(bench.subject, found[names.ITERATIVE].order, found[names.LINEAR_TP].order)
    assert ari == pytest.approx(1.0)


def test_every_order_passes_the_gate_and_a_wrong_one_does_not(bench, arms: dict[str, Arm]) -> None:  # type: ignore[no-untyped-def]
    checks = bench.gate(arms)
    assert "layout_equivalence" not in checks[names.DENSE]
    for name in (names.RANDOM, names.LINEAR_TP, names.ITERATIVE):
        found = checks[name]["layout_equivalence"]
        assert found.passed and found.value <= 1e-10


def test_the_gate_refuses_a_site_that_leaves_a_tensor_out() -> None:
    bench = tiny_bench()
    site = bench.subject.sites["inner.0"]
    kept = tuple(axis for axis in site.axes if "dt_proj" not in axis.tensor)
    bench.subject.sites["inner.0"] = replace(site, axes=kept)
    with pytest.raises(UserError, match="not equivalent"):
        bench.gate(bench.build([names.RANDOM]))


def test_affinities_follow_a_relabelling_of_the_model(bench) -> None:  # type: ignore[no-untyped-def]
    subject, pruned = bench.subject, bench.build([names.ALGO_ONLY])[names.ALGO_ONLY].model
    order = random_order(subject, np.random.default_rng(3)).features
    for find in (
        lambda model: structural_affinities(subject, model),
        lambda model: activation_affinities(subject, model, SPEC.solver),
    ):
        before, after = find(pruned), find(in_layout(pruned, order))
        for site, matrix in before.items():
            indices = order[site].indices
            np.testing.assert_allclose(after[site], matrix[np.ix_(indices, indices)], atol=1e-5)


def test_structural_affinity_is_the_cosine_of_shared_rows(bench) -> None:  # type: ignore[no-untyped-def]
    subject, pruned = bench.subject, bench.build([names.ALGO_ONLY])[names.ALGO_ONLY].model
    found = structural_affinities(subject, pruned)["inner.0"]
    out = (pruned.get_submodule(subject.layers[1]).weight != 0).double().numpy()
    into = (pruned.get_submodule(subject.layers[0]).weight != 0).double().numpy()
    parts = []
    for mask in (into[:64].T, into[64:].T, out):
        shared = mask.T @ mask
        cosine = shared / np.sqrt(np.outer(np.diag(shared), np.diag(shared)))
        np.fill_diagonal(cosine, 0)
        parts.append(cosine)
    np.testing.assert_allclose(found, np.mean(parts, axis=0), atol=1e-12)


def test_a_solved_order_is_worth_more_than_a_random_one(bench, arms: dict[str, Arm]) -> None:  # type: ignore[no-untyped-def]
    affinities = bench.affinities(arms[names.LINEAR_TP])
    solved = worth(bench.subject, affinities, arms[names.LINEAR_TP].order)
    random = worth(bench.subject, affinities, arms[names.RANDOM].order)
    assert solved["q_frac"] > random["q_frac"]
    assert solved["q_newman"] > random["q_newman"]
    assert abs(random["q_excess"]) < 0.05


@pytest.mark.parametrize("kernel", ["dense", "csr", "bsr8"])
def test_kernels_compute_what_dense_products_do(bench, arms: dict[str, Arm], kernel: str) -> None:  # type: ignore[no-untyped-def]
    checks = check_kernel(bench, arms, prepare(bench, arms, kernel))
    assert set(checks) == set(ARMS)
    assert max(check.value for check in checks.values()) < 1e-4


def test_a_kernel_that_computes_something_else_is_refused(bench, arms: dict[str, Arm]) -> None:  # type: ignore[no-untyped-def]
    chosen = {names.ALGO_ONLY: arms[names.ALGO_ONLY]}
    wrong = prepare(bench, {names.ALGO_ONLY: arms[names.DENSE]}, "csr")
    with pytest.raises(UserError, match="differ by"):
        check_kernel(bench, chosen, wrong)


def test_measuring_gives_every_arm_its_metrics_and_raw_samples(bench, arms: dict[str, Arm]) -> None:  # type: ignore[no-untyped-def]
    found = Found()
    chosen = {name: arms[name] for name in (names.DENSE, names.DENSE_AA, names.ITERATIVE)}
    for kernel in ("dense", "csr"):
        measure_arms(bench, chosen, found, kernel=kernel)
    assert set(found.metrics) == {f"{k}/all/{a}" for k in ("dense", "csr") for a in chosen}
    metrics = found.metrics["csr/all/iterative_1"]
    assert metrics["latency_ms"].provenance == "measured"
    assert metrics["dram_bytes"].provenance == "simulated"
    assert found.checks["csr/all/iterative_1"]["product"].passed
    assert found.samples["csr/all/latency/iterative_1/ns"].shape == (3,)
    # A dense product's addresses do not depend on the order; a pruned CSR loads fewer.
    dense = [found.metrics[f"dense/all/{a}"]["dram_bytes"].value for a in chosen]
    assert len(set(dense)) == 1
    csr = {a: found.metrics[f"csr/all/{a}"]["L1_misses"].value for a in chosen}
    assert csr["dense"] == csr["dense_aa"] > csr["iterative_1"]


def test_descriptions_name_sparsity_and_quality(bench, arms: dict[str, Arm]) -> None:  # type: ignore[no-untyped-def]
    described = bench.describe(arms)
    assert described[names.DENSE]["sparsity"].value == 0.0
    assert described[names.ITERATIVE]["sparsity"].value == pytest.approx(0.5)
    assert sparsity(bench.subject, arms[names.LINEAR_PT].model) == pytest.approx(0.5)
    assert (
        described[names.LINEAR_TP]["bits_per_byte"].value
        == described[names.ALGO_ONLY]["bits_per_byte"].value
    )
    assert described[names.LINEAR_TP]["similarity_to_TP"].value == pytest.approx(1.0)
    assert described[names.DENSE]["affinity_change"].value == 0.0


def test_products_are_of_the_inputs_that_the_model_gives() -> None:
    subject = TinySubject()
    products = subject.products(subject.model, "dense", None)
    assert len(products) == len(subject.traced) == 2
    result = products[0].call()
    assert isinstance(result, Tensor) and result.shape == (128, 32)
    seen: list[Tensor] = []
    layer = subject.model.get_submodule(subject.traced[0])
    handle = layer.register_forward_hook(lambda module, args, out: seen.append(out))
    with torch.inference_mode():
        subject.caller(subject.model, None)()
    handle.remove()
    torch.testing.assert_close(result, seen[0][0].t(), rtol=1e-4, atol=1e-5)


def test_levels_that_nothing_reaches_have_no_hit_rate() -> None:
    weight = torch.zeros(8, 8)
    weight[0, 0] = 1.0
    product = linear_product(weight, torch.ones(8, 16), "csr")
    found = counted(simulated([product], SPEC.caches))
    assert found["dram_bytes"].value == found["L2_misses"].value * 64
    silent = Level(4096, 4, 64, "L1"), Level(8192, 8, 64, "L2")
    first = simulate(np.zeros(0, np.uint64), silent)
    metric = counted([first])["L2_hit_rate"]
    assert metric.value is None and metric.reason == "nothing reached L2"


def test_orders_compare_by_value() -> None:
    subject = TinySubject()
    identity = original_order(subject)
    assert identity == Order(Layout(subject.sites), None)
    moved = Layout(subject.sites, {"hidden": Permutation(np.arange(32)[::-1])})
    assert identity != Order(moved, None)
    assert function_digest(subject.model) == function_digest(
        in_layout(subject.model, identity.features)
    )

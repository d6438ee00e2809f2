"""One run of the trade-off: every sparsity in one process, arms of one sparsity interleaved.

All arms are computed by the sparse product; the dense model under dense products is timed among
them, because it is what a sparse model has to beat.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from seqlab.models.pretrained import load_causal_lm
from seqlab.studies.codesign.pareto.names import (
    KERNEL,
    LEARNED,
    LEARNED_LEVEL,
    LEARNED_TP,
    PRUNED,
    level_of,
)
from seqlab.studies.codesign.workbench import names
from seqlab.studies.codesign.workbench.arms import Arm, relaid
from seqlab.studies.codesign.workbench.bench import Bench, Found, check_kernel, prepare
from seqlab.studies.codesign.workbench.layouts import original_order
from seqlab.studies.codesign.workbench.metrics import latency_metric
from seqlab.studies.codesign.workbench.names import DENSE_KERNEL

_UNPRUNED = (names.DENSE, names.DENSE_AA, names.PERMUTE_ONLY)
# Calls of one interleaved measurement must have names of their own.
_REFERENCE = "reference"


def measure_sparsities(bench: Bench, sparsities: Sequence[int], repeats: int, found: Found) -> None:
    """Build, check, score and time all arms at every sparsity.

    Raises:
        UserError: An arm computes something else, or the machine is loaded.
    """
    unpruned = bench.build(_UNPRUNED)
    for percent in sparsities:
        arms = unpruned | bench.build(PRUNED, f"unstructured{percent}")
        measure_level(bench, arms, level_of(percent), repeats, found)


def measure_learned(bench: Bench, folder: Path, repeats: int, found: Found) -> None:
    """Measure a model with trained masks, in original order and in the one solved for it.

    Raises:
        UserError: The folder is damaged, an arm computes something else, or the machine is loaded.
    """
    model = load_causal_lm(folder, device=bench.subject.device).eval()
    learned = Arm(model, original_order(bench.subject))
    arms = bench.build((names.DENSE, names.DENSE_AA))
    arms |= {LEARNED: learned, LEARNED_TP: relaid(learned, bench.order(learned))}
    measure_level(bench, arms, LEARNED_LEVEL, repeats, found)


def measure_level(
    bench: Bench, arms: Mapping[str, Arm], level: str, repeats: int, found: Found
) -> None:
    """Check, describe and time arms under the sparse product, beside the dense reference."""
    gates, described = bench.gate(arms), bench.describe(arms)
    prepared = prepare(bench, arms, KERNEL)
    products = check_kernel(bench, arms, prepared)
    dense = {names.DENSE: arms[names.DENSE]}
    reference = prepare(bench, dense, DENSE_KERNEL)
    checked = check_kernel(bench, dense, reference)
    calls = {name: entry.call for name, entry in prepared.items()}
    place = f"{KERNEL}/{level}"
    latency, loads = bench.time({**calls, _REFERENCE: reference[names.DENSE].call}, repeats, place)
    found.add_latency(f"{place}/latency", latency, loads)
    for name in arms:
        metrics = described[name] | {"latency_ms": latency_metric(latency, name)}
        found.add(f"{place}/{name}", metrics, gates[name] | {"product": products[name]})
    found.add(
        f"{DENSE_KERNEL}/{level}/{names.DENSE}",
        described[names.DENSE] | {"latency_ms": latency_metric(latency, _REFERENCE)},
        {"product": checked[names.DENSE]},
    )

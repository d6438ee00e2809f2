"""One run of the test of path dependence: equal shares of tiles, then equal quality.

Which tiles are pruned depends on the order in force, so P-then-T and T-then-P are two functions.
A permutation after T moves single features and breaks tiles, unless it moves whole ones: the
number of non-empty tiles is counted, and an arm that is pruned and then laid out at random shows
what breaking them costs.
"""

from __future__ import annotations

from seqlab.errors import UserError
from seqlab.provenance.record import Metric
from seqlab.studies.codesign.canonical import stream
from seqlab.studies.codesign.paths.matching import Match, match
from seqlab.studies.codesign.paths.names import PRUNE_RANDOM, quality_level
from seqlab.studies.codesign.paths.spec import PathsRunSpec
from seqlab.studies.codesign.workbench import names
from seqlab.studies.codesign.workbench.arms import Arm, relaid
from seqlab.studies.codesign.workbench.bench import Bench, Found, measure_arms
from seqlab.studies.codesign.workbench.layouts import random_order

# T, then a random order: the control whose tiles are broken.
REFERENCE = names.LINEAR_TP
_BUILT = (
    names.DENSE,
    names.DENSE_AA,
    names.ALGO_ONLY,
    names.LINEAR_PT,
    names.LINEAR_TP,
    names.ITERATIVE,
)
_DENSITY = "d"
# The search ends at this share of the margin, so that the match does not lie at its edge.
_ENOUGH = 0.5


def density_level(sparsity: float) -> str:
    """Return the level of a share of pruned tiles in records and tables."""
    return f"{_DENSITY}{sparsity:g}"


def measure_densities(bench: Bench, spec: PathsRunSpec, found: Found) -> None:
    """Measure all arms at every share of pruned tiles.

    Raises:
        UserError: An arm computes something else, or the machine is loaded.
    """
    for sparsity in spec.sparsities:
        arms = bench.build(_BUILT, _pattern(spec, sparsity))
        order = random_order(bench.subject, stream(bench.seed, "prune_random"))
        arms[PRUNE_RANDOM] = relaid(arms[names.ALGO_ONLY], order)
        _measure(bench, spec, arms, density_level(sparsity), found)


def measure_equal_quality(bench: Bench, spec: PathsRunSpec, found: Found) -> None:
    """Measure the arms at the sparsity at which each has the quality of the reference.

    P-then-T and the iterative arm compute one function, whose sparsity is searched for. Where no
    sparsity is near enough nothing is timed, and the latencies are null with the reason.

    Raises:
        UserError: The architecture has no quality, an arm computes something else, or the machine
            is loaded.
    """
    level = quality_level(spec.match.sparsity)
    reference = bench.build((REFERENCE,), _pattern(spec, spec.match.sparsity))[REFERENCE]
    found_match = match(
        lambda sparsity: _quality(bench, _permute_first(bench, spec, sparsity)),
        _quality(bench, reference),
        spec.match.grid,
        spec.match.refinements,
        _ENOUGH * spec.match.margin,
    )
    arms = bench.build((names.DENSE, names.DENSE_AA)) | {REFERENCE: reference}
    exact = Match(spec.match.sparsity, found_match.target, found_match.target, 1)
    matches = {REFERENCE: exact}
    if found_match.gap <= spec.match.margin:
        searched = (names.LINEAR_PT, names.ITERATIVE)
        arms |= bench.build(searched, _pattern(spec, found_match.sparsity))
        matches |= dict.fromkeys(searched, found_match)
        _measure(bench, spec, arms, level, found)
    else:
        matches |= dict.fromkeys((names.LINEAR_PT, names.ITERATIVE), found_match)
        reason = (
            f"no sparsity tried comes nearer to the quality of {REFERENCE} than "
            f"{found_match.gap:.4g} bits/byte; the margin is {spec.match.margin:g}"
        )
        for name in matches:
            missing = Metric(value=None, unit="ms", provenance="measured", reason=reason)
            latencies = {"latency_ms": missing, "site_latency_ms": missing}
            found.add(f"{_kernel(spec)}/{level}/{name}", latencies)
    for name, entry in matches.items():
        found.add(
            f"{_kernel(spec)}/{level}/{name}",
            {
                "quality_gap": Metric(value=entry.gap, unit="bits/byte", provenance="measured"),
                "matched_sparsity": Metric(value=entry.sparsity, unit="%", provenance="counted"),
                "sparsities_tried": Metric(value=entry.tried, unit="1", provenance="counted"),
            },
        )


def _measure(
    bench: Bench, spec: PathsRunSpec, arms: dict[str, Arm], level: str, found: Found
) -> None:
    gates, described = bench.gate(arms), bench.describe(arms)
    measure_arms(
        bench,
        arms,
        found,
        kernel=_kernel(spec),
        level=level,
        repeats=spec.repeats,
        caches=False,
    )
    for name in arms:
        found.add(f"{_kernel(spec)}/{level}/{name}", described[name], gates[name])


def _permute_first(bench: Bench, spec: PathsRunSpec, sparsity: float) -> Arm:
    return bench.build((names.LINEAR_PT,), _pattern(spec, sparsity))[names.LINEAR_PT]


def _quality(bench: Bench, arm: Arm) -> float:
    score = bench.score(arm)
    if score is None:
        raise UserError(
            "an architecture without quality cannot be compared at equal quality",
            where=f"codesign.paths: {bench.subject.name}",
            fix="set codesign.workbench.architectures.*.quality, or choose a trained architecture",
        )
    return score.value


def _pattern(spec: PathsRunSpec, sparsity: float) -> str:
    return f"tile{spec.tile}-{sparsity:g}"


def _kernel(spec: PathsRunSpec) -> str:
    return f"bsr{spec.tile}"

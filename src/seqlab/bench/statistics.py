"""Whether the path of statistics holds its error rates on this machine's own noise.

Input: A/A pairs of Figure 2's records (two identical arms in every run), or generated heavy-tailed
pairs where no record exists. Each experiment draws pairs with replacement and relabels each at
random, so that its null is true by construction, and runs the complete path: contrasts on log
ratios, Holm over a family of ten, verdicts. Output: rows with

- `false_positive`: share of families with any direction in a verdict, `false_positive_raw`: share
  of single contrasts with an uncorrected p at most alpha;
- `false_equivalence`: share called equivalent where the true difference is twice the margin;
- `power`: analytic and simulated power for effects of 1 to 10 %, and the runs that a 5 % effect
  needs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqlab.errors import UserError
from seqlab.provenance.record import read_record
from seqlab.stats.contrast import (
    EQUIVALENT,
    FASTER_SLOWER,
    Contrast,
    correct_family,
    paired_contrast,
)
from seqlab.stats.paired import paired_t
from seqlab.stats.power import paired_t_power, runs_needed

FloatArray = NDArray[np.float64]

NAME = "statistics"
EXPERIMENTS = 2000
FAMILY = 10
RUNS = 12
MARGIN = 0.02
ALPHA = 0.05
# Rates are estimated from 2,000 experiments: 6 % is two standard errors above 5 %.
RATE_LIMIT = 0.06
EFFECTS = tuple(percent / 100 for percent in range(1, 11))
ARMS = ("quantize_only", "quantize_only_aa")
METRICS = ("prefill_ms", "decode_ms")
RECORDS = Path("results/laptop/codesign/quantization/runs")

_SEED = 20250930
_FEWEST_PAIRS = 3


def run(quick: bool, budget_s: float, samples: Path | None = None) -> Iterator[dict[str, Any]]:
    """Check the error rates and print the power curve.

    Args:
        quick: Few experiments: proves that it runs, the rates are then rough and not judged.
        budget_s: Seconds; experiments stop at it and the rows say how many were done.
        samples: Folder of Figure 2's run records; the laptop results of this checkout if None,
            generated pairs where there are none.

    Raises:
        UserError: `samples` was given and holds no usable A/A pair.
    """
    experiments = 60 if quick else EXPERIMENTS
    for source, pairs in _sources(samples):
        budget = budget_s / 2
        yield from check(pairs, source, experiments, budget, judge=not quick)


def load_aa(folder: Path, metric: str) -> FloatArray:
    """Read the medians of both identical arms of every run below `folder`.

    Returns:
        Shape (n_runs, 2), ms; runs that lack an arm, the metric or its value are left out.
    """
    pairs = []
    for path in sorted(folder.rglob("record.json")):
        arms = read_record(path).arms
        for group in dict.fromkeys(name.rpartition("/")[0] for name in arms):
            pair = [arms.get(f"{group}/{arm}") for arm in ARMS]
            values = [a.metrics[metric].value for a in pair if a and metric in a.metrics]
            if len(values) == len(ARMS) and None not in values:
                pairs.append(values)
    return np.array(pairs, dtype=np.float64).reshape(-1, 2)


def check(
    pairs: FloatArray, source: str, experiments: int, budget_s: float, *, judge: bool
) -> Iterator[dict[str, Any]]:
    """Yield the rows for one set of A/A pairs.

    Args:
        pairs: Run-level medians of two identical arms, shape (n_runs, 2), any unit.
        source: Where they come from, for the rows.
        experiments: Null experiments to run.
        budget_s: Seconds to spend at most on them.
        judge: Whether rates are held against their limit.
    """
    rng = np.random.default_rng(_SEED)
    common = {"name": NAME, "source": source, "aa_pairs": len(pairs), "runs": RUNS}
    deadline = time.perf_counter() + budget_s
    families = []
    for _ in range(experiments):
        families.append(correct_family([_contrast(pairs, rng) for _ in range(FAMILY)]))
        if time.perf_counter() > deadline:
            break
    raw = [c.p_raw <= ALPHA for family in families for c in family]
    directed = [any(c.verdict in FASTER_SLOWER for c in family) for family in families]
    yield common | {
        "case": f"null, families of {FAMILY}",
        "experiments": len(families),
        **_rate("false_positive", directed, judge),
        **_rate("false_positive_raw", raw, judge),
    }
    shift = (1 + MARGIN) ** 2
    shifted = [_contrast(pairs, rng, shift) for _ in range(len(families))]
    yield common | {
        "case": "true difference of twice the margin",
        "experiments": len(shifted),
        "margin": MARGIN,
        **_rate("false_equivalence", [c.verdict == EQUIVALENT for c in shifted], judge),
    }
    yield from _power(pairs, common, len(families), rng)


def _power(
    pairs: FloatArray, common: dict[str, Any], experiments: int, rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    ratios = np.log(pairs[:, 0] / pairs[:, 1])
    # Around zero, not the mean: relabelling at random makes zero the centre.
    sd = float(np.sqrt(np.mean(ratios**2)))
    for effect in EFFECTS:
        found = [
            test.p <= ALPHA and test.estimate > 0
            for test in (
                paired_t(np.log(a), np.log(b), ALPHA, magnitude=1.0)
                for a, b in (_draw(pairs, rng, 1 + effect) for _ in range(experiments))
            )
        ]
        yield common | {
            "case": f"power, effect {effect:.0%}",
            "effect": effect,
            "sd_log_ratio": sd,
            "power": float(paired_t_power(effect, sd, RUNS, ALPHA)),
            "power_simulated": float(np.mean(found)),
        }
    yield common | {
        "case": "runs for a 5 % effect at power 0.8",
        "sd_log_ratio": sd,
        "runs_needed": runs_needed(0.05, sd, power=0.8, alpha=ALPHA),
    }


def _contrast(pairs: FloatArray, rng: np.random.Generator, factor: float = 1.0) -> Contrast:
    treatment, control = _draw(pairs, rng, factor)
    return paired_contrast(
        treatment, control, scale="log_ratio", margin=MARGIN, alpha=ALPHA, labels=FASTER_SLOWER
    )


def _draw(
    pairs: FloatArray, rng: np.random.Generator, factor: float
) -> tuple[FloatArray, FloatArray]:
    """Draw `RUNS` pairs with replacement, swap each at random, scale the treatment by `factor`."""
    drawn = pairs[rng.integers(0, len(pairs), RUNS)]
    swap = rng.integers(0, 2, RUNS)
    rows = np.arange(RUNS)
    return drawn[rows, swap] * factor, drawn[rows, 1 - swap]


def _rate(name: str, hits: list[bool], judge: bool) -> dict[str, Any]:
    rate = float(np.mean(hits))
    return {
        name: rate,
        f"{name}_limit": RATE_LIMIT,
        f"{name}_ok": rate <= RATE_LIMIT if judge else None,
    }


def _sources(samples: Path | None) -> Iterator[tuple[str, FloatArray]]:
    folder = RECORDS if samples is None else samples
    found = False
    for metric in METRICS:
        pairs = load_aa(folder, metric)
        if len(pairs) >= _FEWEST_PAIRS:
            found = True
            yield f"A/A {metric} of {folder.as_posix()}", pairs
    if found:
        return
    if samples is not None:
        raise UserError(
            f"no record with {_FEWEST_PAIRS} A/A pairs",
            where=str(samples),
            fix="give the folder results/<scale>/codesign/quantization/runs",
        )
    rng = np.random.default_rng(_SEED)
    noise = 0.01 * rng.standard_t(5, (120, 2))
    yield "generated (no record found): t5, 1 %", 20 * np.exp(rng.normal(0, 0.05, (120, 1)) + noise)

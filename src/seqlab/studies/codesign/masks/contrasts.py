"""Statistics of learned masks: differences in bits per byte, bootstrapped over held-out windows.

Each variant is one training run, so there are no runs to compare: n counts windows of text, and an
interval says how far the difference depends on the text, not on the seed of the training. All
differences of a model are one family: their intervals have the level alpha over its size
(Bonferroni), and the verdict is read off them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqlab.stats.bootstrap import Interval, Statistic, bootstrap_interval
from seqlab.studies.codesign.comparisons import STATISTICS
from seqlab.studies.codesign.masks.names import DENSE, MAGNITUDE, UNSTRUCTURED
from seqlab.studies.codesign.masks.spec import HDS, HDS_TUNED, MAGNITUDE_TUNED, AnalyseMasksSpec

PAIRS = (
    (MAGNITUDE, DENSE),
    (HDS, DENSE),
    (HDS_TUNED, DENSE),
    (HDS, MAGNITUDE),
    (HDS_TUNED, MAGNITUDE_TUNED),
    (HDS_TUNED, HDS),
    (MAGNITUDE_TUNED, MAGNITUDE),
    (MAGNITUDE, UNSTRUCTURED),
    (HDS_TUNED, UNSTRUCTURED),
)
_SEED = 17
_LN2 = math.log(2)

Values = NDArray[np.float64]


def bits_per_byte(*samples: Values, axis: int) -> Values:
    """Return summed nats (the first sample) as bits per byte of text (the second)."""
    nll, size = samples
    return np.asarray(nll.sum(axis) / size.sum(axis) / _LN2)


def perplexity(*samples: Values, axis: int) -> Values:
    """Return exp of nats (the first sample) per token (the second)."""
    nll, tokens = samples
    return np.asarray(np.exp(nll.sum(axis) / tokens.sum(axis)))


def analyse(windows: pd.DataFrame, spec: AnalyseMasksSpec) -> pd.DataFrame:
    """Return one row per model, variant and metric, and one per model and difference.

    Args:
        windows: Rows of the scoring step, of all models.
        spec: Level, margin and resamples.
    """
    rows: list[dict[str, object]] = []
    for (model, device), part in windows.groupby(["model", "device"], sort=False):
        place = {
            "item": "table_hds",
            "cell": model,
            "model": model,
            "kernel": "dense",
            "level": "all",
            "device": device,
        }
        rows += [place | row for row in (*_values(part, spec), *_differences(part, spec))]
    return pd.DataFrame(rows, columns=STATISTICS)


def _values(part: pd.DataFrame, spec: AnalyseMasksSpec) -> Iterator[dict[str, object]]:
    """Yield the quality and the sparsity of every variant."""
    for variant, rows in part.groupby("variant", sort=False):
        for metric in ("sparsity", "changed_groups"):
            if rows[metric].notna().all():
                yield {
                    "contrast": "value",
                    "treatment": variant,
                    "metric": metric,
                    "provenance": "counted",
                    "n": len(rows),
                    "estimate": rows[metric].iloc[0],
                }
        measures: dict[str, tuple[Statistic, str]] = {
            "bits_per_byte": (bits_per_byte, "bytes"),
            "perplexity": (perplexity, "tokens"),
        }
        for metric, (statistic, unit) in measures.items():
            found = _bootstrap(rows["nll"], rows[unit], statistic, spec, spec.alpha)
            yield {
                "contrast": "value",
                "treatment": variant,
                "metric": metric,
                **_interval(found, spec),
            }


def _differences(part: pd.DataFrame, spec: AnalyseMasksSpec) -> Iterator[dict[str, object]]:
    nll = part.pivot(index="window", columns="variant", values="nll")
    size = part[part["variant"] == DENSE].set_index("window")["bytes"]
    pairs = [pair for pair in PAIRS if {*pair} <= {*nll.columns}]
    for treatment, control in pairs:
        difference = nll[treatment] - nll[control]
        found = _bootstrap(difference, size, bits_per_byte, spec, spec.alpha / len(pairs))
        verdict, reason = _verdict(found, bool((difference == 0).all()), spec)
        yield {
            "contrast": f"{treatment}_vs_{control}",
            "treatment": treatment,
            "control": control,
            "metric": "bits_per_byte",
            **_interval(found, spec),
            "tost_margin": spec.quality_margin,
            "verdict": verdict,
            "reason": f"{reason}; n counts windows of text, each variant was trained once",
        }


def _bootstrap(
    values: pd.Series,
    weights: pd.Series,
    statistic: Statistic,
    spec: AnalyseMasksSpec,
    alpha: float,
) -> Interval:
    return bootstrap_interval(
        (values.to_numpy(), weights.to_numpy()),
        statistic,
        rng=np.random.default_rng(_SEED),
        resamples=spec.resamples,
        alpha=alpha,
    )


def _interval(found: Interval, spec: AnalyseMasksSpec) -> dict[str, object]:
    return {
        "provenance": "measured",
        "n": found.n,
        "estimate": found.estimate,
        "ci_low": found.low,
        "ci_high": found.high,
        "test": f"paired bootstrap over windows ({found.method}, {spec.resamples} resamples)",
    }


def _verdict(found: Interval, identical: bool, spec: AnalyseMasksSpec) -> tuple[str, str]:
    words = "the corrected interval"
    if identical:
        return "degenerate", "identical in every window"
    if -spec.quality_margin < found.low and found.high < spec.quality_margin:
        return "equivalent", f"{words} lies within the margin {spec.quality_margin:g}"
    if found.low > 0 or found.high < 0:
        return ("higher" if found.low > 0 else "lower"), f"{words} excludes 0"
    return "inconclusive", f"{words} holds 0 and leaves the margin {spec.quality_margin:g}"

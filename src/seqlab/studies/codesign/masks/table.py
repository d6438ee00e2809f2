"""The table of learned masks: quality and achieved sparsity of each variant, with differences."""

from __future__ import annotations

import math

import pandas as pd

from seqlab.studies.codesign.masks.names import DENSE, MAGNITUDE, UNSTRUCTURED
from seqlab.studies.codesign.masks.spec import HDS, HDS_TUNED, MAGNITUDE_TUNED
from seqlab.studies.codesign.wording import NOT_RUN, find, interval, verdict

_WORDS = {
    DENSE: ("dense", ""),
    UNSTRUCTURED: ("largest magnitudes of the layer, equal density", ""),
    MAGNITUDE: ("largest magnitudes of each group", DENSE),
    HDS: ("learned, weights frozen", MAGNITUDE),
    MAGNITUDE_TUNED: ("largest magnitudes of each group, weights tuned", MAGNITUDE),
    HDS_TUNED: ("learned, weights tuned", MAGNITUDE_TUNED),
}


def table(statistics: pd.DataFrame, scale: str) -> pd.DataFrame:
    """Return one row per model and variant; the control of each row is named in it.

    Args:
        statistics: Rows of `masks.contrasts.analyse`.
        scale: Scale of the results.
    """
    rows = []
    for (model, device), part in statistics.groupby(["model", "device"], sort=False):
        for variant, (words, control) in _WORDS.items():
            quality = _value(part, variant, "bits_per_byte")
            against = find(part, contrast=f"{variant}_vs_{control}", metric="bits_per_byte")
            rows.append(
                {
                    "model": model,
                    "mask": words,
                    "sparsity": _number(_value(part, variant, "sparsity")),
                    "changed_groups": _number(_value(part, variant, "changed_groups")),
                    "n_windows": 0 if quality is None else int(quality["n"]),
                    "bits_per_byte [95 % CI]": _ends(quality),
                    "perplexity [95 % CI]": _ends(_value(part, variant, "perplexity")),
                    "control": _WORDS[control][0] if control else "",
                    "bits_per_byte - control [corrected CI]": interval(against),
                    "verdict": verdict(against) if control else "",
                    "provenance": NOT_RUN if quality is None else "measured",
                    "reason": "" if against is None else against["reason"],
                    "scale": scale,
                    "device": device,
                }
            )
    return pd.DataFrame(rows)


def _value(part: pd.DataFrame, variant: str, metric: str) -> pd.Series | None:
    return find(part, contrast="value", treatment=variant, metric=metric)


def _number(row: pd.Series | None) -> float:
    return math.nan if row is None else float(row["estimate"])


def _ends(row: pd.Series | None) -> str:
    if row is None:
        return "–"
    return f"{row['estimate']:.4f} [{row['ci_low']:.4f}, {row['ci_high']:.4f}]"

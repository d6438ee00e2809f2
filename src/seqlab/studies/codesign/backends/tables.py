"""Table 2, every arm by every compiler, and Table 6, fusion against layout."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from seqlab.studies.codesign.backends.spec import DENSE_KERNEL, EAGER, INDUCTOR
from seqlab.studies.codesign.backends.statistics import LATENCY, QUALITIES
from seqlab.studies.codesign.wording import NOT_RUN, find, interval, mean_sd, verdict
from seqlab.studies.codesign.workbench import names as arms

SHOWN = (arms.DENSE, arms.LINEAR_PT, arms.ITERATIVE)
# Verdict of the interaction -> what it says of fusion and layout.
_TOGETHER = {
    "equivalent": "additive on logs",
    "lower": "more than both",
    "higher": "less than both",
}


def compilers(
    observations: pd.DataFrame, statistics: pd.DataFrame, wanted: Sequence[str], scale: str
) -> pd.DataFrame:
    """Return Table 2: one row per device, architecture and compiler, those not run included.

    Args:
        observations: Rows of all devices.
        statistics: Their contrasts.
        wanted: Compilers that have rows.
        scale: Scale of the results.
    """
    rows = []
    dense = observations[observations["kernel"] == DENSE_KERNEL]
    for (device, cell), part in dense.groupby(["device", "cell"], sort=False):
        for compiler in wanted:
            here = part[(part["level"] == compiler) & (part["metric"] == LATENCY)]
            row: dict[str, Any] = {"architecture": cell, "compiler": compiler}
            if here["value"].notna().any():
                row |= _measured(part, here, statistics, str(cell), str(device))
            else:
                known = here["reason"].dropna()
                reason = f"not among the compilers of {scale} scale"
                row |= {
                    "n": 0,
                    "provenance": NOT_RUN,
                    "verdict": NOT_RUN,
                    "reason": known.iloc[0] if len(known) else reason,
                }
            rows.append(row | {"device": device})
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return pd.DataFrame(rows).reindex(columns=[*(c for c in columns if c != "device"), "device"])


def _measured(
    part: pd.DataFrame,
    here: pd.DataFrame,
    statistics: pd.DataFrame,
    cell: str,
    device: str,
) -> dict[str, Any]:
    compiler = here["level"].iloc[0]
    place = {
        "cell": cell,
        "kernel": DENSE_KERNEL,
        "level": compiler,
        "metric": LATENCY,
        "device": device,
    }
    names = ("layout", "compiled_vs_eager", "aa")
    layout, against, aa = (find(statistics, contrast=name, **place) for name in names)
    against_dense = "vs_dense" if compiler == EAGER else "vs_compiled_dense"
    ours = find(statistics, contrast=f"iterative_sparse_{against_dense}", **place)
    as_dense = "iterative_vs_dense" if compiler == EAGER else "iterative_eager_vs_compiled_dense"
    dense = find(statistics, contrast=as_dense, **place)
    seconds = part[(part["level"] == compiler) & (part["metric"] == "compile_s")]["value"]
    row: dict[str, Any] = {"n": int(here["seed"].nunique())}
    for arm in SHOWN:
        row[f"{arm}_ms"] = mean_sd(here.loc[here["arm"] == arm, "value"])
    return row | {
        "compile_s": mean_sd(seconds),
        "dense: compiled / eager": interval(against),
        "iterative / linear_PT": interval(layout),
        "verdict of layout": verdict(layout),
        "iterative, dense products, eager / dense, compiled": interval(dense),
        "iterative, sparse products, eager / dense, compiled": interval(ours),
        "p_holm": math.nan if ours is None else ours["p_holm"],
        "A/A limit": "–" if aa is None else f"{100 * aa['noise_limit']:.1f} %",
        "quality: iterative - dense": _quality(statistics, cell, device),
        "provenance": "measured",
        "verdict": verdict(ours),
        "reason": "" if ours is None else ours["reason"],
    }


def fusion(observations: pd.DataFrame, statistics: pd.DataFrame) -> pd.DataFrame:
    """Return Table 6: one row per device, architecture and kernel.

    Base is the linear arm in eager mode, layout the iterative one, fusion the linear one compiled.
    """
    rows = []
    timed = observations[observations["metric"] == LATENCY]
    for (device, cell, kernel), part in timed.groupby(["device", "cell", "kernel"], sort=False):
        place = {"cell": cell, "kernel": kernel, "metric": LATENCY, "device": device}
        fused = {**place, "level": INDUCTOR}
        layout = find(statistics, contrast="layout", level=EAGER, **place)
        alone, both, found, aa = (
            find(statistics, contrast=name, **fused)
            for name in ("fusion", "both", "interaction", "aa")
        )
        lacking = part.loc[part["level"] == INDUCTOR, "reason"].dropna()
        reason = f"{INDUCTOR} was not measured" if found is None else found["reason"]
        row: dict[str, Any] = {
            "architecture": cell,
            "kernel": kernel,
            "n": 0 if found is None else int(found["n"]),
        }
        for name, level, arm in (
            ("base", EAGER, arms.LINEAR_PT),
            ("fusion", INDUCTOR, arms.LINEAR_PT),
            ("layout", EAGER, arms.ITERATIVE),
            ("both", INDUCTOR, arms.ITERATIVE),
        ):
            chosen = (part["level"] == level) & (part["arm"] == arm)
            row[f"{name}_ms"] = mean_sd(part.loc[chosen, "value"])
        row |= {
            "fusion / base": interval(alone),
            "layout / base": interval(layout),
            "both / base": interval(both),
            "interaction (ratio of ratios)": interval(found),
            "p_holm": math.nan if found is None else found["p_holm"],
            "A/A limit": "–" if aa is None else f"{100 * aa['noise_limit']:.1f} %",
            "together": "–" if found is None else _TOGETHER.get(found["verdict"], "undecided"),
            "provenance": "measured" if found is not None else NOT_RUN,
            "verdict": verdict(found),
            "reason": lacking.iloc[0] if len(lacking) else reason,
            "device": device,
        }
        rows.append(row)
    return pd.DataFrame(rows)


def _quality(statistics: pd.DataFrame, cell: str, device: str) -> str:
    for metric in QUALITIES:
        found = find(
            statistics, contrast="iterative_vs_dense", metric=metric, cell=cell, device=device
        )
        if found is not None:
            return f"{metric} {interval(found)}"
    return "no quality: random weights"

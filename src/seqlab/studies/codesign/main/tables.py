"""Tables read off the runs of the main experiment: 1 with its summary, 3, 5 and 8."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from seqlab.studies.codesign.main.contrasts import with_best_linear
from seqlab.studies.codesign.wording import NOT_RUN, find, interval, mean_sd, verdict
from seqlab.studies.codesign.workbench import names as arms

PRIMARY = "iterative_vs_best_linear"
SHOWN = (
    arms.DENSE,
    arms.RANDOM,
    arms.PERMUTE_ONLY,
    arms.ALGO_ONLY,
    arms.LINEAR_PT,
    arms.LINEAR_TP,
    arms.ITERATIVE,
)
_QUALITIES = ("bits_per_byte", "accuracy")
_MECHANISM = ("q_frac", "q_newman", "L1_hit_rate", "L2_hit_rate", "L3_hit_rate", "latency_ms")
_HIERARCHY = ("L1_hit_rate", "L2_hit_rate", "L3_hit_rate", "dram_bytes", "dram_gb_per_s")
_BEST = (arms.LINEAR_PT, arms.LINEAR_TP, arms.ITERATIVE)


def main_results(observations: pd.DataFrame, statistics: pd.DataFrame) -> pd.DataFrame:
    """Return one row per device, architecture and kernel: latency of every arm, primary contrast.

    Arms are mean (sd) over runs of the median latency of a forward pass in milliseconds.
    """
    rows = []
    for (device, cell, kernel), part in _places(observations):
        timed = part[part["metric"] == "latency_ms"]
        found = find(
            statistics,
            contrast=PRIMARY,
            metric="latency_ms",
            cell=cell,
            kernel=kernel,
            device=device,
        )
        aa = find(
            statistics, contrast="aa", metric="latency_ms", cell=cell, kernel=kernel, device=device
        )
        row: dict[str, object] = {"architecture": cell, "kernel": kernel, "n": _runs(timed)}
        for arm in SHOWN:
            row[f"{arm}_ms"] = mean_sd(timed.loc[timed["arm"] == arm, "value"])
        row["iterative / best linear"] = interval(found)
        row["p_holm"] = math.nan if found is None else found["p_holm"]
        row["A/A limit"] = "–" if aa is None else f"{100 * aa['noise_limit']:.1f} %"
        row["verdict"] = verdict(found)
        row["quality: T - dense"] = _quality(statistics, cell, kernel, device)
        rows.append(row | {"provenance": "measured", "device": device})
    return pd.DataFrame(rows)


def results_summary(observations: pd.DataFrame, statistics: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of the original's summary, and ours beside: kernel, n, verdict.

    `linear` is the better of both linear arms, `improvement_pct` and `p_value` (Holm) those of the
    iterative arm against it; `significant` at the level of the corrected test.
    """
    table = with_best_linear(observations)
    rows = []
    for (device, cell, kernel), part in _places(table):
        timed = part[part["metric"] == "latency_ms"].groupby("arm")["value"]
        mean, sd = timed.mean(), timed.std()
        row: dict[str, object] = {"architecture": cell}
        for name, arm in (
            ("dense", arms.DENSE),
            ("algo_only", arms.ALGO_ONLY),
            ("linear", "best_linear"),
            ("iterative", arms.ITERATIVE),
        ):
            row[f"{name}_mean"], row[f"{name}_std"] = mean[arm], sd[arm]
        found = find(
            statistics,
            contrast=PRIMARY,
            metric="latency_ms",
            cell=cell,
            kernel=kernel,
            device=device,
        )
        if found is not None:
            row["improvement_pct"] = 100 * (1 - found["ratio"])
            row["p_value"], row["cohens_d"] = found["p_holm"], found["d_z"]
            row["significant"] = found["verdict"] in ("faster", "slower")
            row["n"] = found["n"]
        rows.append(row | {"kernel": kernel, "verdict": verdict(found), "device": device})
    return pd.DataFrame(rows)


def mechanism(observations: pd.DataFrame, statistics: pd.DataFrame) -> pd.DataFrame:
    """Return Table 3: what layouts are worth, simulated hit rates and latency, by arm."""
    return _by_arm(observations, statistics, _MECHANISM)


def memory_hierarchy(observations: pd.DataFrame, statistics: pd.DataFrame) -> pd.DataFrame:
    """Return Table 5: hit rates, bytes to and from memory, and their rate, by arm."""
    table = _by_arm(observations, statistics, _HIERARCHY)
    missing = {
        "architecture": "all",
        "kernel": "all",
        "metric": "bank_conflicts",
        "provenance": NOT_RUN,
        "verdict": NOT_RUN,
        "reason": "shared-memory banks are a property of GPUs; none was measured",
    }
    return pd.concat([table, pd.DataFrame([missing])], ignore_index=True)


def devices(
    observations: pd.DataFrame, statistics: pd.DataFrame, wanted: Sequence[str]
) -> pd.DataFrame:
    """Return Table 8: one row per device that was measured, and one for each that was not.

    Args:
        observations: Rows of all devices, those of other machines unpacked.
        statistics: Their contrasts.
        wanted: Devices of the original table.
    """
    rows = []
    for (device, cell, kernel), part in _places(observations):
        found = find(
            statistics,
            contrast=PRIMARY,
            metric="latency_ms",
            cell=cell,
            kernel=kernel,
            device=device,
        )
        change = math.nan if found is None else 100 * (found["ratio"] - 1)
        rows.append(
            {
                "device": device,
                "architecture": cell,
                "kernel": kernel,
                "n": _runs(part),
                "change of latency_%": change,
                "iterative / best linear": interval(found),
                "p_holm": math.nan if found is None else found["p_holm"],
                "provenance": "measured",
                "verdict": verdict(found),
                "reason": "",
            }
        )
    seen = " ".join(observations["device"].unique()).lower()
    rows += [
        {
            "device": name,
            "architecture": "all",
            "kernel": "all",
            "provenance": NOT_RUN,
            "verdict": NOT_RUN,
            "reason": "no records of this device; unpack some to fill the row",
        }
        for name in wanted
        if name.lower() not in seen
    ]
    return pd.DataFrame(rows)


def _by_arm(
    observations: pd.DataFrame, statistics: pd.DataFrame, metrics: Sequence[str]
) -> pd.DataFrame:
    rows = []
    for (device, cell, kernel), part in _places(observations):
        for metric in metrics:
            values = part[part["metric"] == metric]
            row: dict[str, object] = {
                "architecture": cell,
                "kernel": kernel,
                "metric": metric,
                "unit": values["unit"].iloc[0],
                "n": _runs(values),
            }
            for arm in _BEST:
                row[arm] = mean_sd(values.loc[values["arm"] == arm, "value"])
            found = find(
                statistics,
                contrast="iterative_vs_linear_PT",
                metric=metric,
                cell=cell,
                kernel=kernel,
                device=device,
            )
            row["iterative vs linear_PT"] = interval(found)
            row["p_holm"] = math.nan if found is None else found["p_holm"]
            row["verdict"] = verdict(found)
            reason = "" if found is not None else "no value reached this level in every run"
            provenance = values["provenance"].iloc[0]
            rows.append(row | {"provenance": provenance, "reason": reason, "device": device})
    return pd.DataFrame(rows)


def _places(observations: pd.DataFrame):  # type: ignore[no-untyped-def]
    return observations.groupby(["device", "cell", "kernel"], sort=False)


def _runs(rows: pd.DataFrame) -> int:
    return int(rows["seed"].nunique())


def _quality(statistics: pd.DataFrame, cell: str, kernel: str, device: str) -> str:
    for metric in _QUALITIES:
        found = find(
            statistics,
            contrast="algo_only_vs_dense",
            metric=metric,
            cell=cell,
            kernel=kernel,
            device=device,
        )
        if found is not None:
            return f"{metric} {interval(found)}"
    return "no quality: random weights"

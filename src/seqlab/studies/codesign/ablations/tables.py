"""Tables of the ablations: every variant with its latency, its contrast and the noise beside it.

Ratios are of geometric means against the reference, paired by run, with 95 % intervals; p is
corrected after Holm over the variants of a cell; the noise is what the mean of two identical arms
can differ by, and a row of their own shows those two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import get_args

import pandas as pd

from seqlab.studies.codesign.ablations.contrasts import (
    GRID_ARMS,
    GRID_CONTRASTS,
    LATENCY,
    NOT_RUN,
    reference_of,
)
from seqlab.studies.codesign.ablations.spec import (
    CLUSTERS,
    COMPONENTS,
    GRID,
    OBJECTIVES,
    SENSITIVITY,
    Method,
    NodeOrder,
    kind_of,
)
from seqlab.studies.codesign.ablations.variants import (
    AA_SUFFIX,
    ADAPTIVE,
    COMPONENT_METHODS,
    FULL,
    ORIGINAL,
)

# Group, label, arm.
Line = tuple[str, str, str]
_CONTRAST = (
    *("reference", "ratio", "ratio_low_95", "ratio_high_95", "p_holm", "verdict"),
    "aa_noise_percent",
)
_HEAD = ("kernel", "group", "configuration", "n", "latency_ms_mean", "latency_ms_sd")
_TAIL = ("provenance", "reason", "device")
_LLAMA = "printed by the original study, which has no code for it; this study has no such model"
_LABELS = {
    "kmeans": "k-means on rows of the affinity",
    "hierarchical": "average-linkage tree",
    "metis": "METIS",
    "tsp": "TSP, 2-opt",
    "tsp_greedy": "TSP, greedy",
    "cut": "cut only, no swaps",
    "random_walk": "random-walk nearness",
    "random_projection": "random projections",
    "random_clusters": "random clusters",
    "few_samples": "few calibration inputs",
    "gradients": "gradients x activations",
    "louvain": "modularity (Louvain)",
    "spectral_balanced": "Q_frac (spectral, balanced)",
    "multilevel": "multilevel (ours)",
    "rcm": "reverse Cuthill-McKee",
}
FORMATS = {
    "latency_ms_mean": ".3f",
    "latency_ms_sd": ".3f",
    **{name: ".4f" for name in ("ratio", "ratio_low_95", "ratio_high_95")},
    "aa_noise_percent": ".1f",
    "q_newman": ".4f",
    "solver_s": ".3f",
    "F": ".2f",
}


def objectives(observations: pd.DataFrame, statistics: pd.DataFrame) -> pd.DataFrame:
    """Return Table 9, which is Table 12 too: objectives by architecture."""
    extra = {
        "q_newman": "q_newman",
        "L1_misses_lines": "L1_misses",
        "L2_misses_lines": "L2_misses",
        "solver_s": "solver_s",
    }
    table = _configurations(observations, statistics, OBJECTIVES, _plain_lines, extra)
    table = table.rename(columns={"group": "architecture", "configuration": "objective"})
    absent = dict.fromkeys(table.columns, None) | {
        "architecture": "llama",
        "n": 0,
        "verdict": NOT_RUN,
        "reason": _LLAMA,
    }
    return pd.DataFrame([*table.to_dict("records"), absent], columns=table.columns)


def components(observations: pd.DataFrame, statistics: pd.DataFrame) -> pd.DataFrame:
    """Return Table 10: the full method with one component replaced."""
    extra = {"q_newman": "q_newman", "bits_per_byte": "bits_per_byte", "solver_s": "solver_s"}
    return _configurations(observations, statistics, COMPONENTS, _component_lines, extra)


def sensitivity(observations: pd.DataFrame, statistics: pd.DataFrame) -> pd.DataFrame:
    """Return Table 11: layers laid out, stage of pruning, block size."""
    extra = {"q_newman": "q_newman", "bits_per_byte": "bits_per_byte", "solver_s": "solver_s"}
    return _configurations(observations, statistics, SENSITIVITY, _sensitivity_lines, extra)


def cluster_counts(observations: pd.DataFrame, statistics: pd.DataFrame) -> pd.DataFrame:
    """Return Table 16: numbers of clusters k; k and the block size B are unrelated."""
    extra = {"q_newman": "q_newman", "bits_per_byte": "bits_per_byte", "solver_s": "solver_s"}
    return _configurations(observations, statistics, CLUSTERS, _cluster_lines, extra)


def iteration_clustering(observations: pd.DataFrame, statistics: pd.DataFrame) -> pd.DataFrame:
    """Return Table 13: the four cells, simple and marginal effects, interaction and ANOVA."""
    columns = [
        *("kernel", "group", "effect", "n", "latency_ms_mean", "latency_ms_sd", "q_newman"),
        *("ratio", "ratio_low_95", "ratio_high_95", "F", "partial_eta_squared"),
        *("p_holm", "verdict", "aa_noise_percent", *_TAIL),
    ]
    rows: list[dict[str, object]] = []
    for place, part, made in _places(observations, statistics, GRID):
        for arm, words in GRID_ARMS.items():
            rows.append(
                place
                | {"group": "cell", "effect": " iteration, ".join(_grid_words(words)) + " clusters"}
                | _latency(part, arm)
                | {"q_newman": _mean(part, arm, "q_newman")}
                | {"provenance": "latency measured; Q counted"}
            )
        timed = made[made["metric"] == LATENCY]
        names = [(c.name, "effect") for c in GRID_CONTRASTS] + [("aa", "A/A")]
        for name, group in names:
            for _, found in timed[timed["contrast"] == name].iterrows():
                effect = "identical arms" if name == "aa" else name.replace("_", " ")
                rows.append(
                    place
                    | {"group": group, "effect": effect, "n": int(found["n"])}
                    | _contrast(found)
                    | {"provenance": "measured"}
                )
        for _, found in timed[timed["contrast"].str.startswith("anova")].iterrows():
            rows.append(
                place
                | {
                    "group": "two-way ANOVA on log latency, not paired",
                    "effect": found["contrast"].removeprefix("anova_").replace("_", " "),
                    "n": int(found["n"]),
                    "F": found["statistic"],
                    "partial_eta_squared": found["estimate"],
                    "p_holm": found["p_holm"],
                    "verdict": found["verdict"],
                    "provenance": "measured",
                    "reason": found["reason"],
                }
            )
    return pd.DataFrame(rows, columns=columns)


def _configurations(
    observations: pd.DataFrame,
    statistics: pd.DataFrame,
    kind: str,
    lines: Callable[[pd.DataFrame, str, str], list[Line]],
    extra: dict[str, str],
) -> pd.DataFrame:
    """Return one row per configuration; `extra` is column -> metric whose mean it holds."""
    rows = []
    for place, part, made in _places(observations, statistics, kind):
        reference = reference_of(list(part["arm"].unique()))
        timed = made[(made["metric"] == LATENCY)]
        cell = str(part["cell"].iloc[0])
        twin = (
            cell.partition("-")[2] or "A/A",
            f"{_label(reference)}, again",
            reference + AA_SUFFIX,
        )
        for group, label, arm in [*lines(part, cell, reference), twin]:
            found = timed[(timed["treatment"] == arm) & (timed["control"] == reference)]
            row = place | {"group": group, "configuration": label} | _latency(part, arm)
            if arm == reference:
                row |= {"verdict": "reference"}
            elif len(found):
                row |= _contrast(found.iloc[0])
            row |= {"reference": _label(reference)}
            row |= {name: _mean(part, arm, metric) for name, metric in extra.items()}
            simulated = "; misses simulated" if any("misses" in m for m in extra.values()) else ""
            row |= {"provenance": f"latency and solver measured; Q counted{simulated}"}
            rows.append(row)
    return pd.DataFrame(rows, columns=[*_HEAD, *_CONTRAST, *extra, *_TAIL])


def _places(
    observations: pd.DataFrame, statistics: pd.DataFrame, kind: str
) -> Iterator[tuple[dict[str, object], pd.DataFrame, pd.DataFrame]]:
    """Yield each device, cell and kernel of an ablation with its observations and statistics."""
    if observations.empty:
        return
    own = observations[observations["cell"].map(kind_of) == kind]
    keys = ["device", "cell", "kernel", "level"]
    for values, part in own.groupby(keys, sort=False):
        made = statistics
        for key, value in zip(keys, values, strict=True):
            made = made[made[key] == value]
        yield {"kernel": values[2], "device": values[0]}, part, made


def _latency(part: pd.DataFrame, arm: str) -> dict[str, object]:
    values = part.loc[(part["arm"] == arm) & (part["metric"] == LATENCY), "value"].dropna()
    return {"n": len(values), "latency_ms_mean": values.mean(), "latency_ms_sd": values.std()}


def _mean(part: pd.DataFrame, arm: str, metric: str) -> float:
    return float(part.loc[(part["arm"] == arm) & (part["metric"] == metric), "value"].mean())


def _contrast(found: pd.Series) -> dict[str, object]:
    return {
        "ratio": found["ratio"],
        "ratio_low_95": found["ratio_low"],
        "ratio_high_95": found["ratio_high"],
        "p_holm": found["p_holm"],
        "verdict": found["verdict"],
        "aa_noise_percent": 100 * found["noise_limit"],
        # Reasons of tests stand in statistics.csv.
        "reason": found["reason"] if found["verdict"] in (NOT_RUN, "degenerate") else None,
    }


def _label(arm: str) -> str:
    return _LABELS.get(arm, arm.replace("_", " "))


def _grid_words(words: tuple[str, str]) -> tuple[str, str]:
    return {"once": "no", "iterated": "one"}[words[0]], words[1]


def _arms(part: pd.DataFrame, order: Sequence[str] = ()) -> list[str]:
    """Return the arms, those in `order` first and in that order, without the identical twin."""
    found = [str(arm) for arm in part["arm"].unique() if not arm.endswith(AA_SUFFIX)]
    known = [arm for arm in order if arm in found]
    return known + sorted({*found} - {*known})


def _plain_lines(part: pd.DataFrame, cell: str, reference: str) -> list[Line]:
    order = get_args(NodeOrder if reference == ORIGINAL else Method)
    return [(cell.partition("-")[2], _label(arm), arm) for arm in _arms(part, order)]


def _component_lines(part: pd.DataFrame, cell: str, reference: str) -> list[Line]:
    def group(arm: str) -> str:
        if arm.startswith("iterations"):
            return "iterations"
        return "reference" if arm == FULL else COMPONENT_METHODS.get(arm, "affinity")

    lines = []
    for arm in _arms(part, (FULL, *COMPONENT_METHODS)):
        if arm == "iterations_0":
            lines += [("iterations", "0 (linear_PT)", arm), ("iterations", "1 (full)", FULL)]
        else:
            lines.append((group(arm), _label(arm).removeprefix("iterations "), arm))
    return lines


def _sensitivity_lines(part: pd.DataFrame, cell: str, reference: str) -> list[Line]:
    sizes = part[part["metric"] == "block"]
    chosen = sorted({int(v) for v in sizes.loc[sizes["arm"] == ADAPTIVE, "value"]})
    adaptive = f"adaptive (chosen: {', '.join(map(str, chosen))})"
    blocks = {
        int(value): arm
        for arm, value in zip(sizes["arm"], sizes["value"], strict=True)
        if arm == FULL or (arm.startswith("block_") and arm != ADAPTIVE)
    }
    return [
        ("layers laid out", "all (full)", FULL),
        ("layers laid out", "first half", "layers_first_half"),
        ("layers laid out", "second half", "layers_second_half"),
        ("layers laid out", "every other", "layers_every_other"),
        ("sparsity applied", "after permutation (linear_PT)", "sparsity_after"),
        ("sparsity applied", "before permutation (linear_TP)", "sparsity_before"),
        ("sparsity applied", "during (full)", FULL),
        *(
            ("block size", f"{size} (full)" if arm == FULL else str(size), arm)
            for size, arm in sorted(blocks.items())
        ),
        ("block size", adaptive, ADAPTIVE),
    ]


def _cluster_lines(part: pd.DataFrame, cell: str, reference: str) -> list[Line]:
    least = part[part["metric"] == "clusters_least"].groupby("arm")["value"].min()

    def label(arm: str) -> str:
        count = int(arm.removeprefix("k"))
        formed = int(least[arm])
        if formed < count:
            return f"k = {count} (a dimension of {formed} features gets {formed})"
        return f"k = {count}"

    arms = sorted(_arms(part), key=lambda arm: int(arm.removeprefix("k")))
    return [("clusters", label(arm), arm) for arm in arms]

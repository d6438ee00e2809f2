"""Names in figures and tables."""

from __future__ import annotations

from seqlab.studies.archbench.architectures import BESIDE, NINE

ORDER = (*NINE, *BESIDE)
_ARCHITECTURES = {
    "lstm": "LSTM",
    "gru": "GRU",
    "vanilla": "Transformer",
    "rope": "RoPE",
    "deltanet": "DeltaNet",
    "gated_deltanet": "Gated DeltaNet",
    "rwkv7": "RWKV-7",
    "retention": "RetNet",
    "gla": "GLA",
    "mamba": "Mamba",
    "gated_deltanet_drawn": "Gated DeltaNet, drawn",
    "vanilla_sin": "sinusoidal",
    "nope": "no positions",
}
_TASKS = {
    "mqar": "MQAR",
    "marked_mqar": "MQAR, marked queries",
    "flip_flop": "flip-flop",
    "knapsack": "knapsack",
    "mqar_frozen": "MQAR, frozen embeddings",
    "mqar_learned": "MQAR, learned embeddings",
    "mqar_subset": "MQAR, subsets of ids",
    "mqar_half": "MQAR, half the pairs",
    "mqar_double": "MQAR, twice the pairs",
    "mqar_quadruple": "MQAR, four times the pairs",
    "flip_flop_few": "flip-flop, few registers",
    "flip_flop_some": "flip-flop, some registers",
    "flip_flop_many": "flip-flop, many registers",
    "knapsack_half": "knapsack, half the items",
    "knapsack_double": "knapsack, twice the items",
}
# Which ids a condition of the vocabulary experiment draws from.
_VOCABULARIES = {"trained": "seen", "twice": "x2", "all": "x4", "unseen": "unseen"}


def architecture(name: str) -> str:
    """Return the name of an architecture as papers write it."""
    return _ARCHITECTURES.get(name, name)


def task(name: str) -> str:
    """Return the name of a task in words."""
    return _TASKS.get(name, name)


def vocabularies(conditions: list[str]) -> list[str]:
    """Return conditions of the vocabulary experiment in the order of figures."""
    return sorted(conditions, key=[*_VOCABULARIES].index)


def vocabulary(condition: str) -> str:
    """Return the ids of a condition of the vocabulary experiment in words."""
    return _VOCABULARIES.get(condition, condition)


def tasks_in_order(names: list[str]) -> list[str]:
    """Return tasks in the order of every figure."""
    return sorted(names, key=[*_TASKS, *names].index)


def interval_of_means(runs: int) -> str:
    """Return in words what the bootstrap intervals of means over runs are.

    None leaves the range of the runs, and of few runs that has the mean of a symmetric law inside
    less often than 95 times in 100: 1 - 2 / 2^runs.
    """
    if runs < 2:
        return "one run, no CI"
    covers = 100 * (1 - 2 / 2**runs)
    return "95 % BCa CI" if covers >= 95 else f"BCa CI, at most {covers:.0f} %"


def in_order(names: list[str]) -> list[str]:
    """Return architectures in the order of every table and figure."""
    return sorted(names, key=ORDER.index)

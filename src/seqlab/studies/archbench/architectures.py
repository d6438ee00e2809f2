"""The architectures, and the names of their variants."""

from __future__ import annotations

from seqlab.studies.archbench.training_spec import Local

# The nine, and what is shown beside them and kept out of their statistics: Mamba, and controls of
# initial decays and of positions.
BASELINES = ("lstm", "gru", "vanilla", "rope")
MODERN = ("deltanet", "gated_deltanet", "rwkv7", "retention", "gla")
NINE = (*BASELINES, *MODERN)
RECURRENT, ATTENTION = ("lstm", "gru"), ("vanilla", "rope")
GROUPS = {"recurrent": RECURRENT, "attention": ATTENTION, "modern": MODERN}
BESIDE = ("mamba", "gated_deltanet_drawn", "vanilla_sin", "nope")
# What others are held against, one by one.
CONTROL = "rope"
# An architecture that is timed twice goes by this name the second time.
AGAIN = "again"
# What native local mixing is: these have short convolutions, all others but RWKV-7 (token shifts)
# have none.
_CONVOLVED = ("deltanet", "gated_deltanet", "gated_deltanet_drawn", "mamba")
_SHIFTED = ("rwkv7",)


def variant(architecture: str, local: Local) -> str:
    """Return the name of an architecture with some local mixing; equal models have equal names."""
    if architecture in _CONVOLVED:
        local = "all" if local == "native" else local
    elif architecture not in _SHIFTED:
        local = "none" if local == "native" else local
    return f"{architecture}-{local}"


def split_variant(name: str) -> tuple[str, Local]:
    """Return architecture and local mixing of a variant's name."""
    architecture, _, local = name.rpartition("-")
    assert local in ("native", "all", "none")
    return architecture, local  # type: ignore[return-value]

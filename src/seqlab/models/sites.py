"""Permutation sites of each architecture: which tensor axes must move together.

Mamba (H hidden, I inner, N state, R rank of the time step; B, C and A share the state's order):

| site | tensors and axis |
|---|---|
| `inner.<l>` | in_proj rows pi and I + pi, and bias; conv1d rows and bias; x_proj columns |
| | dt_proj rows and bias; A_log rows; D; out_proj columns |
| `hidden` | embedding columns; every block norm; in_proj columns; out_proj rows and bias |
| | norm_f; lm_head columns (once where tied to the embedding) |
| `state.<l>` | x_proj rows R + pi and R + N + pi; A_log columns |
| `rank.<l>` | x_proj rows pi; dt_proj columns |

Other architectures have their own `*_sites(config)`: `bert_sites`, `resnet_sites`,
`graph_network`.
"""

from __future__ import annotations

from seqlab.models.mamba_config import MambaConfig
from seqlab.models.permuting import (
    Layout,
    Site,
    TensorAxis,
    apply_layout,
    permute_state_dict,
    relayout,
)

__all__ = [
    "Layout",
    "Site",
    "TensorAxis",
    "apply_layout",
    "mamba_sites",
    "permute_state_dict",
    "relayout",
]


def mamba_sites(config: MambaConfig) -> dict[str, Site]:
    """Return every site of a Mamba, `hidden`, `inner.<l>`, `state.<l>` and `rank.<l>`, by name.

    Tensor names are those of transformers' `MambaForCausalLM`; a configuration of transformers
    becomes ours through `MambaConfig.from_hf_dict(config.to_dict())`.
    """
    sites = {"hidden": _hidden_site(config)}
    for layer in range(config.num_hidden_layers):
        for site in (
            _inner_site(config, layer),
            _state_site(config, layer),
            _rank_site(config, layer),
        ):
            sites[site.name] = site
    return sites


def _hidden_site(config: MambaConfig) -> Site:
    embedding = "backbone.embeddings.weight"
    axes = [TensorAxis(embedding, 1), TensorAxis("backbone.norm_f.weight", 0)]
    tied_to = embedding if config.tie_word_embeddings else None
    axes.append(TensorAxis("lm_head.weight", 1, tied_to=tied_to))
    for layer in range(config.num_hidden_layers):
        block = f"backbone.layers.{layer}"
        axes += [
            TensorAxis(f"{block}.norm.weight", 0),
            TensorAxis(f"{block}.mixer.in_proj.weight", 1),
            TensorAxis(f"{block}.mixer.out_proj.weight", 0),
        ]
        if config.use_bias:
            axes.append(TensorAxis(f"{block}.mixer.out_proj.bias", 0))
    return Site("hidden", config.hidden_size, "global", tuple(axes))


def _inner_site(config: MambaConfig, layer: int) -> Site:
    mixer, size = f"backbone.layers.{layer}.mixer", config.inner_size(layer)
    halves = (0, size)  # the scan branch, then the gate
    axes = [
        TensorAxis(f"{mixer}.in_proj.weight", 0, halves),
        TensorAxis(f"{mixer}.conv1d.weight", 0),
        TensorAxis(f"{mixer}.x_proj.weight", 1),
        TensorAxis(f"{mixer}.dt_proj.weight", 0),
        TensorAxis(f"{mixer}.dt_proj.bias", 0),
        TensorAxis(f"{mixer}.A_log", 0),
        TensorAxis(f"{mixer}.D", 0),
        TensorAxis(f"{mixer}.out_proj.weight", 1),
    ]
    if config.use_bias:
        axes.append(TensorAxis(f"{mixer}.in_proj.bias", 0, halves))
    if config.use_conv_bias:
        axes.append(TensorAxis(f"{mixer}.conv1d.bias", 0))
    return Site(f"inner.{layer}", size, "layer", tuple(axes))


def _state_site(config: MambaConfig, layer: int) -> Site:
    mixer, rank, size = f"backbone.layers.{layer}.mixer", config.step_rank, config.state_size
    axes = (
        TensorAxis(f"{mixer}.x_proj.weight", 0, (rank, rank + size)),  # B, then C
        TensorAxis(f"{mixer}.A_log", 1),
    )
    return Site(f"state.{layer}", size, "layer", axes)


def _rank_site(config: MambaConfig, layer: int) -> Site:
    mixer = f"backbone.layers.{layer}.mixer"
    axes = (TensorAxis(f"{mixer}.x_proj.weight", 0), TensorAxis(f"{mixer}.dt_proj.weight", 1))
    return Site(f"rank.{layer}", config.step_rank, "layer", axes)

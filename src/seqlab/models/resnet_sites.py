"""Permutation sites of a ResNet, in the tensor names of transformers' image classifier.

A normalisation is its weight, bias, running mean and running variance:

| site | tensors and axis |
|---|---|
| `stem` | stem convolution rows and normalisation; columns of what reads it |
| `mid<i>.<s>.<b>` | rows of convolution i of block b in stage s and its normalisation; |
| | columns of convolution i + 1 |
| `stage.<s>` | last convolution rows and normalisation of every block; shortcut rows and |
| | normalisation; columns of the first convolution of the following blocks, of what reads |
| | the stage in the next one, and of the classifier after the last |

A stage whose first block has no shortcut convolution adds to what it was given, so it shares the
order, and the site, of the stream before it.
"""

from __future__ import annotations

import itertools
from typing import Any

from seqlab.models.permuting import Site, TensorAxis

_STATISTICS = ("weight", "bias", "running_mean", "running_var")


def resnet_sites(config: Any) -> dict[str, Site]:
    """Return every site of a ResNet by name.

    Args:
        config: A `transformers.ResNetConfig`, or anything with its fields.
    """
    sites: list[Site] = []
    stream, width = "stem", config.embedding_size
    axes: list[TensorAxis] = _made("resnet.embedder.embedder")
    for stage, (out, depth) in enumerate(zip(config.hidden_sizes, config.depths, strict=True)):
        strided = stage > 0 or config.downsample_in_first_stage
        for block in range(depth):
            prefix = f"resnet.encoder.stages.{stage}.layers.{block}"
            convolutions = [f"{prefix}.layer.{i}" for i in range(_convolutions(config))]
            axes.append(_read(convolutions[0]))
            if block == 0 and (width != out or strided):
                axes.append(_read(f"{prefix}.shortcut"))
                sites.append(Site(stream, width, "global", tuple(axes)))
                stream, width, axes = f"stage.{stage}", out, _made(f"{prefix}.shortcut")
            axes += _made(convolutions[-1])
            sites += _mid_sites(config, stage, block, convolutions)
    axes.append(TensorAxis("classifier.1.weight", 1))
    sites.append(Site(stream, width, "global", tuple(axes)))
    return {site.name: site for site in sites}


def _mid_sites(config: Any, stage: int, block: int, convolutions: list[str]) -> list[Site]:
    out = config.hidden_sizes[stage]
    size = out // 4 if config.layer_type == "bottleneck" else out
    return [
        Site(
            f"mid{index + 1}.{stage}.{block}",
            size,
            "layer",
            (*_made(maker), _read(reader)),
        )
        for index, (maker, reader) in enumerate(itertools.pairwise(convolutions))
    ]


def _convolutions(config: Any) -> int:
    return 3 if config.layer_type == "bottleneck" else 2


def _made(unit: str) -> list[TensorAxis]:
    """Return the output axis of a convolution with its normalisation."""
    norm = [TensorAxis(f"{unit}.normalization.{part}", 0) for part in _STATISTICS]
    return [TensorAxis(f"{unit}.convolution.weight", 0), *norm]


def _read(unit: str) -> TensorAxis:
    """Return the input axis of a convolution."""
    return TensorAxis(f"{unit}.convolution.weight", 1)

"""Load ResNets, make ones with fresh weights, and take over torchvision's weights.

All are transformers' `ResNetForImageClassification`, whose tensor names `resnet_sites` speaks.

A ResNet with fresh weights has normalisations whose running statistics fit nothing, and in
evaluation mode its activations grow with every block; `calibrate` sets them from images. Its
logits, and those of random images through any weights, mean nothing: they are for latency, for the
layout of weights and for checks of equality only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from seqlab.errors import UserError

if TYPE_CHECKING:
    from transformers import ResNetConfig, ResNetForImageClassification

# torchvision's block: names by part of transformers' bottleneck.
_BLOCK = re.compile(r"layer(\d)\.(\d+)\.(?:(conv|bn)([123])|downsample\.([01]))\.(\w+)")
_UNIT = {"conv": "convolution", "bn": "normalization", "0": "convolution", "1": "normalization"}


def load_resnet(
    folder: str | os.PathLike[str],
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> ResNetForImageClassification:
    """Load a ResNet from a Hugging Face folder.

    Args:
        folder: Folder with `config.json` and safetensors weights.
        device: Where the weights go.
        dtype: Type the weights get.

    Returns:
        The model in evaluation mode.

    Raises:
        UserError: The folder is missing or holds no ResNet, or weights are missing or left over.
    """
    from transformers import ResNetForImageClassification

    try:
        loaded: Any = ResNetForImageClassification.from_pretrained(
            Path(folder),
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"no ResNet: {reason}", where=str(folder), fix="make it again") from None
    model, found = loaded
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if found[what]:
            raise UserError(
                f"{what.replace('_', ' ')}: {sorted(map(str, found[what]))[0]}",
                where=str(folder),
                fix="check config.json",
            )
    return model.to(device).eval()


def fresh_resnet(config: ResNetConfig, seed: int) -> ResNetForImageClassification:
    """Return a ResNet with transformers' random weights, in evaluation mode."""
    from transformers import ResNetForImageClassification

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ResNetForImageClassification(config).eval()


def random_images(count: int, size: int, channels: int, seed: int) -> Tensor:
    """Return standard normal pixels (count, channels, size, size), as if normalised already.

    They show nothing: use them for latency, layout and equality, never for a metric of quality.
    """
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, channels, size, size, generator=generator)


@torch.no_grad()
def calibrate(model: nn.Module, images: Tensor, batch: int = 8) -> None:
    """Set the running statistics of every batch normalisation to the averages over images.

    Args:
        model: Changed in place; it ends in evaluation mode.
        images: Pixels (B, C, H, W).
        batch: Images of one pass; the statistics are the means of those of the passes.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's name for an average over all passes
    model.train()
    for part in images.split(batch):
        model(part)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()


def is_torchvision(state: Mapping[str, Tensor]) -> bool:
    """Return whether tensors have the names of torchvision's ResNets."""
    return "conv1.weight" in state and "layer1.0.conv1.weight" in state


def from_torchvision(state: Mapping[str, Tensor]) -> ResNetForImageClassification:
    """Return the same network as transformers' model, in evaluation mode.

    The shape follows from the tensors. Strides sit where torchvision has them, on the 3 x 3
    convolution of a bottleneck (ResNet V1.5).

    Args:
        state: Tensors of a torchvision (or timm) ResNet of bottlenecks, by name.

    Raises:
        UserError: They are not those of such a network.
    """
    from transformers import ResNetConfig, ResNetForImageClassification

    if not is_torchvision(state) or "layer1.0.conv3.weight" not in state:
        raise UserError("the weights are not those of a torchvision ResNet of bottlenecks")
    stages = sorted({match[1] for name in state if (match := _BLOCK.fullmatch(name))})
    depths = [
        len({match[2] for name in state if (match := _BLOCK.fullmatch(name)) and match[1] == stage})
        for stage in stages
    ]
    shape: dict[str, Any] = {
        "num_channels": state["conv1.weight"].shape[1],
        "embedding_size": state["conv1.weight"].shape[0],
        "hidden_sizes": [state[f"layer{stage}.0.conv3.weight"].shape[0] for stage in stages],
        "depths": depths,
        "num_labels": state["fc.weight"].shape[0],
    }
    config = ResNetConfig(**shape)
    model = ResNetForImageClassification(config)
    renamed = {_renamed(name): tensor for name, tensor in state.items()}
    try:
        model.load_state_dict(renamed)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise UserError(f"the weights are not those of a torchvision ResNet: {reason}") from None
    return model.eval()


def _renamed(name: str) -> str:
    """Return transformers' name of a torchvision tensor; a strange name stays as it is."""
    if match := _BLOCK.fullmatch(name):
        stage, block, unit, index, shortcut, tensor = match.groups()
        place = f"layer.{int(index) - 1}" if index else "shortcut"
        kind = _UNIT[unit or shortcut]
        return f"resnet.encoder.stages.{int(stage) - 1}.layers.{block}.{place}.{kind}.{tensor}"
    first, _, tensor = name.partition(".")
    parts = {
        "conv1": "resnet.embedder.embedder.convolution",
        "bn1": "resnet.embedder.embedder.normalization",
        "fc": "classifier.1",
    }
    return f"{parts[first]}.{tensor}" if first in parts else name

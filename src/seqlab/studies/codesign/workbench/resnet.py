"""ResNet on the workbench: 1x1 convolutions are pruned; random images, for latency and layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from seqlab.data.sources import read_origin
from seqlab.layout.permutation import Permutation
from seqlab.models.equivalence import Inputs
from seqlab.models.resnet import load_resnet
from seqlab.models.resnet_sites import resnet_sites
from seqlab.studies.codesign.canonical import stream
from seqlab.studies.codesign.workbench.spec import ArchitectureSpec
from seqlab.studies.codesign.workbench.subject import Score, Subject, forward_pass

# The gate runs in float64 on small images: the network takes any size.
_GATE_IMAGES, _GATE_PIXELS = 8, 32


class ResNetSubject(Subject):
    """An image classifier; a timed call is one forward pass over random images.

    Args:
        name: Name of the architecture.
        spec: Its settings; the length is the edge of an image in pixels.
        assets: Folder of the model.
        seed: Of the images.
        device: Where the model runs.
    """

    def __init__(
        self, name: str, spec: ArchitectureSpec, assets: list[Path], seed: int, device: str
    ) -> None:
        (folder,) = assets
        model = load_resnet(folder, device)
        super().__init__(
            name,
            spec,
            model,
            resnet_sites(model.config),
            tuple(_bottleneck_convolutions(model)),
            rehearsal=read_origin(folder).rehearsal,
        )
        self._seed, self._device = seed, device
        self._images = self._draw("timed", spec.batch, spec.length)

    def _draw(self, purpose: str, count: int, pixels: int) -> Tensor:
        rng = stream(self._seed, purpose)
        values = rng.standard_normal((count, 3, pixels, pixels), dtype="float32")
        return torch.from_numpy(values).to(self._device)

    def calibrate(self, model: nn.Module) -> None:
        """Run random images through the model, one at a time."""
        images = self._draw("calibration", self.spec.calibration, self.spec.length)
        for image in images.split(1):
            model(image)

    def gate_inputs(self) -> Inputs:
        """Return 8 small random images."""
        return self._draw("gate", _GATE_IMAGES, _GATE_PIXELS)

    def caller(self, model: nn.Module, nodes: Permutation | None) -> Callable[[], Tensor]:
        """Return one forward pass over the images."""
        return forward_pass(model, self._images)

    def compiled_inputs(self) -> Tensor:
        """Return the argument of a timed call."""
        return self._images

    def score(self, model: nn.Module) -> Score | None:
        """Return None: the weights are not trained on the images."""
        return None


def _bottleneck_convolutions(model: nn.Module) -> list[str]:
    """Return the 1x1 convolutions that make and read the residual stream; shortcuts stay dense."""
    return [
        name
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1) and ".shortcut." not in name
    ]

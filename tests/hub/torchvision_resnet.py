"""A ResNet of bottlenecks written out with torchvision's tensor names, without torchvision."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class _Bottleneck(nn.Module):
    def __init__(self, width_in: int, width_out: int, stride: int) -> None:
        super().__init__()
        middle = width_out // 4
        self.conv1 = nn.Conv2d(width_in, middle, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, middle, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(middle)
        self.conv3 = nn.Conv2d(middle, width_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width_out)
        self.downsample = None
        if stride != 1 or width_in != width_out:
            convolution = nn.Conv2d(width_in, width_out, 1, stride, bias=False)
            self.downsample = nn.Sequential(convolution, nn.BatchNorm2d(width_out))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class TorchvisionResNet(nn.Module):
    """Stem, stages `layer1`, `layer2`, ... and classifier `fc`, with random statistics."""

    def __init__(
        self, stem: int, widths: Sequence[int], depths: Sequence[int], labels: int, seed: int = 0
    ) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.conv1 = nn.Conv2d(3, stem, 7, 2, 3, bias=False)
            self.bn1 = nn.BatchNorm2d(stem)
            before = stem
            for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
                blocks = [
                    _Bottleneck(width if block else before, width, 2 if stage and not block else 1)
                    for block in range(depth)
                ]
                self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
                before = width
            self.fc = nn.Linear(before, labels)
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    nn.init.normal_(module.running_mean, std=0.1)
                    nn.init.uniform_(module.running_var, 0.5, 2.0)
                    nn.init.normal_(module.weight, 1.0, 0.2)
                    nn.init.normal_(module.bias, std=0.2)
        self.stages = len(widths)
        self.eval()

    def forward(self, pixels: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(pixels)))
        x = nn.functional.max_pool2d(x, 3, 2, 1)
        for stage in range(self.stages):
            x = self.get_submodule(f"layer{stage + 1}")(x)
        return self.fc(x.mean((2, 3)))

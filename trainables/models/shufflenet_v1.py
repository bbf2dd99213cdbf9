"""ShuffleNetV1 (Zhang et al. 2018) with three groups, for small images."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.fx
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, relu

from trainables.models.network import (
    Network,
    Outputs,
    Stage,
    batch_norm,
    convolution,
    global_average,
    shuffle_channels,
)

GROUPS = 3
torch.fx.wrap("shuffle_channels")


class ShuffleUnit(nn.Module):
    """Grouped 1x1, channel shuffle, depthwise 3x3, grouped 1x1, before the last ReLU.

    With stride 2 the pooled input joins as channels.
    `first`: the unit behind the first convolution, whose few channels are not split into groups.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, first: bool = False) -> None:
        super().__init__()
        self.stride = stride
        self.groups = 1 if first else GROUPS
        own = outputs - inputs if stride == 2 else outputs
        width = own // 4
        self.conv1 = convolution(inputs, width, 1, groups=self.groups)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = convolution(width, width, 3, stride, groups=width)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = convolution(width, own, 1, groups=GROUPS)
        self.bn3 = nn.BatchNorm2d(own)

    def forward(self, x: Tensor) -> Tensor:
        out = relu(self.bn1(self.conv1(x)))
        if self.groups > 1:
            out = shuffle_channels(out, self.groups)
        out = relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        if self.stride == 2:
            return torch.cat([out, avg_pool2d(x, 3, stride=2, padding=1)], dim=1)
        return out + x


class ShuffleNetV1(Network):
    """Three stages of 4, 8 and 4 units; the side halves in each."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = convolution(3, 24, 1)
        self.bn1 = nn.BatchNorm2d(24)
        self.layer1 = _stage(24, 240, units=4, first=True)
        self.layer2 = _stage(240, 480, units=8)
        self.layer3 = _stage(480, 960, units=4)
        self.linear = nn.Linear(960, num_classes)

    def forward_features(self, images: Tensor) -> Outputs:
        p0 = self.bn1(self.conv1(images))
        f0 = relu(p0)
        f1, p1 = self.layer1(f0)
        f2, p2 = self.layer2(f1)
        f3, p3 = self.layer3(f2)
        pooled = global_average(f3)
        return Outputs(self.linear(pooled), (f0, f1, f2, f3), pooled, (p0, p1, p2, p3))

    def preactivation_norms(self) -> tuple[nn.BatchNorm2d, ...]:
        return tuple(batch_norm(stage[-1], "bn3") for stage in (self.layer1, self.layer2, self.layer3))


def _stage(inputs: int, outputs: int, units: int, first: bool = False) -> Stage:
    down = ShuffleUnit(inputs, outputs, 2, first)
    return Stage(down, *(ShuffleUnit(outputs, outputs, 1) for _ in range(units - 1)))


NETWORKS: dict[str, Callable[[int], Network]] = {"ShuffleV1": ShuffleNetV1}

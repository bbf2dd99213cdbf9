"""ResNet50 for small images (He et al. 2016): bottleneck blocks behind a 3x3 convolution that keeps the side."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.functional import relu

from trainables.models.network import (
    Network,
    Outputs,
    Stage,
    batch_norm,
    convolution,
    global_average,
    kaiming_convolutions,
)

EXPANSION = 4


class Bottleneck(nn.Module):
    """1x1, 3x3 (which strides), 1x1 to four times the width, before the last ReLU.

    The shortcut is projected wherever the shape changes. `projection`: its name in the state dict.
    """

    def __init__(self, inputs: int, width: int, stride: int, projection: str = "shortcut") -> None:
        super().__init__()
        self.projection = projection
        outputs = width * EXPANSION
        self.conv1 = convolution(inputs, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = convolution(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = convolution(width, outputs, 1)
        self.bn3 = nn.BatchNorm2d(outputs)
        shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            shortcut = nn.Sequential(convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))
        self.add_module(projection, shortcut)

    def forward(self, x: Tensor) -> Tensor:
        out = relu(self.bn1(self.conv1(x)))
        out = relu(self.bn2(self.conv2(out)))
        return self.bn3(self.conv3(out)) + getattr(self, self.projection)(x)


class ResNet50(Network):
    """Four stages of 3, 4, 6 and 3 blocks; the side halves three times."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = convolution(3, 64, 3)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _stage(64, 64, blocks=3, stride=1)
        self.layer2 = _stage(256, 128, blocks=4, stride=2)
        self.layer3 = _stage(512, 256, blocks=6, stride=2)
        self.layer4 = _stage(1024, 512, blocks=3, stride=2)
        self.linear = nn.Linear(2048, num_classes)
        kaiming_convolutions(self)

    def forward_features(self, images: Tensor) -> Outputs:
        p0 = self.bn1(self.conv1(images))
        f0 = relu(p0)
        f1, p1 = self.layer1(f0)
        f2, p2 = self.layer2(f1)
        f3, p3 = self.layer3(f2)
        f4, p4 = self.layer4(f3)
        pooled = global_average(f4)
        return Outputs(self.linear(pooled), (f0, f1, f2, f3, f4), pooled, (p0, p1, p2, p3, p4))

    def preactivation_norms(self) -> tuple[nn.BatchNorm2d, ...]:
        stages = (self.layer1, self.layer2, self.layer3, self.layer4)
        return tuple(batch_norm(stage[-1], "bn3") for stage in stages)


def _stage(inputs: int, width: int, blocks: int, stride: int) -> Stage:
    first = Bottleneck(inputs, width, stride)
    return Stage(first, *(Bottleneck(width * EXPANSION, width, 1) for _ in range(blocks - 1)))


NETWORKS: dict[str, Callable[[int], Network]] = {"ResNet50": ResNet50}

"""CIFAR ResNets (He et al. 2016, section 4.2) in the widths that distillation papers share: resnet8 ... resnet32x4."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

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

NARROW = (16, 16, 32, 64)
WIDE = (32, 64, 128, 256)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, before the last ReLU; the shortcut is projected wherever the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = convolution(inputs, outputs, 3, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = convolution(outputs, outputs, 3)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        out = relu(self.bn1(self.conv1(x)))
        return self.bn2(self.conv2(out)) + shortcut


class ResNet(Network):
    """6n + 2 layers: a 3x3 convolution, three stages of n blocks (the side halves twice), pooling, a linear layer."""

    def __init__(self, depth: int, widths: tuple[int, int, int, int], num_classes: int) -> None:
        super().__init__()
        blocks = (depth - 2) // 6
        self.conv1 = convolution(3, widths[0], 3)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.layer1 = _stage(widths[0], widths[1], blocks, stride=1)
        self.layer2 = _stage(widths[1], widths[2], blocks, stride=2)
        self.layer3 = _stage(widths[2], widths[3], blocks, stride=2)
        self.fc = nn.Linear(widths[3], num_classes)
        kaiming_convolutions(self)

    def forward_features(self, images: Tensor) -> Outputs:
        p0 = self.bn1(self.conv1(images))
        f0 = relu(p0)
        f1, p1 = self.layer1(f0)
        f2, p2 = self.layer2(f1)
        f3, p3 = self.layer3(f2)
        pooled = global_average(f3)
        return Outputs(self.fc(pooled), (f0, f1, f2, f3), pooled, (p0, p1, p2, p3))

    def preactivation_norms(self) -> tuple[nn.BatchNorm2d, ...]:
        return tuple(batch_norm(stage[-1], "bn2") for stage in (self.layer1, self.layer2, self.layer3))


def _stage(inputs: int, outputs: int, blocks: int, stride: int) -> Stage:
    first = BasicBlock(inputs, outputs, stride)
    return Stage(first, *(BasicBlock(outputs, outputs, 1) for _ in range(blocks - 1)))


NETWORKS: dict[str, Callable[[int], Network]] = {
    **{f"resnet{depth}": partial(ResNet, depth, NARROW) for depth in (8, 14, 20, 32, 44, 56, 110)},
    **{f"resnet{depth}x4": partial(ResNet, depth, WIDE) for depth in (8, 32)},
}

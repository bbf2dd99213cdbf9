"""ShuffleNetV2 (Ma et al. 2018) at width 1, for small images."""

from __future__ import annotations

from collections.abc import Callable

import torch.fx
from torch import Tensor, nn
from torch.nn.functional import relu

from trainables.models.network import (
    Network,
    Outputs,
    batch_norm,
    convolution,
    global_average,
    interleave_channels,
)

Halves = tuple[Tensor, Tensor]
torch.fx.wrap("interleave_channels")


class BasicUnit(nn.Module):
    """1x1, depthwise 3x3, 1x1 on the second half of the channels; then the halves are interleaved."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        width = channels // 2
        self.conv1 = convolution(width, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = convolution(width, width, 3, groups=width)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = convolution(width, width, 1)
        self.bn3 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        kept, half = self.halves(x)
        return interleave_channels(kept, relu(half))

    def halves(self, x: Tensor) -> Halves:
        """The half that stays as it is and the other one before its last ReLU."""
        kept, half = x.chunk(2, dim=1)
        out = relu(self.bn1(self.conv1(half)))
        out = self.bn2(self.conv2(out))
        return kept, self.bn3(self.conv3(out))


class DownUnit(nn.Module):
    """Two branches of stride 2 that see all channels; then their outputs are interleaved."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        width = outputs // 2
        self.conv1 = convolution(inputs, inputs, 3, 2, groups=inputs)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv2 = convolution(inputs, width, 1)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = convolution(inputs, width, 1)
        self.bn3 = nn.BatchNorm2d(width)
        self.conv4 = convolution(width, width, 3, 2, groups=width)
        self.bn4 = nn.BatchNorm2d(width)
        self.conv5 = convolution(width, width, 1)
        self.bn5 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        left = relu(self.bn2(self.conv2(self.bn1(self.conv1(x)))))
        right = relu(self.bn3(self.conv3(x)))
        right = relu(self.bn5(self.conv5(self.bn4(self.conv4(right)))))
        return interleave_channels(left, right)


class UnitStage(nn.Sequential):
    """A DownUnit and BasicUnits. Returns its map and the halves of the last unit."""

    def forward(self, x: Tensor) -> tuple[Tensor, Halves]:
        *units, last = self
        assert isinstance(last, BasicUnit)
        for unit in units:
            x = unit(x)
        kept, half = last.halves(x)
        return interleave_channels(kept, relu(half)), (kept, half)


class ShuffleNetV2(Network):
    """Three stages of 4, 8 and 4 units; the side halves in each.

    Every second channel of a stage's preactivation comes from its last norm, the others have passed it by.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = convolution(3, 24, 1)
        self.bn1 = nn.BatchNorm2d(24)
        self.layer1 = _stage(24, 116, units=4)
        self.layer2 = _stage(116, 232, units=8)
        self.layer3 = _stage(232, 464, units=4)
        self.conv2 = convolution(464, 1024, 1)
        self.bn2 = nn.BatchNorm2d(1024)
        self.linear = nn.Linear(1024, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self._pass(images)[0].logits

    def forward_features(self, images: Tensor) -> Outputs:
        outputs, halves = self._pass(images)
        later = tuple(interleave_channels(*pair) for pair in halves)
        return outputs._replace(preactivations=outputs.preactivations + later)

    def _pass(self, images: Tensor) -> tuple[Outputs, tuple[Halves, ...]]:
        """Outputs with the first preactivation alone, and the halves of which the others are made."""
        p0 = self.bn1(self.conv1(images))
        f0 = relu(p0)
        f1, h1 = self.layer1(f0)
        f2, h2 = self.layer2(f1)
        f3, h3 = self.layer3(f2)
        pooled = global_average(relu(self.bn2(self.conv2(f3))))
        return Outputs(self.linear(pooled), (f0, f1, f2, f3), pooled, (p0,)), (h1, h2, h3)

    def preactivation_norms(self) -> tuple[nn.BatchNorm2d, ...]:
        return tuple(batch_norm(stage[-1], "bn3") for stage in (self.layer1, self.layer2, self.layer3))


def _stage(inputs: int, outputs: int, units: int) -> UnitStage:
    return UnitStage(DownUnit(inputs, outputs), *(BasicUnit(outputs) for _ in range(units - 1)))


NETWORKS: dict[str, Callable[[int], Network]] = {"ShuffleV2": ShuffleNetV2}

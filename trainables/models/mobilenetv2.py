"""MobileNetV2 (Sandler et al. 2018) at half width, as distillation papers use it on small images."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from trainables.models.network import (
    Network,
    Outputs,
    batch_norm,
    convolution,
    global_average,
    kaiming_convolutions,
    small_linear,
)

EXPANSION = 6
# Expansion, output channels, blocks and first stride of each stage.
STAGES = (
    (1, 8, 1, 1),
    (EXPANSION, 12, 2, 1),
    (EXPANSION, 16, 3, 2),
    (EXPANSION, 32, 4, 2),
    (EXPANSION, 48, 3, 1),
    (EXPANSION, 80, 3, 2),
    (EXPANSION, 160, 1, 1),
)
FEATURE_STAGES = (1, 2, 4, 6)


class InvertedResidual(nn.Module):
    """1x1 to `expansion` times the width, depthwise 3x3 (which strides), linear 1x1; a shortcut where shapes agree."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.residual = stride == 1 and inputs == outputs
        self.conv = nn.Sequential(
            convolution(inputs, width, 1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            convolution(width, width, 3, stride, groups=width),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            convolution(width, outputs, 1),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV2(Network):
    """Seven stages behind a convolution of stride 2: the side halves four times. Features of stages are linear.

    No ReLU ends them, so they are their own preactivations.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        channels = 16
        self.conv1 = nn.Sequential(convolution(3, channels, 3, stride=2), nn.BatchNorm2d(channels), nn.ReLU())
        self.blocks = nn.ModuleList()
        for expansion, outputs, count, stride in STAGES:
            first = InvertedResidual(channels, outputs, stride, expansion)
            rest = (InvertedResidual(outputs, outputs, 1, expansion) for _ in range(count - 1))
            self.blocks.append(nn.Sequential(first, *rest))
            channels = outputs
        self.conv2 = nn.Sequential(convolution(channels, 1280, 1), nn.BatchNorm2d(1280), nn.ReLU())
        linear = nn.Linear(1280, num_classes)
        self.classifier = nn.Sequential(linear)
        kaiming_convolutions(self)
        small_linear(linear)

    def forward_features(self, images: Tensor) -> Outputs:
        convolve, norm, activate = self.conv1
        first = norm(convolve(images))
        x = activate(first)
        features = [x]
        for number, stage in enumerate(self.blocks):
            x = stage(x)
            if number in FEATURE_STAGES:
                features.append(x)
        pooled = global_average(self.conv2(x))
        return Outputs(self.classifier(pooled), tuple(features), pooled, (first, *features[1:]))

    def preactivation_norms(self) -> tuple[nn.BatchNorm2d, ...]:
        ends = ((number, STAGES[number][2] - 1) for number in FEATURE_STAGES)
        return tuple(batch_norm(self.blocks, f"{number}.{block}.conv.7") for number, block in ends)


NETWORKS: dict[str, Callable[[int], Network]] = {"MobileNetV2": MobileNetV2}

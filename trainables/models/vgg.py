"""VGG with batch norm for small images (Simonyan and Zisserman 2015): vgg8 and vgg13."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch.fx
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, relu

from trainables.models.network import (
    Network,
    Outputs,
    batch_norm,
    global_average,
    kaiming_convolutions,
    small_linear,
)

WIDTHS = (64, 128, 256, 512, 512)
LARGE_SIDE = 64


class VGG(Network):
    """Five blocks of `convolutions` each. The side halves after the first three, and after the fourth from 64 up."""

    def __init__(self, convolutions: int, num_classes: int) -> None:
        super().__init__()
        self.block0 = _block(3, WIDTHS[0], convolutions)
        self.block1 = _block(WIDTHS[0], WIDTHS[1], convolutions)
        self.block2 = _block(WIDTHS[1], WIDTHS[2], convolutions)
        self.block3 = _block(WIDTHS[2], WIDTHS[3], convolutions)
        self.block4 = _block(WIDTHS[3], WIDTHS[4], convolutions)
        self.classifier = nn.Linear(WIDTHS[4], num_classes)
        kaiming_convolutions(self)
        small_linear(self.classifier)

    def forward_features(self, images: Tensor) -> Outputs:
        p0 = self.block0(images)
        f0 = relu(p0)
        p1 = self.block1(max_pool2d(f0, 2))
        f1 = relu(p1)
        p2 = self.block2(max_pool2d(f1, 2))
        f2 = relu(p2)
        p3 = self.block3(max_pool2d(f2, 2))
        f3 = relu(p3)
        p4 = self.block4(_halve_if_large(f3, images))
        f4 = relu(p4)
        pooled = global_average(f4)
        return Outputs(self.classifier(pooled), (f0, f1, f2, f3, f4), pooled, (p0, p1, p2, p3, p4))

    def preactivation_norms(self) -> tuple[nn.BatchNorm2d, ...]:
        blocks = (self.block1, self.block2, self.block3, self.block4)
        return tuple(batch_norm(block, str(len(block) - 1)) for block in blocks)


@torch.fx.wrap
def _halve_if_large(maps: Tensor, images: Tensor) -> Tensor:
    return max_pool2d(maps, 2) if images.shape[2] >= LARGE_SIDE else maps


def _block(inputs: int, outputs: int, convolutions: int) -> nn.Sequential:
    """3x3 convolutions, each with norm and ReLU; the last ReLU is left to the caller."""
    layers: list[nn.Module] = []
    for number in range(convolutions):
        if number:
            layers.append(nn.ReLU())
        channels = outputs if number else inputs
        layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers)


NETWORKS: dict[str, Callable[[int], Network]] = {"vgg8": partial(VGG, 1), "vgg13": partial(VGG, 2)}

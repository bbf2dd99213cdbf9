"""ResNets for ImageNet (He et al. 2016), key for key those of torchvision, whose published weights load as they are."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.functional import max_pool2d, relu

from trainables.models.network import (
    Network,
    Outputs,
    Stage,
    batch_norm,
    convolution,
    global_average,
    kaiming_convolutions,
)
from trainables.models.resnet import BasicBlock
from trainables.models.resnet50 import EXPANSION, Bottleneck


class Kind(NamedTuple):
    """A block: how it is made of inputs, width and stride; outputs per width; the name of its last norm."""

    block: Callable[[int, int, int], nn.Module]
    expansion: int
    last_norm: str


BASIC = Kind(BasicBlock, 1, "bn2")
BOTTLENECK = Kind(partial(Bottleneck, projection="downsample"), EXPANSION, "bn3")


class ImageNetResNet(Network):
    """Four stages behind a 7x7 convolution of stride 2 and a max pooling: the side halves five times."""

    def __init__(self, kind: Kind, blocks: tuple[int, int, int, int], num_classes: int) -> None:
        super().__init__()
        self.last_norm = kind.last_norm
        self.conv1 = convolution(3, 64, 7, stride=2)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _stage(kind, 64, 64, blocks[0], stride=1)
        self.layer2 = _stage(kind, 64 * kind.expansion, 128, blocks[1], stride=2)
        self.layer3 = _stage(kind, 128 * kind.expansion, 256, blocks[2], stride=2)
        self.layer4 = _stage(kind, 256 * kind.expansion, 512, blocks[3], stride=2)
        self.fc = nn.Linear(512 * kind.expansion, num_classes)
        kaiming_convolutions(self)

    def forward_features(self, images: Tensor) -> Outputs:
        p0 = self.bn1(self.conv1(images))
        f0 = relu(p0)
        f1, p1 = self.layer1(max_pool2d(f0, 3, stride=2, padding=1))
        f2, p2 = self.layer2(f1)
        f3, p3 = self.layer3(f2)
        f4, p4 = self.layer4(f3)
        pooled = global_average(f4)
        return Outputs(self.fc(pooled), (f0, f1, f2, f3, f4), pooled, (p0, p1, p2, p3, p4))

    def preactivation_norms(self) -> tuple[nn.BatchNorm2d, ...]:
        stages = (self.layer1, self.layer2, self.layer3, self.layer4)
        return tuple(batch_norm(stage[-1], self.last_norm) for stage in stages)


def _stage(kind: Kind, inputs: int, width: int, blocks: int, stride: int) -> Stage:
    first = kind.block(inputs, width, stride)
    return Stage(first, *(kind.block(width * kind.expansion, width, 1) for _ in range(blocks - 1)))


NETWORKS: dict[str, Callable[[int], Network]] = {
    "imagenet_resnet18": partial(ImageNetResNet, BASIC, (2, 2, 2, 2)),
    "imagenet_resnet34": partial(ImageNetResNet, BASIC, (3, 4, 6, 3)),
    "imagenet_resnet50": partial(ImageNetResNet, BOTTLENECK, (3, 4, 6, 3)),
}

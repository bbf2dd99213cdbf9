"""Wide ResNets (Zagoruyko and Komodakis 2016): norm and ReLU come before each convolution."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn
from torch.nn.functional import relu

from trainables.models.network import (
    Network,
    Outputs,
    batch_norm,
    convolution,
    global_average,
    kaiming_convolutions,
)


class WideBlock(nn.Module):
    """Two 3x3 convolutions. Where the width changes, the projected shortcut starts behind the first norm and ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = convolution(inputs, outputs, 3, stride)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = convolution(outputs, outputs, 3)
        self.convShortcut = None if inputs == outputs else convolution(inputs, outputs, 1, stride)

    def forward(self, x: Tensor, normed: Tensor) -> Tensor:
        """`normed`: bn1 of x, which the caller may need too."""
        active = relu(normed)
        shortcut = x if self.convShortcut is None else self.convShortcut(active)
        return shortcut + self.conv2(relu(self.bn2(self.conv1(active))))


class WideStage(nn.Module):
    """Blocks of one width, under the name `layer` of the shared checkpoints. Its first norm is left to the caller."""

    def __init__(self, inputs: int, outputs: int, blocks: int, stride: int) -> None:
        super().__init__()
        first = WideBlock(inputs, outputs, stride)
        self.layer = nn.Sequential(first, *(WideBlock(outputs, outputs, 1) for _ in range(blocks - 1)))

    @property
    def norm(self) -> nn.BatchNorm2d:
        return batch_norm(self.layer, "0.bn1")

    def forward(self, x: Tensor, normed: Tensor) -> Tensor:
        """`normed`: `norm` of x."""
        first, *rest = self.layer
        x = first(x, normed)
        for block in rest:
            x = block(x, batch_norm(block, "bn1")(x))
        return x


class WideResNet(Network):
    """WRN-depth-width, depth = 6n + 4: three stages of n blocks, the side halves twice. Features are not yet normed."""

    def __init__(self, depth: int, width: int, num_classes: int) -> None:
        super().__init__()
        blocks = (depth - 4) // 6
        self.conv1 = convolution(3, 16, 3)
        # A stage of width 1 keeps the 16 channels of the first convolution, and then needs no projection.
        self.block1 = WideStage(16, 16 * width, blocks, stride=1)
        self.block2 = WideStage(16 * width, 32 * width, blocks, stride=2)
        self.block3 = WideStage(32 * width, 64 * width, blocks, stride=2)
        self.bn1 = nn.BatchNorm2d(64 * width)
        self.fc = nn.Linear(64 * width, num_classes)
        kaiming_convolutions(self)
        nn.init.zeros_(self.fc.bias)

    def forward_features(self, images: Tensor) -> Outputs:
        f0 = self.conv1(images)
        p0 = self.block1.norm(f0)
        f1 = self.block1(f0, p0)
        p1 = self.block2.norm(f1)
        f2 = self.block2(f1, p1)
        p2 = self.block3.norm(f2)
        f3 = self.block3(f2, p2)
        p3 = self.bn1(f3)
        pooled = global_average(relu(p3))
        return Outputs(self.fc(pooled), (f0, f1, f2, f3), pooled, (p0, p1, p2, p3))

    def preactivation_norms(self) -> tuple[nn.BatchNorm2d, ...]:
        return self.block2.norm, self.block3.norm, self.bn1


NETWORKS: dict[str, Callable[[int], Network]] = {
    f"wrn_{depth}_{width}": partial(WideResNet, depth, width) for depth in (16, 40) for width in (1, 2)
}

"""MobileNetV1 (Howard et al. 2017) at full width, as distillation papers use it on ImageNet."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.functional import relu

from trainables.models.network import Network, Outputs, batch_norm, convolution, global_average

# Output channels and stride of each block behind the first convolution.
BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))
# The last block of each side, counted with the first convolution.
FEATURE_BLOCKS = (1, 3, 5, 11, 13)


class MobileNetV1(Network):
    """A convolution of stride 2 and 13 blocks, each a depthwise 3x3 and a 1x1: the side halves five times."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        channels = 32
        self.model = nn.Sequential(nn.Sequential(convolution(3, channels, 3, stride=2), nn.BatchNorm2d(channels)))
        for outputs, stride in BLOCKS:
            self.model.append(_block(channels, outputs, stride))
            channels = outputs
        self.fc = nn.Linear(channels, num_classes)

    def forward_features(self, images: Tensor) -> Outputs:
        x = images
        features, preactivations = [], []
        for number, block in enumerate(self.model):
            before = block(x)
            x = relu(before)
            if number in FEATURE_BLOCKS:
                features.append(x)
                preactivations.append(before)
        pooled = global_average(x)
        return Outputs(self.fc(pooled), tuple(features), pooled, tuple(preactivations))

    def preactivation_norms(self) -> tuple[nn.BatchNorm2d, ...]:
        return tuple(batch_norm(self.model, f"{number}.4") for number in FEATURE_BLOCKS[1:])


def _block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Depthwise 3x3 (which strides), norm, ReLU, 1x1, norm; the last ReLU is left to the caller."""
    return nn.Sequential(
        convolution(inputs, inputs, 3, stride, groups=inputs),
        nn.BatchNorm2d(inputs),
        nn.ReLU(),
        convolution(inputs, outputs, 1),
        nn.BatchNorm2d(outputs),
    )


NETWORKS: dict[str, Callable[[int], Network]] = {"MobileNetV1": MobileNetV1}

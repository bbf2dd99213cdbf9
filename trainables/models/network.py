"""What all networks have in common: the outputs they offer, their initial weights, the channel shuffle."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import relu


class Outputs(NamedTuple):
    """What a network returns for N images.

    Attributes:
        logits: (N, C).
        features: Maps (N, K_i, H_i, W_i), from input to output.
        pooled: What the classifier sees, (N, K).
        preactivations: For each feature, the map before the ReLU that ends it, of the same shape. A feature that is not
            yet normed has the norm and ReLU behind it. A linear feature has no ReLU and is its own preactivation.
    """

    logits: Tensor
    features: tuple[Tensor, ...]
    pooled: Tensor
    preactivations: tuple[Tensor, ...]

    @classmethod
    def of_logits(cls, logits: Tensor) -> Outputs:
        """Those of a network that was asked for its logits alone."""
        return cls(logits, (), logits[:, :0], ())

    @classmethod
    def join(cls, parts: Sequence[Outputs]) -> Outputs:
        """The samples of all parts, one after the other."""
        if len(parts) == 1:
            return parts[0]
        logits, features, pooled, preactivations = zip(*parts, strict=True)
        return cls(
            logits=torch.cat(logits),
            features=tuple(torch.cat(maps) for maps in zip(*features, strict=True)),
            pooled=torch.cat(pooled),
            preactivations=tuple(torch.cat(maps) for maps in zip(*preactivations, strict=True)),
        )

    def map(self, function: Callable[[Tensor], Tensor]) -> Outputs:
        """`function` of every tensor."""
        return Outputs(
            logits=function(self.logits),
            features=tuple(map(function, self.features)),
            pooled=function(self.pooled),
            preactivations=tuple(map(function, self.preactivations)),
        )


class Network(nn.Module, ABC):
    """An image classifier. It maps images (N, 3, H, W), H and W at least 16, to logits (N, C).

    TRACED: torch.fx can follow `forward_features`, so that a teacher's norms can be folded into its convolutions, and
    features cost nothing.
    """

    TRACED: ClassVar[bool] = True

    @abstractmethod
    def forward_features(self, images: Tensor) -> Outputs:
        """Return the logits with what they were computed from. This costs no more than the logits alone."""

    @abstractmethod
    def preactivation_norms(self) -> tuple[nn.BatchNorm2d, ...]:
        """Return, for each preactivation but the first, the last batch norm before it. Of a sum, that of the branch."""

    def forward(self, images: Tensor) -> Tensor:
        return self.forward_features(images).logits


class Stage(nn.Sequential):
    """Blocks that leave their last ReLU to the stage. It returns its map, and the map before the ReLU that ends it."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        before = x
        for block in self:
            before = block(x)
            x = relu(before)
        return x, before


def batch_norm(module: nn.Module, name: str) -> nn.BatchNorm2d:
    """Return the batch norm of that name within a module. Over several devices it is of another class."""
    found = module.get_submodule(name)
    assert isinstance(found, nn.BatchNorm2d | nn.SyncBatchNorm)
    return cast(nn.BatchNorm2d, found)


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """Make a convolution without bias. It keeps the side at stride 1 and halves it, rounding up, at stride 2."""
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)


def global_average(maps: Tensor) -> Tensor:
    """Average maps (N, K, H, W) to (N, K)."""
    return maps.mean(dim=(2, 3))


def shuffle_channels(maps: Tensor, groups: int) -> Tensor:
    """Channel k of group g moves to place k * groups + g (ShuffleNet, Zhang et al. 2018). Keeps the memory format."""
    if maps.is_contiguous(memory_format=torch.channels_last):
        last = maps.permute(0, 2, 3, 1).unflatten(3, (groups, -1))
        return last.transpose(3, 4).flatten(3).permute(0, 3, 1, 2)
    return maps.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)


def interleave_channels(even: Tensor, odd: Tensor) -> Tensor:
    """`shuffle_channels(cat([even, odd]), 2)` with one copy instead of two. Keeps the memory format of `odd`."""
    if odd.is_contiguous(memory_format=torch.channels_last):
        pairs = torch.stack([even.permute(0, 2, 3, 1), odd.permute(0, 2, 3, 1)], dim=4)
        return pairs.flatten(3).permute(0, 3, 1, 2)
    return torch.stack([even, odd], dim=2).flatten(1, 2)


def kaiming_convolutions(network: nn.Module) -> None:
    """Draw the weights of convolutions from N(0, 2 / (k * k * outputs)), biases 0 (He et al. 2015, fan out).

    Norms keep weight 1 and bias 0.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def small_linear(layer: nn.Linear) -> None:
    """A classifier from N(0, 0.01 ** 2) with zero bias."""
    nn.init.normal_(layer.weight, 0.0, 0.01)
    nn.init.zeros_(layer.bias)

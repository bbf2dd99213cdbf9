"""The networks of the paper's tables, under the names by which the community shares their checkpoints."""

from __future__ import annotations

import difflib

from trainables.errors import UserError
from trainables.models import (
    imagenet_resnet,
    mobilenetv1,
    mobilenetv2,
    resnet,
    resnet50,
    shufflenet_v1,
    shufflenet_v2,
    vgg,
    wrn,
)
from trainables.models.network import Network, Outputs

__all__ = ["Network", "Outputs", "build", "names"]

_NETWORKS = (
    resnet.NETWORKS
    | wrn.NETWORKS
    | vgg.NETWORKS
    | mobilenetv2.NETWORKS
    | shufflenet_v1.NETWORKS
    | shufflenet_v2.NETWORKS
    | resnet50.NETWORKS
    | imagenet_resnet.NETWORKS
    | mobilenetv1.NETWORKS
)


def names() -> tuple[str, ...]:
    """The names that `build` knows."""
    return tuple(_NETWORKS)


def build(name: str, num_classes: int) -> Network:
    """A network with fresh weights, drawn from torch's global generator alone (`torch.manual_seed` fixes them)."""
    if name not in _NETWORKS:
        raise UserError(f"unknown network {name!r}: use one of {', '.join(_closest_first(name))}")
    if num_classes < 2:
        raise UserError(f"a network needs two classes or more, not {num_classes}")
    return _NETWORKS[name](num_classes)


def _closest_first(name: str) -> list[str]:
    """All names, the most similar to `name` first, whatever its case and separators."""
    wanted = _squashed(name)
    return sorted(
        _NETWORKS,
        key=lambda known: -difflib.SequenceMatcher(None, wanted, _squashed(known)).ratio(),
    )


def _squashed(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")

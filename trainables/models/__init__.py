"""Networks, by the names under which the community shares their checkpoints.

Any module that is added here and defines NETWORKS, a dict from a name to a function of the number of classes, adds its
own.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable

from trainables import additions
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

_SHIPPED = (
    resnet,
    wrn,
    vgg,
    mobilenetv2,
    shufflenet_v1,
    shufflenet_v2,
    resnet50,
    imagenet_resnet,
    mobilenetv1,
)
_OTHERS = ("checkpoint", "network", "published")
"""Modules here that define no networks."""


@additions.remembered
def _networks() -> dict[str, Callable[[int], Network]]:
    """The program's networks, in the order of the tables, and then those that were added."""
    found: dict[str, Callable[[int], Network]] = {}
    for shipped in _SHIPPED:
        found |= shipped.NETWORKS
    known = {*_OTHERS, *(shipped.__name__.rpartition(".")[2] for shipped in _SHIPPED)}
    for module in additions.modules_in(__name__):
        if module not in known:
            added = additions.load(__name__, module, "NETWORKS", dict)
            if wrong := [str(name) for name, make in added.items() if not callable(make)]:
                what = "is no function of the number of classes"
                raise UserError(f"{__name__}.{module}: {wrong[0]} of NETWORKS {what}: see docs/extend/networks.md")
            if twice := sorted(found.keys() & added.keys()):
                raise UserError(f"{__name__}.{module}: there is a network {twice[0]} already: choose another name")
            found |= added
    return found


def names() -> tuple[str, ...]:
    """The names that `build` knows."""
    return tuple(_networks())


def build(name: str, num_classes: int) -> Network:
    """A network with fresh weights, drawn from torch's global generator alone (`torch.manual_seed` fixes them)."""
    if name not in _networks():
        raise UserError(f"unknown network {name!r}: use one of {', '.join(_closest_first(name))}")
    if num_classes < 2:
        raise UserError(f"a network needs two classes or more, not {num_classes}")
    return _networks()[name](num_classes)


def _closest_first(name: str) -> list[str]:
    """All names, the most similar to `name` first, whatever its case and separators."""
    wanted = _squashed(name)
    return sorted(
        _networks(),
        key=lambda known: -difflib.SequenceMatcher(None, wanted, _squashed(known)).ratio(),
    )


def _squashed(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")

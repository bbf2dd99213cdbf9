"""Networks, by the names under which the community shares their checkpoints.

Any module that is added here and defines NETWORKS, a dict from a name to a function of the number of classes, adds its
own. `library` has those of timm and torchvision.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable

from trainables import additions
from trainables.commands import did_you_mean
from trainables.errors import UserError
from trainables.models import (
    imagenet_resnet,
    library,
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
from trainables.network_names import parse

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
_OTHERS = ("checkpoint", "cost", "library", "network", "published")
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
    """The names that `build` knows beside those of libraries."""
    return tuple(_networks())


def build(name: str, num_classes: int, side: int | None = None) -> Network:
    """A network with fresh weights, drawn from torch's global generator alone (`torch.manual_seed` fixes them).

    side: of the images, for networks of libraries that are made for one; None for the library's own.
    """
    if num_classes < 2:
        raise UserError(f"a network needs two classes or more, not {num_classes}")
    if asked := parse(name):
        return library.make(asked, num_classes, side)
    if name not in _networks():
        raise UserError(f"unknown network {name!r}: use one of {', '.join(_closest_first(name))}")
    return _networks()[name](num_classes)


def check_name(name: str, option: str) -> None:
    """Refuse an unknown network that an option names, without making one."""
    asked = parse(name)
    known = library.names(asked.library) if asked else names()
    base = asked.architecture if asked else name
    if base not in known:
        near = did_you_mean(base, known, most=3)
        hint = near or ("its library has none of that name" if asked else f"use one of {', '.join(known)}")
        raise UserError(f"unknown network {name!r} in {option}: {hint}")


def _closest_first(name: str) -> list[str]:
    """All names, the most similar to `name` first, whatever its case and separators."""
    wanted = _squash(name)
    return sorted(
        _networks(),
        key=lambda known: -difflib.SequenceMatcher(None, wanted, _squash(known)).ratio(),
    )


def _squash(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")

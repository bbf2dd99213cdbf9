"""Names as the paper prints them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from trainables import datasets
from trainables.recipes import Pair

_NETWORKS = {"ShuffleV1": "ShuffleNetV1", "ShuffleV2": "ShuffleNetV2"}


def network(name: str) -> str:
    """`wrn_40_2` is WRN-40-2, `resnet32x4` ResNet32x4, `imagenet_resnet18` ResNet18; what is not known stays."""
    name = name.removeprefix("imagenet_")
    if re.fullmatch(r"wrn_\d+_\d+", name):
        return name.upper().replace("_", "-")
    if match := re.fullmatch(r"(resnet|vgg)(\d+(?:x\d+)?)", name):
        return {"resnet": "ResNet", "vgg": "VGG"}[match[1]] + match[2]
    return _NETWORKS.get(name, name)


def pair(pair: Pair) -> str:
    """`WRN-40-2 / WRN-16-2`: teacher and student."""
    return f"{network(pair.teacher)} / {network(pair.student)}"


def dataset(name: str) -> str:
    """`cifar100` is CIFAR-100; what is not known stays."""
    return datasets.find(name).title if datasets.is_known(name) else name


def epochs(*counts: int) -> str:
    """`1 epoch`, `240 or 360 epochs`."""
    return f"{' or '.join(map(str, counts))} epoch{'' if counts == (1,) else 's'}"


def listed(words: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))

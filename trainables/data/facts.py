"""What planning needs to know about a data set without loading it. Free of torch.

A data set is one entry of `FACTS` and one module `trainables.data.<name>` with a function `read`; the user's own
images (`imagefolder`) have no entry, because their facts are counted in their folder.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from trainables.data import folders
from trainables.errors import UserError


@dataclass(frozen=True)
class Facts:
    """Classes, image side in pixels, training images of each class, test images in all."""

    num_classes: int
    side: int
    train_per_class: tuple[int, ...]
    test_size: int

    @property
    def train_size(self) -> int:
        return sum(self.train_per_class)


FACTS = {
    "digits": Facts(10, 16, (119, 121, 117, 121, 120, 123, 120, 118, 119, 122), 597),
    "cifar100": Facts(100, 32, (500,) * 100, 10_000),
}


def names() -> tuple[str, ...]:
    """The data sets that `load` knows."""
    return (*FACTS, "imagefolder")


def check_name(name: str) -> None:
    if name not in names():
        raise UserError(f"unknown data set {name!r}: use one of {', '.join(names())}")


def check_fraction(fraction: float) -> None:
    if not 0 < fraction <= 1:
        raise UserError(f"the train fraction {fraction:g} must be in (0, 1]")


def kept(count: int, fraction: float) -> int:
    """ceil(fraction * count), with the fraction as it is written: 0.07 of 100 is 7 (in floats it would be 8)."""
    return math.ceil(Fraction(repr(float(fraction))) * count)


def facts(name: str, data_dir: Path | None, train_fraction: float = 1.0) -> Facts:
    """The facts of a data set, its training images thinned to `train_fraction` of each class."""
    check_name(name)
    check_fraction(train_fraction)
    whole = FACTS[name] if name in FACTS else _counted(data_dir)
    return replace(whole, train_per_class=tuple(kept(n, train_fraction) for n in whole.train_per_class))


def _counted(data_dir: Path | None) -> Facts:
    found = folders.scan(data_dir)
    counts = [0] * len(found.classes)
    for _, label in found.train.files:
        counts[label] += 1
    return Facts(len(found.classes), folders.SIDE, tuple(counts), len(found.test.files))

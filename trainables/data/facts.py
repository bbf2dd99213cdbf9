"""What planning needs to know about a data set without loading it. Free of torch.

A data set is one entry of `FACTS` and one module `trainables.data.<name>` with a function `read` (or `open_source`);
the user's own images (`imagefolder`) have no entry, because their facts are counted in their folder.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from trainables.data import folders
from trainables.errors import UserError


@dataclass(frozen=True)
class Facts:
    """Classes, image side in pixels, training images of each class, test images in all.

    evenly: the training images are a published total, spread evenly over the classes because the folder is not there.
    """

    num_classes: int
    side: int
    train_per_class: tuple[int, ...]
    test_size: int
    evenly: bool = False

    @property
    def train_size(self) -> int:
        return sum(self.train_per_class)


FACTS = {
    "digits": Facts(10, 16, (119, 121, 117, 121, 120, 123, 120, 118, 119, 122), 597),
    "cifar100": Facts(100, 32, (500,) * 100, 10_000),
    "cifar100_lt": Facts(100, 32, (500,) * 100, 10_000),
    "tinyimagenet": Facts(200, 64, (500,) * 200, 10_000),
    "imagenet": Facts(1000, 224, (1282,) * 167 + (1281,) * 833, 50_000, evenly=True),
}
FETCHED = ("cifar100", "cifar100_lt", "tinyimagenet")
"""Data sets that can be downloaded."""
STREAMED = ("imagenet",)
"""Data sets too large for a device: a loader reads their files while they are trained on."""
IN_FOLDERS = ("tinyimagenet", "imagenet")
"""Data sets that also have a module `<name>_folders`: `find(data_dir)` and `scan(root)` count what is really there."""


def names() -> tuple[str, ...]:
    """The data sets that `load` knows."""
    return (*FACTS, "imagefolder")


def check_name(name: str) -> None:
    if name not in names():
        raise UserError(f"unknown data set {name!r}: use one of {', '.join(names())}")


def check_fraction(fraction: float) -> None:
    if not 0 < fraction <= 1:
        raise UserError(f"the train fraction {fraction:g} must be in (0, 1]")


def check_imbalance(imbalance: float) -> None:
    if not 0 < imbalance <= 1:
        raise UserError(f"the imbalance {imbalance:g} (smallest class / largest class) must be in (0, 1]")


def kept(count: int, fraction: float) -> int:
    """ceil(fraction * count), with the fraction as it is written: 0.07 of 100 is 7 (in floats it would be 8)."""
    return math.ceil(Fraction(repr(float(fraction))) * count)


def long_tailed(counts: Sequence[int], imbalance: float) -> tuple[int, ...]:
    """The exponential profile of K. Cao et al., 2019: of C classes, class c keeps int(n * imbalance ** (c / (C - 1))).

    n is the largest class; a class that has fewer images than its share keeps them all.
    """
    check_imbalance(imbalance)
    last = max(len(counts) - 1, 1)
    profile = [min(count, int(max(counts) * imbalance ** (c / last))) for c, count in enumerate(counts)]
    if imbalance < 1 and 0 in profile:
        first = f"{profile.index(0)} of 0 to {last}"
        raise UserError(f"the imbalance {imbalance:g} leaves class {first} no training image: use a larger one")
    return tuple(profile)


def held_out(count: int, share: float) -> int:
    """How many of a class's training images are held out: the share of them, rounded down."""
    return math.floor(Fraction(repr(float(share))) * count)


def facts(
    name: str, data_dir: Path | None, train_fraction: float = 1.0, imbalance: float = 1.0, holdout: float = 0.0
) -> Facts:
    """The facts of a data set, its training images made long-tailed, then thinned to `train_fraction` of each class;
    with `holdout`, that share of them tested on instead of the test images."""
    check_name(name)
    check_fraction(train_fraction)
    check_imbalance(imbalance)
    whole = _counted(name, data_dir) or FACTS[name]
    tail = long_tailed(whole.train_per_class, imbalance)
    known = replace(whole, train_per_class=tuple(kept(n, train_fraction) for n in tail))
    if not holdout:
        return known
    held = [held_out(count, holdout) for count in known.train_per_class]
    rest = tuple(count - out for count, out in zip(known.train_per_class, held, strict=True))
    return replace(known, train_per_class=rest, test_size=sum(held))


def fingerprinted(name: str, data_dir: Path | None) -> bool:
    """Whether the images are none that were published, so that a run's identity must name them by their fingerprint."""
    check_name(name)
    if name not in FACTS:
        return True
    counted = _counted(name, data_dir)
    return counted is not None and not _as_published(name, counted)


def _as_published(name: str, counted: Facts) -> bool:
    published = FACTS[name]
    same = (counted.num_classes, counted.train_size, counted.test_size) == (
        published.num_classes,
        published.train_size,
        published.test_size,
    )
    return same and (name == "imagenet" or counted.train_per_class == published.train_per_class)


def counts_in_words(counts: Sequence[int]) -> str:
    """Images of each class for people: `500 a class, 50,000 images`; `500 .. 250 a class, 36,029 images`."""
    most, fewest = max(counts), min(counts)
    a_class = f"{most:,}" if most == fewest else f"{most:,} .. {fewest:,}"
    return f"{a_class} a class, {sum(counts):,} images"


def in_words(known: Facts) -> str:
    """The training images for people, and whether their numbers are those of a folder or a published total."""
    doubt = " (the published total, as if all classes were equal: its folder is not here)" if known.evenly else ""
    return counts_in_words(known.train_per_class) + doubt


def _counted(name: str, data_dir: Path | None) -> Facts | None:
    """What the user's folder holds; None for a data set that is the same everywhere, or whose folder is not there."""
    if name in IN_FOLDERS:
        if data_dir is None:
            return None
        module = importlib.import_module(f"trainables.data.{name}_folders")
        root = module.find(data_dir)
        return None if root is None else of_listing(module.scan(root), FACTS[name].side)
    return None if name in FACTS else of_listing(folders.scan(data_dir), folders.SIDE)


def of_listing(found: folders.FolderListing, side: int) -> Facts:
    """The facts of images that were counted by their files."""
    counts = [0] * len(found.classes)
    for _, label in found.train.files:
        counts[label] += 1
    return Facts(len(found.classes), side, tuple(counts), len(found.test.files))

"""How many images a data set has. Free of torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from trainables.data.folders import FolderListing, file_of


@dataclass(frozen=True)
class ImageCounts:
    """How many classes and images a data set has, and how large they are."""

    num_classes: int
    side: int
    """Of an image, in pixels."""
    train_per_class: tuple[int, ...]
    test_size: int
    evenly: bool = False
    """The training images are a published total, spread evenly over the classes: those of a folder differ."""
    own_order: bool = field(default=False, compare=False)
    """The images of a class come in an order of this copy."""

    @property
    def train_size(self) -> int:
        return sum(self.train_per_class)

    def in_words(self) -> str:
        """The training images for people, and whether their numbers are those of a folder or a published total."""
        doubt = " (the published total, as if all classes were equal: its folder is not here)" if self.evenly else ""
        return counts_in_words(self.train_per_class) + doubt


def counts_in_words(counts: Sequence[int]) -> str:
    """Images of each class for people: `500 a class, 50,000 images`; `500 .. 250 a class, 36,029 images`."""
    most, fewest = max(counts), min(counts)
    a_class = f"{most:,}" if most == fewest else f"{most:,} .. {fewest:,}"
    return f"{a_class} a class, {sum(counts):,} images"


def count_files(listing: FolderListing, side: int) -> ImageCounts:
    """The counts of images that are known by their files."""
    counts = [0] * len(listing.classes)
    for _, label in listing.train.files:
        counts[label] += 1
    first, _ = listing.train.files[0]
    own_order = file_of(first) != first
    return ImageCounts(len(listing.classes), side, tuple(counts), len(listing.test.files), own_order=own_order)

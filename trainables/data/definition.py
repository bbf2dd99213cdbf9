"""What the program knows of a data set before it reads an image. Free of torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.data.folders import FolderListing
from trainables.recipes import Recipe

if TYPE_CHECKING:
    from trainables.data.dataset import Contents
    from trainables.data.file_source import FileContents


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

    @property
    def train_size(self) -> int:
        return sum(self.train_per_class)

    def describe(self) -> str:
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
    return ImageCounts(len(listing.classes), side, tuple(counts), len(listing.test.files))


@dataclass(frozen=True)
class DatasetDefinition:
    """A data set: the `DATASET` of its module in `trainables/datasets/`, whose name is the data set's."""

    title: str
    """As the paper prints it."""
    recipe: Recipe
    read: Callable[..., Contents | FileContents]
    """(data_dir, download=...): all images, or their files; refuses with a UserError what is not whole."""
    obtain: str
    """How a user gets it, for --list."""
    published: ImageCounts | None = None
    """None for images that are a user's own."""
    find: Callable[[Path], Path | None] | None = None
    """Where in the data folder it is; None for a data set that needs no data folder, or fills it."""
    count: Callable[..., ImageCounts] | None = None
    """(place found): counts the files there; None for a data set that is the same everywhere."""
    convert: Callable[[Path | None], None] | None = None
    """Puts the data folder into the form that it should have, once and for all."""
    downloadable: bool = False
    streamed: bool = False
    """Too large for a device: a loader reads the files while they are trained on."""

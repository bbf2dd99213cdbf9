"""What the program knows of a data set before it reads an image. Free of torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.data.counts import ImageCounts
from trainables.recipes import Recipe

if TYPE_CHECKING:
    from trainables.data.dataset import Contents
    from trainables.data.file_source import FileContents


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
    class_names: Callable[[Path], tuple[str, ...]] | None = None
    """(place found, else the data folder): the names of the classes there, in order; none where it has none yet. None
    for a data set whose names are the same everywhere."""
    convert: Callable[[Path | None], None] | None = None
    """Puts the data folder into the form that it should have, once and for all."""
    downloadable: bool = False
    at_side: Callable[[int], DatasetDefinition] | None = None
    """The same images at another size, in pixels; None for images of a fixed size. Its name ends in `_SIZE`."""
    streamed: bool = False
    """Too large for a device: a loader reads the files while they are trained on."""

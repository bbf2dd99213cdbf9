"""A user's own images: train/CLASS/* and val/CLASS/* (or test/, ...), or in parquet files, of any size, made square.

Small ones (LARGEST_IN_MEMORY and below) are all decoded at the start, the shorter side resized, the centre kept. Larger
ones go the way of ImageNet's: they stay in their files, are cropped at random to train, and have ImageNet's recipe.
"""

from __future__ import annotations

import io
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.data.counts import count_files
from trainables.data.definition import DatasetDefinition
from trainables.data.folders import SIDE, FolderListing, class_names, scan
from trainables.errors import UserError
from trainables.recipes import IMAGEFOLDER, IMAGENET

if TYPE_CHECKING:
    import numpy as np

    from trainables.data.dataset import Contents
    from trainables.data.file_source import FileContents

MOST_BYTES = 8 * 2**30
LARGEST_IN_MEMORY = 64
SIDES = range(16, 1025)


def read(data_dir: Path | None, *, download: bool, side: int = SIDE) -> Contents:
    """Both splits as (N, side, side, 3): the shorter side resized to `side`, the centre kept.

    The images are ordered by class and then by path; mean and std are measured on the training images. What cannot be
    decoded is replaced (see `Decoded`).
    """
    from trainables.data.dataset import Contents, channel_statistics
    from trainables.data.decoding import read_splits

    listing = _scan(data_dir, download)
    count = len(listing.train.files) + len(listing.test.files)
    if count * side * side * 3 > MOST_BYTES:
        raise UserError(
            f"{count} images of {side}x{side} need {count * side * side * 3 / 2**30:.1f} GiB of device memory, "
            f"{MOST_BYTES / 2**30:g} GiB is the limit: use fewer images, or --image-size "
            f"{LARGEST_IN_MEMORY + 1} or more, which leaves them in their files"
        )
    found = read_splits(listing, side, lambda path: square(path, side))
    mean, std = channel_statistics(found.train.images)
    ignored = listing.train.ignored + listing.test.ignored
    how = f"the centre at {side}x{side} pixels, normalised by their own mean and deviation"
    source = f"images in {listing.train.folder} and {listing.test.folder.name}/, {how}; {_describe_defaults(side)}"
    source += f"; {ignored} files that are no images were ignored" if ignored else ""
    return Contents(listing.classes, found.train, found.test, mean, std, source, found.train_faults, found.test_faults)


def find_files(data_dir: Path | None, *, download: bool, side: int) -> FileContents:
    """Both splits as files, which are decoded while they are trained on."""
    from trainables.data.file_source import FileContents

    listing = _scan(data_dir, download)
    how = f"read while they are trained on, random crops at {side}x{side} pixels, normalised by ImageNet's mean and"
    source = (
        f"images in {listing.train.folder} and {listing.test.folder.name}/, {how} deviation; {_describe_defaults(side)}"
    )
    return FileContents(listing.train.folder.parent, listing, source, side, own=True)


def _scan(data_dir: Path | None, download: bool) -> FolderListing:
    if download:
        raise UserError("imagefolder is your own images: there is nothing to --download")
    return _list_images(data_dir)


def _list_images(data_dir: Path | None) -> FolderListing:
    from trainables.data import parquet

    return parquet.scan(data_dir) or scan(data_dir)


def _class_names(data_dir: Path) -> tuple[str, ...]:
    """None where there is no folder of training images."""
    from trainables.data import parquet

    tables = parquet.scan(data_dir)
    return tables.classes if tables else class_names(data_dir)


def _unpack(data_dir: Path | None) -> None:
    from trainables.data import parquet

    parquet.unpack(data_dir)


def _describe_defaults(side: int) -> str:
    recipe = "imagenet" if side > LARGEST_IN_MEMORY else "cifar100"
    return f"defaults: --image-size {SIDE}; at this size --recipe {recipe} and its crops (--set augmentation=)"


def square(path: Path, side: int) -> np.ndarray:
    """One image file as (side, side, 3), uint8, antialiased; turned upright if its EXIF data says how.

    A large JPEG is decoded at a half, quarter or eighth of its size, never below twice `side`.
    """
    import numpy as np
    from PIL import Image, ImageOps

    from trainables.data.decoding import in_rgb
    from trainables.data.parquet import read_image

    with Image.open(io.BytesIO(read_image(path))) as image:
        image.draft("RGB", (2 * side, 2 * side))
        upright = in_rgb(ImageOps.exif_transpose(image))
        return np.asarray(ImageOps.fit(upright, (side, side), Image.Resampling.BILINEAR))


def at_side(side: int) -> DatasetDefinition:
    """The same images at another size."""
    if side not in SIDES:
        raise UserError(f"--image-size {side}: own images are made {SIDES[0]} to {SIDES[-1]} pixels wide")
    if side == SIDE:
        return DATASET
    large = side > LARGEST_IN_MEMORY
    return replace(
        DATASET,
        title=f"own images at {side}x{side}",
        recipe=replace(IMAGENET if large else IMAGEFOLDER, name=f"imagefolder_{side}"),
        read=partial(find_files if large else read, side=side),
        count=lambda data_dir: count_files(_list_images(data_dir), side),
        convert=_unpack if large else None,
        streamed=large,
    )


DATASET = DatasetDefinition(
    title="own images",
    recipe=IMAGEFOLDER,
    read=read,
    obtain="your own images: DIR/train/CLASS/* and DIR/val/CLASS/* (or test/), or the hub's parquet files, with "
    "--data-dir DIR, made 32x32 or --image-size N",
    count=lambda data_dir: count_files(_list_images(data_dir), SIDE),
    at_side=at_side,
    class_names=_class_names,
)

"""A user's own images: train/CLASS/* and val/CLASS/* (or test/CLASS/*), of any size, made small and square."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from trainables.data.counts import count_files
from trainables.data.definition import DatasetDefinition
from trainables.data.folders import SIDE, scan
from trainables.errors import UserError
from trainables.recipes import IMAGEFOLDER

if TYPE_CHECKING:
    import numpy as np

    from trainables.data.dataset import Contents

MOST_BYTES = 8 * 2**30


def read(data_dir: Path | None, *, download: bool, side: int = SIDE) -> Contents:
    """Both splits as (N, side, side, 3): the shorter side resized to `side`, the centre kept.

    The images are ordered by class and then by path; mean and std are measured on the training images.
    """
    from trainables.data.dataset import Contents, channel_statistics
    from trainables.data.decoding import read_split

    if download:
        raise UserError("imagefolder is your own images: there is nothing to --download")
    listing = scan(data_dir)
    count = len(listing.train.files) + len(listing.test.files)
    if count * side * side * 3 > MOST_BYTES:
        raise UserError(
            f"{count} images of {side}x{side} need {count * side * side * 3 / 2**30:.1f} GiB of device memory, "
            f"{MOST_BYTES / 2**30:g} GiB is the limit: use fewer images"
        )
    train, test = (read_split(files, side, lambda path: square(path, side)) for files in (listing.train, listing.test))
    mean, std = channel_statistics(train.images)
    ignored = listing.train.ignored + listing.test.ignored
    source = f"images in {listing.train.folder} and {listing.test.folder.name}/, at {side}x{side} pixels"
    return Contents(
        listing.classes,
        train,
        test,
        mean,
        std,
        source + (f"; {ignored} files that are no images were ignored" if ignored else ""),
    )


def square(path: Path, side: int) -> np.ndarray:
    """One image file as (side, side, 3), uint8, antialiased; turned upright if its EXIF data says how.

    A large JPEG is decoded at a half, quarter or eighth of its size, never below twice `side`.
    """
    import numpy as np
    from PIL import Image, ImageOps

    from trainables.data.decoding import UNREADABLE, in_rgb

    try:
        with Image.open(path) as image:
            image.draft("RGB", (2 * side, 2 * side))
            upright = in_rgb(ImageOps.exif_transpose(image))
            return np.asarray(ImageOps.fit(upright, (side, side), Image.Resampling.BILINEAR))
    except UNREADABLE as error:
        raise UserError(f"cannot read the image {path} ({error}): replace or delete it") from error


DATASET = DatasetDefinition(
    title="own images",
    recipe=IMAGEFOLDER,
    read=read,
    obtain="your own images: DIR/train/CLASS/* and DIR/val/CLASS/* (or test/) with --data-dir DIR",
    count=lambda data_dir: count_files(scan(data_dir), SIDE),
)

"""A user's own images: train/CLASS/* and val/CLASS/* (or test/CLASS/*), of any size, made small and square."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from trainables.data.dataset import Contents, Split, channel_statistics
from trainables.data.decoding import UNREADABLE, decoded, in_rgb
from trainables.data.folders import SIDE, Files, scan
from trainables.errors import UserError

MOST_BYTES = 8 * 2**30


def read(data_dir: Path | None, *, download: bool, side: int = SIDE) -> Contents:
    """Both splits as (N, side, side, 3): the shorter side resized to `side`, the centre kept.

    The images are ordered by class and then by path; mean and std are measured on the training images.
    """
    if download:
        raise UserError("imagefolder is your own images: there is nothing to --download")
    listing = scan(data_dir)
    count = len(listing.train.files) + len(listing.test.files)
    if count * side * side * 3 > MOST_BYTES:
        raise UserError(
            f"{count} images of {side}x{side} need {count * side * side * 3 / 2**30:.1f} GiB of device memory, "
            f"{MOST_BYTES / 2**30:g} GiB is the limit: use fewer images"
        )
    train, test = split_of(listing.train, side), split_of(listing.test, side)
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


def split_of(files: Files, side: int) -> Split:
    """The images of one split in the order of `files`."""
    images = decoded([path for path, _ in files.files], side, lambda path: square(path, side))
    labels = torch.tensor([label for _, label in files.files], dtype=torch.int64)
    return Split(torch.from_numpy(images), labels)


def square(path: Path, side: int) -> np.ndarray:
    """One image file as (side, side, 3), uint8, antialiased; turned upright if its EXIF data says how.

    A large JPEG is decoded at a half, quarter or eighth of its size, never below twice `side`.
    """
    try:
        with Image.open(path) as image:
            image.draft("RGB", (2 * side, 2 * side))
            upright = in_rgb(ImageOps.exif_transpose(image))
            return np.asarray(ImageOps.fit(upright, (side, side), Image.Resampling.BILINEAR))
    except UNREADABLE as error:
        raise UserError(f"cannot read the image {path} ({error}): replace or delete it") from error

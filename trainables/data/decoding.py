"""Decoding image files with Pillow.

Pillow, not torchvision.io: the latter ends the whole process on some damaged PNG files, the former raises.
"""

from __future__ import annotations

import errno
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image

from trainables.cores import cores_here
from trainables.data.dataset import Faults, Split
from trainables.data.folders import Files, FolderListing, file_of
from trainables.errors import UserError
from trainables.storage.runs import check_regular

Item = TypeVar("Item")
Result = TypeVar("Result")

UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What Pillow raises for damaged files, by format and by where the damage is."""

MOST_THREADS = 8
BLOCK = 200
FILE = re.compile(r" (<_io\.BytesIO object at \w+>|'.*')$", re.DOTALL)
"""How Pillow names what it cannot identify."""
DEEP_MODES = ("I;16", "I;16B", "I;16L", "I;16N")


def in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`function` of each item, in order, on all cores; the first exception ends it."""
    with ThreadPoolExecutor(min(MOST_THREADS, cores_here())) as pool:
        yield from pool.map(function, items)


@dataclass(frozen=True)
class Decoded:
    """Both splits of image folders, in the order of their files. A training image that cannot be decoded has the pixels
    of the next of its class; a test image is black."""

    train: Split
    test: Split
    train_faults: Faults
    test_faults: Faults


def read_splits(listing: FolderListing, side: int, read: Callable[[Path], np.ndarray]) -> Decoded:
    """The images of both splits, each as `read` makes it of its path: (side, side, 3), uint8."""
    train, bad = _read(listing.train, side, read)
    for index in bad:
        train.images[index] = train.images[_next_whole(listing.train, train.labels, bad, index)]
    test, missing = _read(listing.test, side, read)
    for index in missing:
        _next_whole(listing.test, test.labels, missing, index)
    return Decoded(train, test, _name_faults(listing.train, bad), _name_faults(listing.test, missing))


def _name_faults(files: Files, faults: Mapping[int, str]) -> Faults:
    return {index: (str(files.files[index][0]), why) for index, why in faults.items()}


def _next_whole(files: Files, labels: torch.Tensor, bad: Mapping[int, str], index: int) -> int:
    """The next image of an image's class, round, that could be decoded; refuses a class without any."""
    own = (labels == labels[index]).nonzero().flatten().tolist()
    whole = [place for place in own if place not in bad]
    if not whole:
        folder = files.files[index][0].parent
        raise UserError(f"none of the images in {folder} can be decoded ({bad[index]}): replace them")
    return min(whole, key=lambda place: (place < index, place))


def _read(files: Files, side: int, read: Callable[[Path], np.ndarray]) -> tuple[Split, dict[int, str]]:
    """One split, in which what cannot be decoded is black, and by position why."""
    images = np.zeros((len(files.files), side, side, 3), np.uint8)

    def read_block(start: int) -> dict[int, str]:
        faults = {}
        for index in range(start, min(start + BLOCK, len(images))):
            path = files.files[index][0]
            try:
                check_regular(file_of(path))
                images[index] = read(path)
            except UNREADABLE as error:
                faults[index] = why_unreadable(error)
                if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
                    # The disk or the rights, not the image: with another image in its place the run would be another.
                    raise UserError(f"cannot read {path}: {faults[index]}; give the same command again") from error
        return faults

    faults: dict[int, str] = {}
    for found in in_threads(read_block, range(0, len(images), BLOCK)):
        faults |= found
    labels = torch.tensor([label for _, label in files.files], dtype=torch.int64)
    return Split(torch.from_numpy(images), labels), faults


def why_unreadable(error: BaseException) -> str:
    """An exception in one line, without the path."""
    words = error.strerror if isinstance(error, OSError) and error.strerror else FILE.sub("", str(error))
    return " ".join(words.split()) or type(error).__name__


def in_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB; transparency is dropped and 16-bit grey is scaled, which Pillow alone would clip to white."""
    if image.mode in DEEP_MODES:
        return Image.fromarray((np.asarray(image) // 257).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError(f"pixels of mode {image.mode} have no fixed range: convert it to 8 bits")
    if "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")

"""Decoding image files with Pillow.

Pillow, not torchvision.io: the latter ends the whole process on some damaged PNG files, the former raises.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image

from trainables.data.dataset import Split
from trainables.data.folders import Files

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
DEEP_MODES = ("I;16", "I;16B", "I;16L", "I;16N")


def in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`function` of each item, in order, on all cores; the first exception ends it."""
    with ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1)) as pool:
        yield from pool.map(function, items)


def read_split(files: Files, side: int, read: Callable[[Path], np.ndarray]) -> Split:
    """The images of one split in the order of `files`, each as `read` makes it of its path: (side, side, 3), uint8."""
    images = np.empty((len(files.files), side, side, 3), np.uint8)

    def read_block(start: int) -> None:
        for index in range(start, min(start + BLOCK, len(images))):
            images[index] = read(files.files[index][0])

    for _ in in_threads(read_block, range(0, len(images), BLOCK)):
        pass
    return Split(torch.from_numpy(images), torch.tensor([label for _, label in files.files], dtype=torch.int64))


def in_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB; transparency is dropped and 16-bit grey is scaled, which Pillow alone would clip to white."""
    if image.mode in DEEP_MODES:
        return Image.fromarray((np.asarray(image) // 257).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError(f"pixels of mode {image.mode} have no fixed range: convert it to 8 bits")
    if "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")

"""Images of a split that stays in its files, decoded a part at a time, here or in the processes of a loader.

Pillow decodes. The centre of an image is resized by Pillow too, and so has the pixels of torchvision's ImageFolder, bit
by bit. A random crop is resized by torch's kernel for uint8, which is several times faster: within two levels of
Pillow's pixels, and the same with whatever vector instructions.
"""

from __future__ import annotations

import io
import math
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from PIL.ExifTags import Base
from torch import Tensor
from torch.nn.functional import interpolate

from trainables.data.decoding import UNREADABLE, in_rgb, why_unreadable
from trainables.data.folders import Files, file_of
from trainables.data.parquet import read_image
from trainables.data.random_streams import Purpose, generator
from trainables.errors import UserError
from trainables.storage.runs import check_regular

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "PPM", "TIFF")
SCALE, RATIO, ATTEMPTS = (0.08, 1.0), (3 / 4, 4 / 3), 10
DRAFT = 2
AGAIN = "look at its disk, then give the same command again"
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class ImageFiles:
    """The files of one split, sorted by class, in tensors that processes share. text: the paths one after the other;
    ends: (N + 1,) where they begin and end; labels: (N,); starts: (C + 1,) where each class begins and ends."""

    text: Tensor
    ends: Tensor
    labels: Tensor
    starts: Tensor

    @classmethod
    def of(cls, files: Files, num_classes: int) -> ImageFiles:
        names = [os.fsencode(path) for path, _ in files.files]
        labels = torch.tensor([label for _, label in files.files])
        counts = torch.bincount(labels, minlength=num_classes).tolist()
        return cls(
            torch.frombuffer(bytearray(b"".join(names)), dtype=torch.uint8),
            torch.tensor([0, *accumulate(map(len, names))]),
            labels,
            torch.tensor([0, *accumulate(counts)]),
        )

    def __len__(self) -> int:
        return len(self.labels)

    def path(self, index: int) -> str:
        start, end = self.ends[index : index + 2].tolist()
        return os.fsdecode(self.text[start:end].numpy().tobytes())

    def from_here(self, index: int) -> Iterator[int]:
        """All images of an image's class, from itself on and round."""
        start, end = self.starts[self.labels[index] :][:2].tolist()
        yield from range(index, end)
        yield from range(start, index)


class DecodeRequest(NamedTuple):
    """Which images of a split to decode; `draw`: (seed, epoch) of their random crops, None for the centre."""

    split: str
    indices: tuple[int, ...]
    draw: tuple[int, int] | None


class DecodedImages(NamedTuple):
    """pixels: uint8 (n, side, side, 3), yet to be flipped where flips (n,) says so; unreadable: (position in the split,
    why); fault: why nothing more can be done, for people."""

    pixels: Tensor
    flips: Tensor
    unreadable: tuple[tuple[int, str], ...]
    fault: str


@dataclass(frozen=True)
class Decoder:
    """Decodes what it is asked for: the same pixels in whatever process and order.

    A training image that cannot be read is replaced by the next of its class that can; a test image is left black.
    Where no file of its class can be opened, the trouble is larger than an image, and nothing more can be done.
    """

    train: ImageFiles
    test: ImageFiles
    side: int
    upright: bool = False
    """Images are turned as their EXIF data says."""

    def __getitem__(self, request: DecodeRequest) -> DecodedImages:
        count = len(request.indices)
        pixels = torch.zeros(count, self.side, self.side, 3, dtype=torch.uint8)
        flips = torch.zeros(count, dtype=torch.bool)
        unreadable: dict[int, str] = {}
        fault = ""
        for row, index in enumerate(request.indices):
            draw = generator(request.draw[0], Purpose.CROP_AND_FLIP, request.draw[1], index) if request.draw else None
            flips[row] = draw is not None and draw.random() < 0.5
            try:
                image = self._image(request.split, index, draw, unreadable)
            except UserError as error:
                fault = str(error)
                break
            if image is not None:
                pixels.numpy()[row] = image
            elif request.split == "train":
                fault = f"none of the images in {os.path.dirname(self.train.path(index))} can be decoded: replace them"
                break
        return DecodedImages(pixels, flips, tuple(unreadable.items()), fault)

    def _image(
        self, split: str, index: int, draw: np.random.Generator | None, unreadable: dict[int, str]
    ) -> np.ndarray | None:
        files = self.train if split == "train" else self.test
        for candidate in files.from_here(index) if split == "train" else (index,):
            if candidate in unreadable:
                continue
            try:
                content = read_image(Path(files.path(candidate)))
            except OSError as error:
                check_class(files, candidate, error)
                unreadable[candidate] = why_unreadable(error)
                continue
            try:
                return decoded(content, self.side, draw, upright=self.upright)
            except UNREADABLE as error:
                unreadable[candidate] = why_unreadable(error)
        return None


def check_class(files: ImageFiles, index: int, error: OSError) -> None:
    """Refuse to go on after the error of one file if its folder or all files of its class have trouble too."""
    folder = os.path.dirname(file_of(Path(files.path(index))))
    try:
        with os.scandir(folder):
            pass
    except OSError as larger:
        raise UserError(f"cannot list {folder} any more ({why_unreadable(larger)}): {AGAIN}") from larger
    if not any(_can_open(files.path(other)) for other in files.from_here(index)):
        raise UserError(f"none of the images in {folder} can be read ({why_unreadable(error)}): {AGAIN}") from error


def _can_open(path: str) -> bool:
    try:
        path = str(file_of(Path(path)))
        check_regular(Path(path))
        with open(path, "rb") as file:
            file.read(1)
    except OSError:
        return False
    return True


def decoded(content: bytes, side: int, draw: np.random.Generator | None, *, upright: bool = False) -> np.ndarray:
    """One image as (side, side, 3), uint8: a random crop, or the centre if there is nothing to draw from.

    upright: turned as its EXIF data says.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(content), formats=FORMATS) as opened:
            turned = upright and opened.getexif().get(Base.Orientation, 1) != 1
            image = ImageOps.exif_transpose(opened) if turned else opened
            if draw is None:
                return np.asarray(centre(image, side))
            return crop(image, side, random_box(image.size, draw))


def centre(image: Image.Image, side: int) -> Image.Image:
    """The shorter side resized to 256/224 of `side`, the centre kept: torchvision's Resize and CenterCrop."""
    shorter = side * 256 // 224
    width, height = (shorter * length // min(image.size) for length in image.size)
    left, top = round((width - side) / 2), round((height - side) / 2)
    return in_rgb(image).resize((width, height), Image.Resampling.BILINEAR).crop((left, top, left + side, top + side))


def random_box(size: tuple[int, int], draw: np.random.Generator) -> Box:
    """Left, upper, right and lower edge, drawn as torchvision's RandomResizedCrop draws them."""
    width, height = size
    for _ in range(ATTEMPTS):
        area = width * height * draw.uniform(*SCALE)
        ratio = math.exp(draw.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(draw.integers(0, width - w + 1)), int(draw.integers(0, height - h + 1))
            return left, top, left + w, top + h
    ratio = min(max(width / height, RATIO[0]), RATIO[1])
    w, h = min(width, round(height * ratio)), min(height, round(width / ratio))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def crop(image: Image.Image, side: int, box: Box) -> np.ndarray:
    """A box of an image, resized. A JPEG whose box is large is decoded at a half, quarter or eighth of
    its size, the box never below twice `side`; its edges are fractions then, and Pillow resizes it."""
    width, height = image.size
    factor = min(box[2] - box[0], box[3] - box[1]) // (DRAFT * side)
    if factor > 1:
        image.draft("RGB", (width // factor, height // factor))
    if image.size == (width, height):
        cropped = image.crop(box)
        return resized(np.array(cropped if cropped.mode == "RGB" else in_rgb(cropped)), side)
    across, down = image.size[0] / width, image.size[1] / height
    smaller = (box[0] * across, box[1] * down, box[2] * across, box[3] * down)
    return np.asarray(in_rgb(image).resize((side, side), Image.Resampling.BILINEAR, box=smaller))


def resized(pixels: np.ndarray, side: int) -> np.ndarray:
    """uint8 (H, W, 3) -> (side, side, 3), bilinear and antialiased."""
    batch = torch.from_numpy(pixels)[None].permute(0, 3, 1, 2)
    return interpolate(batch, (side, side), mode="bilinear", antialias=True).permute(0, 2, 3, 1)[0].numpy()

"""A made-up FileSource: class folders of real JPEG files, of all the kinds that ImageNet has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trainables.data.file_source import FileSource
from trainables.datasets import imagenet
from trainables.errors import UserError

CLASSES = ("n01440764", "n01443537", "n01484850")
SIDE = 32
SIZES = {"train": (13, 9, 11), "val": (5, 4, 3)}


def picture(draw: np.random.Generator, width: int, height: int) -> Image.Image:
    """Smooth colours, so that JPEG and resizing change little."""
    coarse = draw.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def make(root: Path) -> Path:
    """train/ and val/ of three classes, 120x90 to 300x200 pixels; among them a grey, a CMYK and a PNG file."""
    draw = np.random.default_rng(3)
    for split, counts in SIZES.items():
        for name, count in zip(CLASSES, counts, strict=True):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                width, height = int(draw.integers(120, 301)), int(draw.integers(90, 201))
                image = picture(draw, width, height)
                path = root / split / name / f"{name}_{number:02d}.JPEG"
                match number:
                    case 1:
                        image.convert("L").save(path, "JPEG")
                    case 2:
                        image.convert("CMYK").save(path, "JPEG")
                    case 3 if split == "train":
                        image.save(path, "PNG")
                    case _:
                        image.save(path, "JPEG", quality=90)
    return root


def open_source(
    data_dir: Path | None, *, download: bool = False, side: int = 224, workers: int | None = None, **shares: float
) -> FileSource:
    files = imagenet.read(data_dir, download=download, side=side, workers=workers)
    return files.assemble("imagenet", **shares)


def opened(root: Path, **options: object) -> FileSource:
    return open_source(root, **{"side": SIDE, "workers": 0} | options)  # type: ignore[arg-type]


def epoch(source: FileSource, number: int = 1) -> dict[int, torch.Tensor]:
    """The pixels of every training image."""
    stream = source.stream(seed=1, batch_size=11, augmentation="random_resized_crop_flip")
    return {
        int(index): pixels
        for chunk in stream.epoch(number)
        for index, pixels in zip(chunk.index, chunk.pixels, strict=True)
    }


def refused(data_dir: Path | None, **options: object) -> str:
    with pytest.raises(UserError) as error:
        open_source(data_dir, **options)  # type: ignore[arg-type]
    text = str(error.value)
    assert "\n" not in text
    return text


def jpeg(root: Path, split: str, label: int, number: int) -> Path:
    name = CLASSES[label]
    return root / split / name / f"{name}_{number:02d}.JPEG"

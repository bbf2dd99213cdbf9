"""A made-up ImageNet: class folders of real JPEG files, of all the kinds that ImageNet has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("n01440764", "n01443537", "n01484850")
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

"""Images per second of ImageNet's input: Pillow, torchvision's decoder, and the loader with 0, 1 and 2 workers.

    python benchmarks/imagenet_input.py [--turns 5] [--json]

On 500x375 JPEGs of 1/f noise (about 100 KB each, as ImageNet's average image), cropped at random to 224x224. All sides
take turns, and each ratio is against the Pillow turn beside it. What the training's device does (flips, normalisation)
is not in it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from PIL import Image

from trainables.data.image_files import Decoder, Request, decoded, random_box
from trainables.data.imagenet import open_source
from trainables.data.loader import Loader, in_parts
from trainables.data.stream import generator
from trainables.errors import UserError, exit_status
from trainables.provenance import processor

WIDTH, HEIGHT, SIDE = 500, 375, 224


def noise(draw: np.random.Generator) -> Image.Image:
    """A picture with the spectrum of photographs."""
    spectrum = np.fft.rfft2(draw.standard_normal((HEIGHT, WIDTH, 3)), axes=(0, 1))
    distance = np.hypot(np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH)[None])
    distance[0, 0] = 1
    pixels = np.fft.irfft2(spectrum / distance[..., None], s=(HEIGHT, WIDTH), axes=(0, 1))
    return Image.fromarray(np.clip(128 + 55 * (pixels - pixels.mean()) / pixels.std(), 0, 255).astype(np.uint8))


def make(root: Path, count: int) -> list[Path]:
    """Class folders of `count` training images, each picture saved under several names."""
    draw = np.random.default_rng(0)
    pictures = [noise(draw) for _ in range(20)]
    files = []
    for split, images in (("train", count), ("val", 4)):
        for number in range(images):
            place = root / split / f"class{number % 2}"
            place.mkdir(parents=True, exist_ok=True)
            pictures[number % len(pictures)].save(place / f"{number:05d}.JPEG", quality=85)
            files += [place / f"{number:05d}.JPEG"] if split == "train" else []
    return files


def with_pillow(files: list[Path]) -> None:
    for number, path in enumerate(files):
        decoded(path.read_bytes(), SIDE, generator(1, "crop and flip", 1, number))


def with_torchvision(files: list[Path]) -> None:
    from torchvision.io import ImageReadMode, decode_jpeg
    from torchvision.transforms.v2.functional import resized_crop

    for number, path in enumerate(files):
        content = torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)
        image = decode_jpeg(content, mode=ImageReadMode.RGB)
        left, top, right, bottom = random_box((WIDTH, HEIGHT), generator(1, "crop and flip", 1, number))
        resized_crop(image, top, left, bottom - top, right - left, [SIDE, SIDE], antialias=True)


def with_loader(loader: Loader, count: int) -> None:
    for _ in loader.parts(Request("train", part, (1, 1)) for part in in_parts(tuple(range(count)))):
        pass


def main() -> int:
    parser = argparse.ArgumentParser(description="Images per second of ImageNet's input.")
    parser.add_argument("--turns", type=int, default=5, help="timed turns of each side (default 5)")
    parser.add_argument("--images", type=int, default=512, help="images a turn (default 512)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")
    options = parser.parse_args()
    if options.turns < 1 or options.images < 128:
        raise UserError("--turns must be at least 1 and --images at least 128")
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    with tempfile.TemporaryDirectory() as folder:
        files = make(Path(folder), options.images)
        sides: dict[str, Callable[[], None]] = {
            "Pillow": partial(with_pillow, files),
            "torchvision decode_jpeg": partial(with_torchvision, files),
        }
        source = open_source(Path(folder))
        for workers in (0, 1, 2):
            loader = Loader(Decoder(source.train, source.test, SIDE), workers, pinned=False)
            sides[f"loader, {workers} workers"] = partial(with_loader, loader, options.images)
        rates: dict[str, list[float]] = {name: [] for name in sides}
        for turn in range(options.turns + 1):
            for name, side in sides.items():
                began = time.perf_counter()
                side()
                if turn:
                    rates[name].append(options.images / (time.perf_counter() - began))
    ratios = {name: [r / p for r, p in zip(each, rates["Pillow"], strict=True)] for name, each in rates.items()}
    report = {
        "device": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "turns": options.turns,
        "images": options.images,
        "images_per_second": {name: [statistics.median(r), min(r), max(r)] for name, r in rates.items()},
        "ratio": {name: [statistics.median(r), min(r), max(r)] for name, r in ratios.items()},
    }
    if options.json:
        print(json.dumps(report))
        return 0
    print(f"{WIDTH}x{HEIGHT} to {SIDE}x{SIDE}, {report['device']}, {report['cores']} cores, load {report['load']:.1f}")
    for name in sides:
        rate, low, high = (statistics.median(rates[name]), min(rates[name]), max(rates[name]))
        times = ratios[name]
        print(
            f"{name:24} {rate:6.0f} images/s ({low:.0f} to {high:.0f})   "
            f"{statistics.median(times):.2f}x ({min(times):.2f} to {max(times):.2f}, n = {options.turns})"
        )
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(main, debug=False))

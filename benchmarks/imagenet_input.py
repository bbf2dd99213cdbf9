"""Images a second of ImageNet's input: what this project does, beside Pillow alone and other decoders.

    python benchmarks/imagenet_input.py [--turns 5] [--images 512] [--json]

On 500x375 JPEGs of 1/f noise (about 100 KB each, as ImageNet's average image), cropped at random to 224x224; every side
reads the same files and makes the same crops. `Pillow`: decoded and resized by it, on one core. `here`: as the product
does it, on one core, and in threads on all. `loader`: the product's, with so many processes. `torchcodec`: its decoder,
resized as here. `DALI`: on all cores. On a GPU: `torchcodec CUDA` (nvJPEG, a batch at a time) and `DALI mixed`; their
crops are on the device already. What the training's device does (flips, normalisation) is not in it.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from PIL import Image

from benchmarks.decoders import SIDE, SIZE, make_sides
from benchmarks.measure import compare, device_name, make_parser, show, take_turns
from sweeps.request.arguments import whole
from trainables.commands import run_command
from trainables.cores import cores_here
from trainables.datasets import imagenet


def make_noise(draw: np.random.Generator) -> Image.Image:
    """A picture with the spectrum of photographs."""
    width, height = SIZE
    spectrum = np.fft.rfft2(draw.standard_normal((height, width, 3)), axes=(0, 1))
    distance = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    distance[0, 0] = 1
    pixels = np.fft.irfft2(spectrum / distance[..., None], s=(height, width), axes=(0, 1))
    return Image.fromarray(np.clip(128 + 55 * (pixels - pixels.mean()) / pixels.std(), 0, 255).astype(np.uint8))


def make(root: Path, count: int) -> None:
    """Class folders of `count` training images, each picture saved under several names."""
    draw = np.random.default_rng(0)
    pictures = [make_noise(draw) for _ in range(min(20, count))]
    for split, images in (("train", count), ("val", 4)):
        for number in range(images):
            place = root / split / f"class{number % 2}"
            place.mkdir(parents=True, exist_ok=True)
            pictures[number % len(pictures)].save(place / f"{number:05d}.JPEG", quality=85)


def main(argv: Sequence[str]) -> int:
    parser = make_parser("Images per second of ImageNet's input.", turns=5)
    parser.add_argument("--images", type=whole(64), default=512, help="images a turn (default 512)")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), options.images)
        sides, left_out = make_sides(imagenet.read(Path(folder), download=False).assemble("imagenet"))
        turns = {name: side.turn for name, side in sides.items()}
        take_turns(turns, 1, device)
        rates = take_turns(turns, options.turns, device)
    times = compare(rates, "Pillow")
    a_core = {name: rates[name].median / side.cores for name, side in sides.items()}
    about = {"device": device_name(device), "cores": cores_here(), "load": os.getloadavg()[0], "images": options.images}
    lines = [
        f"{SIZE[0]}x{SIZE[1]} to {SIDE}x{SIDE}, {about['device']}, {about['cores']} cores, load {about['load']:.1f}",
        "images/s; images/s a core; ratio to Pillow in the same turn",
        *(f"{name:20}{rate:.0f}; {a_core[name]:.0f}; {times.get(name, 1):.2f}" for name, rate in rates.items()),
        *(f"{name:20}left out: {why}" for name, why in left_out.items()),
    ]
    found = {"rates": rates, "ratios": times, "a_core": a_core, "left_out": left_out}
    return show(options, about | found, lines)


if __name__ == "__main__":
    sys.exit(run_command(main))

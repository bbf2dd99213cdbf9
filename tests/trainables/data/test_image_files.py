"""Random crops beside Pillow's: nearly the same pixels, of any box, size and kind of file, and the same everywhere."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import imagenet_like
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from trainables.data.decoding import in_rgb
from trainables.data.image_files import Box, crop, decoded, random_box

MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "I;16")
LEVELS = 2
"""Both round twice, between width and height and at the end, with weights of 22 bits (Pillow) and 16 (torch)."""

ELSEWHERE = """
import hashlib, numpy, torch
from trainables.data.image_files import resized
draw, digest = numpy.random.default_rng(0), hashlib.sha256()
for _ in range(200):
    height, width, side = draw.integers(1, 300, 3)
    digest.update(resized(draw.integers(0, 256, (height, width, 3), dtype=numpy.uint8), int(side)).tobytes())
print(torch.backends.cpu.get_cpu_capability(), digest.hexdigest())
"""


@st.composite
def pictures(draw: st.DrawFn) -> Image.Image:
    """Noise, of levels between or at the ends."""
    size = draw(st.tuples(st.integers(1, 400), st.integers(1, 400)))
    noise = np.random.default_rng(draw(st.integers(0, 2**32))).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(255 * (noise >> 7) if draw(st.booleans()) else noise)


@st.composite
def boxes(draw: st.DrawFn, size: tuple[int, int]) -> Box:
    left, top = (draw(st.integers(0, length - 1)) for length in size)
    return left, top, draw(st.integers(left + 1, size[0])), draw(st.integers(top + 1, size[1]))


def pillows(image: Image.Image, side: int, box: Box) -> np.ndarray:
    return np.asarray(in_rgb(image).crop(box).resize((side, side), Image.Resampling.BILINEAR))


def apart(one: np.ndarray, two: np.ndarray) -> int:
    assert one.shape == two.shape
    assert one.dtype == two.dtype == np.uint8
    return int(np.abs(one.astype(int) - two).max())


@given(pictures(), st.integers(1, 256), st.data())
def test_crops_are_pillows(image: Image.Image, side: int, data: st.DataObject) -> None:
    box = data.draw(boxes(image.size))
    found = crop(image, side, box)
    assert apart(found, pillows(image, side, box)) <= LEVELS
    assert (found == crop(image, side, box)).all()
    assert found.flags.c_contiguous


@given(st.integers(1, 40), st.integers(1000, 9000), st.booleans())
def test_narrow_crops_are_pillows(short: int, long: int, upright: bool) -> None:
    size = (short, long) if upright else (long, short)
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    assert apart(crop(image, 224, (0, 0, *size)), pillows(image, 224, (0, 0, *size))) <= LEVELS


@given(st.tuples(*[st.integers(0, 255)] * 3), st.integers(1, 300), st.integers(1, 300), st.integers(1, 256))
def test_one_colour_stays_as_it_is(colour: tuple[int, int, int], width: int, height: int, side: int) -> None:
    assert (crop(Image.new("RGB", (width, height), colour), side, (0, 0, width, height)) == colour).all()


@pytest.mark.parametrize("mode", MODES)
def test_every_kind_of_image(mode: str) -> None:
    """Cropped before it becomes RGB, which is done pixel by pixel."""
    picture = imagenet_like.picture(np.random.default_rng(2), 90, 70)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    else:
        image = picture.convert("P").convert(mode) if mode == "PA" else converted(picture, mode)
    if mode in ("P", "RGB"):
        image.info["transparency"] = bytes(range(256)) if mode == "P" else image.getpixel((20, 10))
    for box in ((0, 0, 90, 70), (11, 5, 60, 66), (89, 69, 90, 70)):
        assert apart(crop(image, 32, box), pillows(image, 32, box)) <= LEVELS


def converted(picture: Image.Image, mode: str) -> Image.Image:
    return picture.convert(mode) if mode != "LAB" else Image.frombytes("LAB", picture.size, picture.tobytes())


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "PPM", "TIFF"])
@given(seed=st.integers(0, 2**32))
def test_files_are_cropped_at_random(kind: str, seed: int) -> None:
    file = io.BytesIO()
    imagenet_like.picture(np.random.default_rng(4), 120, 80).save(file, kind)
    with Image.open(file) as image:
        expected = pillows(image, 48, random_box(image.size, np.random.default_rng(seed)))
    assert apart(decoded(file.getvalue(), 48, np.random.default_rng(seed)), expected) <= LEVELS


@given(st.integers(0, 40), st.integers(0, 40))
def test_large_jpegs_are_pillows_alone(left: int, top: int) -> None:
    """Decoded at a quarter: its own pixels, of a box whose edges are fractions."""
    file = io.BytesIO()
    imagenet_like.picture(np.random.default_rng(5), 403, 301).save(file, "JPEG")
    box = (left, top, left + 323, top + 257)
    with Image.open(file) as image:
        found = crop(image, 32, box)
        assert image.size == (101, 76)
    with Image.open(file) as image:
        image.draft("RGB", (100, 75))
        across, down = image.size[0] / 403, image.size[1] / 301
        smaller = (box[0] * across, box[1] * down, box[2] * across, box[3] * down)
        expected = np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR, box=smaller))
    assert (found == expected).all()


@pytest.mark.slow
def test_the_same_on_every_processor() -> None:
    """As far as one processor can show it: with its own instructions, older ones, and none of them."""
    found = {}
    for capability in ("", "avx2", "default"):
        environment = {**os.environ, **({"ATEN_CPU_CAPABILITY": capability} if capability else {})}
        done = subprocess.run(
            [sys.executable, "-c", ELSEWHERE], capture_output=True, text=True, check=True, env=environment
        )
        name, found[capability] = done.stdout.split()
        assert name == "DEFAULT" or capability != "default"
    assert len(set(found.values())) == 1

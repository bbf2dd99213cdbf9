"""The strong view: each operation against Pillow, what is drawn for whom, the cutout, any side."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from torch import Tensor

from trainables.data.strong import FILL, NAMES, OPERATIONS, cutout, strong

Pillow = Callable[[Image.Image, float], Image.Image]


def affine(*matrix: float) -> Callable[[Image.Image], Image.Image]:
    return lambda image: image.transform(image.size, Image.Transform.AFFINE, matrix)


PILLOW: dict[str, Pillow] = {
    "autocontrast": lambda image, _: ImageOps.autocontrast(image),
    "brightness": lambda image, v: ImageEnhance.Brightness(image).enhance(v),
    "colour": lambda image, v: ImageEnhance.Color(image).enhance(v),
    "contrast": lambda image, v: ImageEnhance.Contrast(image).enhance(v),
    "equalize": lambda image, _: ImageOps.equalize(image),
    "identity": lambda image, _: image,
    "posterize": lambda image, v: ImageOps.posterize(image, int(v)),
    "rotate": lambda image, v: image.rotate(v),
    "sharpness": lambda image, v: ImageEnhance.Sharpness(image).enhance(v),
    "shear_x": lambda image, v: affine(1, v, 0, 0, 1, 0)(image),
    "shear_y": lambda image, v: affine(1, 0, 0, v, 1, 0)(image),
    "solarize": lambda image, v: ImageOps.solarize(image, v),
    "translate_x": lambda image, v: affine(1, 0, v * image.size[0], 0, 1, 0)(image),
    "translate_y": lambda image, v: affine(1, 0, 0, 0, 1, v * image.size[1])(image),
}


def images(seed: int, count: int, high: int, wide: int) -> Tensor:
    """Noise, smooth gradients, one colour, two colours: in turns."""
    draw = np.random.default_rng(seed)
    made = draw.integers(0, 256, (count, high, wide, 3))
    slopes = draw.integers(-4, 5, (count, 2, 3))
    smooth = 128 + slopes[:, :1, None] * np.arange(high)[:, None, None] + slopes[:, 1:, None] * np.arange(wide)[:, None]
    made[1::4] = smooth[1::4]
    made[2::4] = made[2::4, :1, :1]
    made[3::4] = np.where(made[3::4, ..., :1] < 60, made[3::4, :1, :1], 255 - made[3::4, 1:2, 1:2])
    return torch.from_numpy(made.clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("high", "wide"), [(32, 32), (16, 16), (33, 47), (64, 64)])
def test_operations_are_pillows(name: str, high: int, wide: int) -> None:
    low, top, operation = OPERATIONS[name]
    count = 40
    pixels = images(high, count, high, wide)
    magnitudes = low + (top - low) * np.append(np.random.default_rng(1).random(count - 2), [0.0, 1.0])
    found = operation(pixels, torch.from_numpy(magnitudes))
    assert found.dtype == torch.uint8
    for image, magnitude, result in zip(pixels, magnitudes.tolist(), found, strict=True):
        expected = np.asarray(PILLOW[name](Image.fromarray(image.numpy()), magnitude))
        np.testing.assert_array_equal(result.numpy(), expected, err_msg=f"{name} {magnitude}")


def test_every_operation_is_tested() -> None:
    assert set(PILLOW) == set(OPERATIONS)


def pillows_cutout(image: Image.Image, share: float, y: float, x: float) -> np.ndarray:
    """As the released data set draws it: corners as fractions, rounded and included by Pillow."""
    width, height = image.size
    size = share * width
    drawn = image.copy()
    if size > 0:
        left, top = int(max(0, x * width - size / 2)), int(max(0, y * height - size / 2))
        ImageDraw.Draw(drawn).rectangle((left, top, min(width, left + size), min(height, top + size)), FILL)
    return np.asarray(drawn)


@pytest.mark.parametrize("side", [16, 32, 64])
def test_two_operations_and_a_cutout(side: int) -> None:
    """Against the same seven numbers an image, used one image at a time."""
    count = 60
    pixels = images(7, count, side, side)
    before = pixels.clone()
    found = strong(pixels, np.random.default_rng(3))
    assert torch.equal(pixels, before)
    assert found.shape == pixels.shape
    assert found.dtype == torch.uint8
    numbers = np.random.default_rng(3).random((count, 7))
    for original, (first, second, u, v, size, y, x), result in zip(pixels, numbers, found, strict=True):
        image = Image.fromarray(original.numpy())
        for choice, magnitude in ((first, u), (second, v)):
            name = NAMES[int(choice * 14)]
            low, high, _ = OPERATIONS[name]
            image = PILLOW[name](image, low + (high - low) * magnitude)
        np.testing.assert_array_equal(result.numpy(), pillows_cutout(image, size / 2, y, x))


@given(st.integers(0, 10_000), st.integers(1, 30), st.integers(1, 30))
def test_images_that_follow_change_nothing(seed: int, count: int, more: int) -> None:
    pixels = images(seed, count + more, 16, 16)
    alone = strong(pixels[:count], np.random.default_rng(seed))
    assert torch.equal(strong(pixels, np.random.default_rng(seed))[:count], alone)


def test_equal_draws_equal_images() -> None:
    pixels = images(0, 50, 32, 32)
    one, same, other = (strong(pixels, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_no_images() -> None:
    assert strong(torch.empty(0, 32, 32, 3, dtype=torch.uint8), np.random.default_rng(0)).shape == (0, 32, 32, 3)


@given(st.floats(0, 0.5), st.floats(0, 1), st.floats(0, 1))
def test_cutout_is_pillows(share: float, y: float, x: float) -> None:
    images = torch.zeros(1, 33, 32, 3, dtype=torch.uint8)
    found = cutout(images, torch.tensor([share], dtype=torch.float64), torch.tensor([[y, x]], dtype=torch.float64))[0]
    np.testing.assert_array_equal(found.numpy(), pillows_cutout(Image.fromarray(images[0].numpy()), share, y, x))


@pytest.mark.parametrize(
    ("share", "x", "columns"),
    [
        (0.0, 0.5, range(0)),
        (0.5, 0.0, range(17)),
        (0.5, 0.5, range(8, 25)),
        (0.5, 1.0, range(24, 32)),
        (0.2, 0.1, range(7)),
        (0.01, 0.5, range(15, 16)),
    ],
)
def test_a_cutout_begins_inside_and_has_its_full_length_from_there(share: float, x: float, columns: range) -> None:
    images = torch.zeros(1, 32, 32, 3, dtype=torch.uint8)
    found = cutout(images, torch.tensor([share], dtype=torch.float64), torch.tensor([[0.5, x]], dtype=torch.float64))[0]
    inside = (found == torch.tensor(FILL)).all(dim=2)
    assert inside.any(dim=0).nonzero().flatten().tolist() == list(columns)


@pytest.mark.gpu
@pytest.mark.parametrize("side", [16, 32, 64, 224])
def test_same_pixels_on_a_gpu(side: int) -> None:
    pixels = images(11, 200, side, side)
    found = strong(pixels.cuda(), np.random.default_rng(2))
    assert torch.equal(found.cpu(), strong(pixels, np.random.default_rng(2)))

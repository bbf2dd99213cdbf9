"""The strong view of a batch (FixMatch, Sohn et al. 2020; used by Multi-Level KD, Jin et al. 2023), on the device.

Two operations of a RandAugment list for each image, one after the other, then a cutout. Each operation is one tensor
operation over the images that drew it, each image with its own magnitude, and gives Pillow's pixels, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from trainables.data.stream import to_device

FILL = (125, 123, 114)
LARGEST_CUTOUT = 0.5
FIXED = 65536

Operation = Callable[[Tensor, Tensor], Tensor]


def strong(pixels: Tensor, draw: np.random.Generator) -> Tensor:
    """uint8 (n, H, W, 3) to the same, H and W at least 3.

    Seven numbers are drawn for each image, in the order of the images: what becomes of one does not depend on how many
    follow it. All are drawn on the host, which so knows the rows of each operation without asking the device.
    """
    numbers = draw.random((len(pixels), 7))
    plan = np.empty((len(pixels), 7))
    plan[:, 4:] = numbers[:, 4:]
    ends = []
    for turn in (0, 1):
        chosen = (numbers[:, turn] * len(OPERATIONS)).astype(np.int64)
        low, high = np.array([OPERATIONS[name][:2] for name in NAMES])[chosen].T
        order = np.argsort(chosen, kind="stable")
        plan[:, 2 * turn] = order
        plan[:, 2 * turn + 1] = (low + (high - low) * numbers[:, 2 + turn])[order]
        ends.append(np.bincount(chosen, minlength=len(NAMES)).cumsum().tolist())
    plans = to_device(torch.from_numpy(plan), pixels.device)
    for turn in (0, 1):
        rows, magnitudes = plans[:, 2 * turn].long(), plans[:, 2 * turn + 1]
        parts = []
        for name, start, end in zip(NAMES, [0, *ends[turn]], ends[turn], strict=False):
            if end > start:
                parts.append(OPERATIONS[name][2](pixels[rows[start:end]], magnitudes[start:end]))
        if parts:
            pixels = torch.empty_like(pixels).index_copy_(0, rows, torch.cat(parts))
    return cutout(pixels, plans[:, 4] * LARGEST_CUTOUT, plans[:, 5:])


def cutout(pixels: Tensor, share: Tensor, centre: Tensor) -> Tensor:
    """A box filled with FILL, as the released data set draws it. share: (n,); centre: (n, 2), y and x from 0 to 1.

    With v = share W: a side of length L around c L begins at b = floor(max(0, c L - v / 2)) and ends at the pixel
    floor(min(L, b + v)), which is inside too (Pillow's rectangle has both corners, rounded towards 0). So the box is
    moved, not cut, where it would begin outside the image, and is cut where it would end there. No share, no box.
    """
    length = share[:, None] * pixels.shape[2]
    inside = []
    for side, middle in zip(pixels.shape[1:3], centre.unbind(1), strict=True):
        place = torch.arange(side, device=pixels.device)
        begin = (middle[:, None] * side - length / 2).clamp(min=0).floor()
        inside.append((place >= begin) & (place <= (begin + length).floor()) & (length > 0))
    box = (inside[0][:, :, None] & inside[1][:, None, :])[..., None]
    return torch.where(box, to_device(torch.tensor(FILL, dtype=torch.uint8), pixels.device), pixels)


def _identity(pixels: Tensor, _: Tensor) -> Tensor:
    return pixels


def _autocontrast(pixels: Tensor, _: Tensor) -> Tensor:
    """Each channel stretched from its lowest and highest value to 0 and 255."""
    low, high = pixels.amin(dim=(1, 2), keepdim=True).double(), pixels.amax(dim=(1, 2), keepdim=True).double()
    scale = torch.full_like(low, 255) / (high - low).clamp(min=1)
    stretched = (pixels * scale - low * scale).clamp(0, 255).to(torch.uint8)
    return torch.where(high > low, stretched, pixels)


def _equalize(pixels: Tensor, _: Tensor) -> Tensor:
    """Each channel through a table that makes its histogram flat."""
    values = pixels.flatten(1, 2).transpose(1, 2).contiguous()
    levels = torch.arange(256, dtype=torch.uint8, device=pixels.device).expand(*values.shape[:2], 256).contiguous()
    ordered = values.sort(dim=2).values
    below = torch.searchsorted(ordered, levels)
    highest = torch.searchsorted(ordered, ordered[..., -1:].contiguous())
    step = highest // 255
    table = ((step // 2 + below) // step.clamp(min=1)).clamp(max=255).to(torch.uint8)
    table = torch.where(step > 0, table, levels)
    return table.gather(2, values.long()).transpose(1, 2).reshape(pixels.shape)


def _posterize(pixels: Tensor, bits: Tensor) -> Tensor:
    """The highest `bits` bits, rounded down, of each value."""
    dropped = (8 - bits.floor()).to(torch.uint8)[:, None, None, None]
    return (pixels >> dropped) << dropped


def _solarize(pixels: Tensor, threshold: Tensor) -> Tensor:
    """Values from the threshold up are inverted."""
    return torch.where(pixels < threshold[:, None, None, None], pixels, 255 - pixels)


def _blend(degenerate: Tensor, pixels: Tensor, share: Tensor) -> Tensor:
    """`share` of the image, the rest of what it degenerates to."""
    start = degenerate.float()
    return (start + share.float()[:, None, None, None] * (pixels.float() - start)).to(torch.uint8)


def _grey(pixels: Tensor) -> Tensor:
    """Luma (ITU-R 601-2) in 16 bits: (n, H, W, 1)."""
    red, green, blue = pixels.int().split(1, dim=3)
    return (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16


def _brightness(pixels: Tensor, share: Tensor) -> Tensor:
    return _blend(torch.zeros_like(pixels), pixels, share)


def _colour(pixels: Tensor, share: Tensor) -> Tensor:
    return _blend(_grey(pixels), pixels, share)


def _contrast(pixels: Tensor, share: Tensor) -> Tensor:
    mean = _grey(pixels).double().mean(dim=(1, 2), keepdim=True)
    return _blend((mean + 0.5).floor(), pixels, share)


def _sharpness(pixels: Tensor, share: Tensor) -> Tensor:
    """Degenerates to the image smoothed by 3 x 3 weights of 1 / 13, 5 / 13 in the middle; the border stays."""
    values = pixels.int()
    rows = values[:, :-2] + values[:, 1:-1] + values[:, 2:]
    boxes = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
    smooth = pixels.clone()
    smooth[:, 1:-1, 1:-1] = ((2 * (boxes + 4 * values[:, 1:-1, 1:-1]) + 13) // 26).to(torch.uint8)
    return _blend(smooth, pixels, share)


Matrix = Callable[[Tensor, int, int], tuple[Tensor | float, ...]]


def _affine(pixels: Tensor, magnitude: Tensor, matrix: Matrix) -> Tensor:
    """The pixel at (x, y) comes from a x + b y + c, d x + e y + f; nearest neighbour, black outside.

    In fixed-point numbers of 16 bits after the point, as Pillow does it: the same pixels on every device.
    """
    high, wide = pixels.shape[1:3]
    numbers = [magnitude.new_ones(len(magnitude)) * number for number in matrix(magnitude, high, wide)]
    y, x = torch.arange(high, device=pixels.device)[:, None], torch.arange(wide, device=pixels.device)

    def source(by_x: Tensor, by_y: Tensor, shift: Tensor) -> Tensor:
        start = shift + by_x * 0.5 + by_y * 0.5
        a, b, c = ((number * FIXED + 0.5).floor().long()[:, None, None] for number in (by_x, by_y, start))
        return (a * x + b * y + c) >> 16

    column, row = source(*numbers[:3]), source(*numbers[3:])
    known = (column >= 0) & (column < wide) & (row >= 0) & (row < high)
    image = torch.arange(len(pixels), device=pixels.device)[:, None, None]
    moved = pixels[image, row.clamp(0, high - 1), column.clamp(0, wide - 1)]
    return moved * known[..., None]


def _rotation(degrees: Tensor, high: int, wide: int) -> tuple[Tensor | float, ...]:
    """About the centre, counter-clockwise."""
    cos, sin = torch.cos(degrees * (math.pi / 180)), torch.sin(degrees * (math.pi / 180))
    x, y = wide / 2, high / 2
    return cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y


def _shear_x(magnitude: Tensor, high: int, wide: int) -> tuple[Tensor | float, ...]:
    return 1.0, magnitude, 0.0, 0.0, 1.0, 0.0


def _shear_y(magnitude: Tensor, high: int, wide: int) -> tuple[Tensor | float, ...]:
    return 1.0, 0.0, 0.0, magnitude, 1.0, 0.0


def _translation_x(magnitude: Tensor, high: int, wide: int) -> tuple[Tensor | float, ...]:
    return 1.0, 0.0, magnitude * wide, 0.0, 1.0, 0.0


def _translation_y(magnitude: Tensor, high: int, wide: int) -> tuple[Tensor | float, ...]:
    return 1.0, 0.0, 0.0, 0.0, 1.0, magnitude * high


# Lowest and highest magnitude (FixMatch, appendix D, table 12), between which each image draws its own.
OPERATIONS: dict[str, tuple[float, float, Operation]] = {
    "autocontrast": (0, 1, _autocontrast),
    "brightness": (0.05, 0.95, _brightness),
    "colour": (0.05, 0.95, _colour),
    "contrast": (0.05, 0.95, _contrast),
    "equalize": (0, 1, _equalize),
    "identity": (0, 1, _identity),
    "posterize": (4, 8, _posterize),
    "rotate": (-30, 30, partial(_affine, matrix=_rotation)),
    "sharpness": (0.05, 0.95, _sharpness),
    "shear_x": (-0.3, 0.3, partial(_affine, matrix=_shear_x)),
    "shear_y": (-0.3, 0.3, partial(_affine, matrix=_shear_y)),
    "solarize": (0, 256, _solarize),
    "translate_x": (-0.3, 0.3, partial(_affine, matrix=_translation_x)),
    "translate_y": (-0.3, 0.3, partial(_affine, matrix=_translation_y)),
}
NAMES = tuple(OPERATIONS)

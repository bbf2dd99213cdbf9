"""What methods on feature maps share: which maps of two networks belong together, and maps of one size."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from trainables.errors import UserError

Pairs = list[tuple[Tensor, Tensor]]


def pair_maps(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Pairs:
    """All maps but the first of both networks; where one has more, the last with the last, and so on backwards."""
    count = min(len(student), len(teacher)) - 1
    return list(zip(student[len(student) - count :], teacher[len(teacher) - count :], strict=True))


def match_sizes(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Both maps (N, K, H, W), (N, L, h, w), the larger averaged to the size of the smaller."""
    height, width = (min(sides) for sides in zip(one.shape[2:], other.shape[2:], strict=True))
    return average(one, height, width), average(other, height, width)


def average(maps: Tensor, height: int, width: int) -> Tensor:
    """Adaptive average pooling, (N, K, H, W) to (N, K, height, width).

    As products with constant matrices: the gradient of torch's own is not deterministic on a GPU.
    """
    if maps.shape[2:] == (height, width):
        return maps
    rows, columns = (
        _windows(side, parts, maps.dtype, maps.device)
        for side, parts in zip(maps.shape[2:], (height, width), strict=True)
    )
    return rows @ maps @ columns.T


@lru_cache(maxsize=64)
def _windows(length: int, parts: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(parts, length): row i averages the places floor(i length / parts) to ceil((i + 1) length / parts).

    Kept: not to be made while a graph is recorded, which no method on features is.
    """
    with torch.inference_mode(False):
        part = torch.arange(parts, device=device)[:, None]
        first, end = part * length // parts, ((part + 1) * length + parts - 1) // parts
        place = torch.arange(length, device=device)
        return ((place >= first) & (place < end)).to(dtype) / (end - first)


def make_refusal(method: str, why: str, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> UserError:
    """Says which maps the two networks have."""
    return UserError(
        f"{method} cannot serve this pair: {why} (the student's maps are {_shapes(student)}; the teacher's "
        f"{_shapes(teacher)})"
    )


def _shapes(maps: Sequence[Tensor]) -> str:
    return ", ".join("x".join(str(side) for side in one.shape[1:]) for one in maps) or "none"

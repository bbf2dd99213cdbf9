"""CutMix and MixUp of selected samples: which samples, with whom, and how.

All randomness comes in as arguments, so that a batch is mixed the same way whenever and wherever it is mixed again.
"""

from __future__ import annotations

import torch
from torch import Tensor

SELECTIONS = ("all", "high", "low", "half")


def select(energies: Tensor, selection: str, low: Tensor | float, high: Tensor | float) -> Tensor:
    """Which samples to mix: all, energy above `high`, below `low`, or either (`half`: thresholds of half the rate).

    Args:
        energies: (N,).
    Returns:
        (N,) bool.
    """
    if selection == "all":
        return torch.ones_like(energies, dtype=torch.bool)
    if selection == "high":
        return energies > high
    if selection == "low":
        return energies < low
    if selection == "half":
        return (energies > high) | (energies < low)
    raise ValueError(f"unknown selection {selection!r}: use one of {', '.join(SELECTIONS)}")


def partners(groups: Tensor, keys: Tensor) -> Tensor:
    """A random permutation of the samples within each group, as the positions of their partners.

    Args:
        groups: (M,) ascending: the batch that each selected sample belongs to. keys: (M,) uniform in [0, 1).
    Returns:
        (M,) positions; groups[result] == groups.
    """
    by_key = keys.argsort(stable=True)
    return by_key[groups[by_key].argsort(stable=True)]


def _per_sample(value: Tensor, images: Tensor) -> Tensor:
    if value.shape != images.shape[:1]:
        raise ValueError(f"{tuple(value.shape)} given for {images.shape[0]} images; (M,) is needed")
    return value.view(-1, 1, 1, 1)


def cutmix(images: Tensor, partner: Tensor, keep: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
    """CutMix (Yun et al. 2019): a box of each image is replaced by the same box of its partner.

    The box has the sides W sqrt(1 - keep) and H sqrt(1 - keep) around the centre and is cut off at the borders.

    Args:
        images: (M, channels, H, W); partner: (M,) positions; keep: (M,) share of the image that stays, in [0, 1];
        centre: (M, 2) box centre (y, x) as a share of the image, in [0, 1).
    Returns:
        mixed images (M, channels, H, W), and the share that really stayed, (M,).
    """
    height, width = images.shape[-2:]
    cut = (1 - _per_sample(keep, images)).sqrt()
    inside = torch.ones((), dtype=torch.bool, device=images.device)
    for axis, size in ((0, height), (1, width)):
        middle = (_per_sample(centre[:, axis], images) * size).floor()
        half = (cut * size).floor() // 2
        position = torch.arange(size, device=images.device).view((1, 1, size, 1) if axis == 0 else (1, 1, 1, size))
        inside = inside & (position >= middle - half) & (position < middle + half)
    mixed = torch.where(inside, images[partner], images)
    return mixed, 1 - inside.flatten(1).sum(dim=1) / (height * width)


def mixup(images: Tensor, partner: Tensor, keep: Tensor) -> Tensor:
    """MixUp (Zhang et al. 2018): keep * image + (1 - keep) * partner.

    Args:
        images: (M, channels, H, W); partner: (M,) positions; keep: (M,) in [0, 1].
    Returns:
        mixed images (M, channels, H, W).
    """
    share = _per_sample(keep, images).to(images.dtype)
    return images * share + images[partner] * (1 - share)

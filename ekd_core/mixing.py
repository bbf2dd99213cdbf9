"""CutMix and MixUp of selected samples: which samples, with whom, and how.

All randomness comes in as arguments, so that a batch is mixed the same way whenever and wherever it is mixed again.
"""

from __future__ import annotations

import torch
from torch import Tensor

SELECTIONS = ("all", "high", "low", "half")


def select(energies: Tensor, selection: str, low: Tensor | float, high: Tensor | float) -> Tensor:
    """Return which samples to mix, by their energies.

    Args:
        energies: (N,), in nats.
        selection: `all`; `high`, above the threshold `high`; `low`, below `low`; `half`, either of the two, whose
            thresholds are then those of half the rate.
        low: The threshold of low energy.
        high: The threshold of high energy.

    Returns:
        (N,) bool.

    Raises:
        ValueError: If the selection is unknown.
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
    """Return a partner for each selected sample: a random permutation within each group.

    Args:
        groups: The batch that each sample belongs to, (M,), ascending.
        keys: Random numbers, (M,), uniform in [0, 1).

    Returns:
        The positions of the partners, (M,). A sample and its partner are of one group.
    """
    by_key = keys.argsort(stable=True)
    return by_key[groups[by_key].argsort(stable=True)]


def _per_sample(value: Tensor, images: Tensor) -> Tensor:
    if value.shape != images.shape[:1]:
        raise ValueError(f"{tuple(value.shape)} given for {images.shape[0]} images; (M,) is needed")
    return value.view(-1, 1, 1, 1)


def cutmix(images: Tensor, partner: Tensor, keep: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
    """Replace a box of each image by the same box of its partner: CutMix (Yun et al. 2019).

    The box has the sides W sqrt(1 - keep) and H sqrt(1 - keep) and is cut off at the borders of the image.

    Args:
        images: (M, channels, H, W).
        partner: Positions of the partners, (M,).
        keep: The share of each image that should stay, (M,), in [0, 1].
        centre: The box's centre (y, x) as a share of the image, (M, 2), in [0, 1).

    Returns:
        The mixed images (M, channels, H, W), and the share of each image that did stay, (M,).
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
    """Return keep * image + (1 - keep) * partner for each image: MixUp (Zhang et al. 2018).

    Args:
        images: (M, channels, H, W).
        partner: Positions of the partners, (M,).
        keep: The share of each image itself, (M,), in [0, 1].

    Returns:
        The mixed images (M, channels, H, W).
    """
    share = _per_sample(keep, images).to(images.dtype)
    return images * share + images[partner] * (1 - share)

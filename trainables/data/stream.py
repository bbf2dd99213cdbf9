"""The batches of a run: a pure function of (seed, epoch, step), made on the device a chunk of steps at a time.

A chunk is a few consecutive steps whose images are cropped and flipped in one go, so that a teacher can answer for all
of them at once. Its length is fixed: it is part of how the numbers come about, not of where.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from trainables.data.random_streams import Purpose, generator

STEPS_PER_CHUNK = 8
PADDING = {"none": 0, "crop": 4, "crop_flip": 4, "crop8_flip": 8}
"""Black pixels around an image before it is cropped, by augmentation."""


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """The same on the device, which is not waited for (a plain copy to it waits until all is done there)."""
    here = values.pin_memory() if device.type == "cuda" and values.device.type == "cpu" else values
    return here.to(device, non_blocking=device.type != "cpu")


def normalise(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """uint8 (n, H, W, 3) -> float32 (n, 3, H, W) in channels_last: (x / 255 - mean) / std."""
    scales, shifts = [1 / (255 * s) for s in std], [-m / s for m, s in zip(mean, std, strict=True)]
    scale, shift = to_device(torch.tensor([scales, shifts], dtype=torch.float32), images.device)
    return torch.addcmul(shift, images.float(), scale).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Chunk:
    """Consecutive steps of one epoch. Row i of every tensor is one sample; `bounds` cuts the rows into steps.

    images: float32 (n, 3, H, W), augmented and normalised; pixels: the same before normalisation, uint8 (n, H, W, 3);
    labels: (n,); index: (n,) positions in the training set; step: (n,) number of the step within the chunk; mixing:
    (n,) uniform keys that choose partners. Of a job on several devices, images and bounds are one device's share;
    sizes: samples of each whole batch.
    """

    epoch: int
    first_step: int
    images: Tensor
    pixels: Tensor
    labels: Tensor
    index: Tensor
    step: Tensor
    mixing: Tensor
    bounds: tuple[int, ...]
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class Share:
    """Which part of every batch a device takes: rows rank/world to (rank + 1)/world of it."""

    rank: int = 0
    world: int = 1

    def of(self, size: int) -> tuple[int, int]:
        return size * self.rank // self.world, size * (self.rank + 1) // self.world

    def parts(self, size: int, most: int) -> list[range]:
        """Of `size` rows, cut into parts of `most`, this device's parts. A part is the same on one device or several,
        and so are the bits of what a network says of it."""
        first, end = self.of(-(-size // most))
        return [range(part * most, min((part + 1) * most, size)) for part in range(first, end)]


WHOLE = Share()


class Stream(Protocol):
    """The batches of a run, an epoch at a time. version: to be raised when the images of a (seed, epoch, step) are made
    otherwise."""

    version: ClassVar[int]
    seed: int
    batch_size: int
    device: torch.device
    share: Share
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @property
    def steps(self) -> int: ...

    def epoch(self, epoch: int) -> Iterator[Chunk]: ...

    def each_once(self, most: int) -> Iterator[Tensor]:
        """Every training image once, in the order of the training set, augmented as in an epoch that is not trained:
        float32 (n, 3, H, W), `most` at a time; of several devices, this one's parts."""
        ...

    def anew(self, chunk: Chunk) -> Tensor:
        """The images of a chunk under another crop and flip, uint8 (n, H, W, 3): a function of (seed, epoch, step)."""
        ...


class BatchStream:
    """One training set on its device, in batches. The last, smaller batch of an epoch is used.

    images: (N, H, H, 3), uint8; labels: (N,). augmentation: one of PADDING.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        *,
        seed: int,
        batch_size: int,
        augmentation: str,
        share: Share = WHOLE,
    ) -> None:
        self.padding = PADDING[augmentation]
        self.flip = augmentation.endswith("_flip")
        self.images = images
        self.labels = labels
        self.mean, self.std = mean, std
        self.side, self.seed, self.batch_size = images.shape[1], seed, batch_size
        self.device = self.images.device
        self.share = share
        whole, rest = divmod(len(labels), batch_size)
        # A last batch of one image is left out: batch statistics need two.
        self.steps = whole + (rest > 1)

    def epoch(self, epoch: int) -> Iterator[Chunk]:
        """The chunks of an epoch, each made when it is asked for."""
        size = len(self.labels)
        draw = generator(self.seed, Purpose.ORDER_AND_AUGMENTATION, epoch)
        order = draw.permutation(size)
        corner = draw.integers(0, 2 * self.padding + 1, (size, 2))
        flipped = draw.random(size) < 0.5 if self.flip else np.zeros(size, dtype=bool)
        keys = generator(self.seed, Purpose.MIXING_PARTNERS, epoch).random(size)
        sizes = [min(self.batch_size, size - step * self.batch_size) for step in range(self.steps)]
        own = [self.share.of(count) for count in sizes]
        kept = np.concatenate(
            [np.arange(0), *(step * self.batch_size + np.arange(*part) for step, part in enumerate(own))]
        )
        step_of = np.repeat(np.arange(len(own)) % STEPS_PER_CHUNK, [end - start for start, end in own])
        drawn = [order[kept], corner[kept], flipped[kept], keys[kept], step_of]
        on_device = [to_device(torch.from_numpy(values), self.device) for values in drawn]
        ends = list(accumulate((end - start for start, end in own), initial=0))
        for first in range(0, self.steps, STEPS_PER_CHUNK):
            last = min(first + STEPS_PER_CHUNK, self.steps)
            rows, corners, flips, mixing, step = (values[ends[first] : ends[last]] for values in on_device)
            pixels = self._augment(rows, corners, flips)
            yield Chunk(
                epoch=epoch,
                first_step=first,
                images=normalise(pixels, self.mean, self.std),
                pixels=pixels,
                labels=self.labels[rows],
                index=rows,
                step=step,
                mixing=mixing,
                bounds=tuple(end - ends[first] for end in ends[first : last + 1]),
                sizes=tuple(sizes[first:last]),
            )

    def each_once(self, most: int) -> Iterator[Tensor]:
        size = len(self.labels)
        draw = generator(self.seed, Purpose.EACH_IMAGE_ONCE)
        corners = torch.from_numpy(draw.integers(0, 2 * self.padding + 1, (size, 2)))
        flips = torch.from_numpy(draw.random(size) < 0.5) if self.flip else torch.zeros(size, dtype=torch.bool)
        for part in self.share.parts(size, most):
            rows = torch.arange(part.start, part.stop)
            drawn = (to_device(values, self.device) for values in (rows, corners[rows], flips[rows]))
            yield normalise(self._augment(*drawn), self.mean, self.std)

    def anew(self, chunk: Chunk) -> Tensor:
        """Three numbers are drawn for each image, in their order."""
        shape, place = (len(chunk.index), 3), (chunk.epoch, chunk.first_step)
        draw = generator(self.seed, Purpose.STRONG_CROP_AND_FLIP, *place).random(shape)
        corners = to_device(torch.from_numpy((draw[:, :2] * (2 * self.padding + 1)).astype(np.int64)), self.device)
        flips = to_device(torch.from_numpy((draw[:, 2] < 0.5) & self.flip), self.device)
        return self._augment(chunk.index, corners, flips)

    def _augment(self, rows: Tensor, corners: Tensor, flips: Tensor) -> Tensor:
        """Cropped from images with a black border, and flipped."""
        along = torch.arange(self.side, device=self.device)
        across = torch.where(flips[:, None], self.side - 1 - along, along)
        y = (corners[:, :1] + along - self.padding)[:, :, None]
        x = (corners[:, 1:] + across - self.padding)[:, None, :]
        last = self.side - 1
        pixels = self.images[rows[:, None, None], y.clamp(0, last), x.clamp(0, last)]
        if not self.padding:
            return pixels
        outside = (y < 0) | (y > last) | (x < 0) | (x > last)
        return pixels.masked_fill_(outside[..., None], 0)

"""The batches of a run: a pure function of (seed, epoch, step), made on the device a chunk of steps at a time.

A chunk is a few consecutive steps whose images are cropped and flipped in one go, so that a teacher can answer for all
of them at once. Its length is fixed: it is part of how the numbers come about, not of where.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from trainables.data.random_streams import generator

STEPS_PER_CHUNK = 8
PADDING = {"none": 0, "crop": 4, "crop_flip": 4, "crop8_flip": 8}
"""Black pixels around an image before it is cropped, by augmentation."""


def sent(values: Tensor, device: torch.device) -> Tensor:
    """The same on the device, which is not waited for (a plain copy to it waits until all is done there)."""
    here = values.pin_memory() if device.type == "cuda" and values.device.type == "cpu" else values
    return here.to(device, non_blocking=device.type != "cpu")


def normalise(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """uint8 (n, H, W, 3) -> float32 (n, 3, H, W) in channels_last: (x / 255 - mean) / std."""
    scales, shifts = [1 / (255 * s) for s in std], [-m / s for m, s in zip(mean, std, strict=True)]
    scale, shift = sent(torch.tensor([scales, shifts], dtype=torch.float32), images.device)
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


def steps_of(bounds: tuple[int, ...], device: torch.device) -> Tensor:
    """(n,) the step, within its chunk, of each row."""
    return torch.bucketize(torch.arange(bounds[-1], device=device), sent(torch.tensor(bounds[1:]), device), right=True)


@dataclass(frozen=True)
class Piece:
    """A chunk that is made when it is called for. size: its samples."""

    first_step: int
    size: int
    make: Callable[[], Chunk]

    def __call__(self) -> Chunk:
        return self.make()


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

    @property
    def steps(self) -> int:
        """Steps of an epoch. A last batch of one image is left out: batch statistics need two."""
        whole, rest = divmod(len(self.labels), self.batch_size)
        return whole + (rest > 1)

    def epoch(self, epoch: int) -> Iterator[Chunk]:
        for piece in self.pieces(epoch):
            yield piece()

    def pieces(self, epoch: int) -> list[Piece]:
        """The chunks of an epoch, none of them made yet."""
        size = len(self.labels)
        draw = generator(self.seed, "order and augmentation", epoch)
        order = draw.permutation(size)
        corner = draw.integers(0, 2 * self.padding + 1, (size, 2))
        flipped = draw.random(size) < 0.5 if self.flip else np.zeros(size, dtype=bool)
        keys = generator(self.seed, "mixing partners", epoch).random(size)
        sizes = [min(self.batch_size, size - step * self.batch_size) for step in range(self.steps)]
        own = [self.share.of(count) for count in sizes]
        places = [np.arange(*part) + step * self.batch_size for step, part in enumerate(own)]
        kept = np.concatenate(places) if places else np.arange(0)
        on_device = [sent(torch.from_numpy(values[kept]), self.device) for values in (order, corner, flipped, keys)]
        ends = [0, *np.cumsum([len(part) for part in places]).tolist()]

        def made(first: int, last: int) -> Chunk:
            start = ends[first]
            rows, corners, flips, mixing = (values[start : ends[last]] for values in on_device)
            bounds = tuple(end - start for end in ends[first : last + 1])
            pixels = self._augmented(rows, corners, flips)
            return Chunk(
                epoch=epoch,
                first_step=first,
                images=normalise(pixels, self.mean, self.std),
                pixels=pixels,
                labels=self.labels[rows],
                index=rows,
                step=steps_of(bounds, self.device),
                mixing=mixing,
                bounds=bounds,
                sizes=tuple(sizes[first:last]),
            )

        firsts = range(0, self.steps, STEPS_PER_CHUNK)
        parts = [(first, min(first + STEPS_PER_CHUNK, self.steps)) for first in firsts]
        return [Piece(first, ends[last] - ends[first], partial(made, first, last)) for first, last in parts]

    def each_once(self, most: int) -> Iterator[Tensor]:
        size = len(self.labels)
        draw = generator(self.seed, "each image once")
        corners = torch.from_numpy(draw.integers(0, 2 * self.padding + 1, (size, 2)))
        flips = torch.from_numpy(draw.random(size) < 0.5) if self.flip else torch.zeros(size, dtype=torch.bool)
        for part in self.share.parts(size, most):
            rows = torch.arange(part.start, part.stop)
            drawn = (sent(values, self.device) for values in (rows, corners[rows], flips[rows]))
            yield normalise(self._augmented(*drawn), self.mean, self.std)

    def anew(self, chunk: Chunk) -> Tensor:
        """Three numbers are drawn for each image, in their order."""
        draw = generator(self.seed, "strong crop and flip", chunk.epoch, chunk.first_step).random((len(chunk.index), 3))
        corners = sent(torch.from_numpy((draw[:, :2] * (2 * self.padding + 1)).astype(np.int64)), self.device)
        flips = sent(torch.from_numpy((draw[:, 2] < 0.5) & self.flip), self.device)
        return self._augmented(chunk.index, corners, flips)

    def _augmented(self, rows: Tensor, corners: Tensor, flips: Tensor) -> Tensor:
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

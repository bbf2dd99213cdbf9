"""What a job needs of a data set, wherever its images lie: on the device, or in files that a loader reads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Self

import torch
from torch import Tensor

from trainables.data.stream import WHOLE, Share, Stream

UNREADABLE = -1
"""The label of a test image that could not be read: no class, so that it never counts as right."""

Channels = tuple[float, float, float]
IMAGENET_STATISTICS: tuple[Channels, Channels] = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and deviation of ImageNet's channels, as everyone uses them."""


class Source(ABC):
    """A checked data set."""

    name: str
    classes: tuple[str, ...]
    mean: Channels
    """Of the training split's pixels divided by 255, one for each channel."""
    std: Channels
    fingerprint: str
    """SHA-256, as hex, of what the images are."""
    source: str
    """Where the images come from, in one line."""

    @property
    @abstractmethod
    def side(self) -> int:
        """Of the images as the networks see them, in pixels."""

    @property
    @abstractmethod
    def train_labels(self) -> Tensor:
        """(M,), on the device."""

    @property
    @abstractmethod
    def test_labels(self) -> Tensor:
        """Those of the test images, on the device."""

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def device(self) -> torch.device:
        return self.train_labels.device

    @property
    def train_size(self) -> int:
        return len(self.train_labels)

    @property
    def test_size(self) -> int:
        return len(self.test_labels)

    @property
    def unreadable(self) -> Mapping[str, str]:
        """By path, why an image could not be read, of those that this process has come across."""
        return {}

    @abstractmethod
    def to(self, device: torch.device | str) -> Self:
        """The same data set for another device."""

    @abstractmethod
    def normalised(self, normalisation: str) -> Source:
        """The same images under another normalisation (see RunSpec)."""

    @abstractmethod
    def stream(self, *, seed: int, batch_size: int, augmentation: str, share: Share = WHOLE) -> Stream:
        """The batches of a run."""

    @abstractmethod
    def scan(self, split: str, size: int, share: Share = WHOLE) -> Iterator[tuple[Tensor, Tensor]]:
        """The images of `train` or `test` as they are, normalised, `size` at a time, with their labels; of several
        devices, one's parts."""

"""What a job needs of a data set, wherever its images lie: on the device, or in files that a loader reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol, Self

import torch
from torch import Tensor

from trainables.data.stream import WHOLE, Share, Stream

UNREADABLE = -1
"""The label of a test image that could not be read: no class, so that it never counts as right."""


class Source(Protocol):
    """A checked data set. train_labels: (M,) on the device; side: of the images as the networks see them, in pixels."""

    @property
    def name(self) -> str: ...
    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def num_classes(self) -> int: ...
    @property
    def side(self) -> int: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def mean(self) -> tuple[float, float, float]: ...
    @property
    def std(self) -> tuple[float, float, float]: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def train_labels(self) -> Tensor: ...
    @property
    def train_size(self) -> int: ...
    @property
    def test_size(self) -> int: ...

    @property
    def unreadable(self) -> Mapping[str, str]:
        """By path, why an image could not be read, of those that this process has come across."""
        ...

    def to(self, device: torch.device | str) -> Self: ...

    def stream(self, *, seed: int, batch_size: int, augmentation: str, share: Share = WHOLE) -> Stream:
        """The batches of a run."""
        ...

    def scan(self, split: str, size: int, share: Share = WHOLE) -> Iterator[tuple[Tensor, Tensor]]:
        """The images of `train` or `test` as they are, normalised, `size` at a time, with their labels; of several
        devices, one's parts."""
        ...

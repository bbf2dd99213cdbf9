"""A data set in memory: images as uint8 (N, H, W, 3), labels as int64 (N,), checked when it is made."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from trainables.data.source import IMAGENET_STATISTICS, UNREADABLE, Channels, Source
from trainables.data.stream import PADDING, WHOLE, BatchStream, Share, normalise
from trainables.data.subset import select
from trainables.errors import UserError

MOST_NAMED = 20
Faults = Mapping[int, tuple[str, str]]
"""The images of a split that cannot be decoded, by position: path and why."""


@dataclass(frozen=True)
class Split:
    """Images (N, H, W, 3), uint8, contiguous, with their labels (N,), int64."""

    images: torch.Tensor
    labels: torch.Tensor

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if images.dtype != torch.uint8 or labels.dtype != torch.int64:
            raise UserError(f"expected uint8 images and int64 labels, found {images.dtype} and {labels.dtype}")
        if images.ndim != 4 or images.shape[3] != 3 or images.shape[1] != images.shape[2]:
            raise UserError(f"expected square images (N, H, H, 3), found {tuple(images.shape)}")
        if not images.is_contiguous():
            raise UserError("the images' tensor is not contiguous")
        if labels.ndim != 1 or len(labels) != len(images) or not len(labels):
            raise UserError(f"found {tuple(labels.shape)} labels of {len(images)} images: each image needs one")
        if int(labels.min()) < 0:
            raise UserError(f"the label {int(labels.min())} is negative: labels count from 0")

    def __len__(self) -> int:
        return self.labels.shape[0]

    def take(self, positions: np.ndarray) -> Split:
        """The images at ascending positions; all of them are this very split."""
        if len(positions) == len(self):
            return self
        index = torch.from_numpy(positions)
        return Split(self.images[index], self.labels[index])

    def to(self, device: torch.device | str) -> Split:
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Contents:
    """What a data set's own module reads: everything of a Dataset before its training images are selected."""

    classes: tuple[str, ...]
    train: Split
    test: Split
    mean: Channels
    std: Channels
    source: str
    train_faults: Faults = field(default_factory=dict)
    test_faults: Faults = field(default_factory=dict)

    def assemble(
        self, name: str, *, imbalance: float = 1.0, train_fraction: float = 1.0, holdout: float = 0.0
    ) -> Dataset:
        """Select the training images (see `subset.select`), take the fingerprint, check everything."""
        subset = select(
            self.train.labels.numpy(),
            len(self.classes),
            imbalance=imbalance,
            train_fraction=train_fraction,
            holdout=holdout,
        )
        print_of_all = fingerprint(self.train.take(subset.kept), self.test)
        tested: Faults = {} if holdout else self.test_faults
        trained = (self.train_faults[position] for position in subset.kept.tolist() if position in self.train_faults)
        damaged = dict([*trained, *tested.values()])
        return Dataset(
            name,
            self.classes,
            self.train.take(subset.train),
            self.train.take(subset.held_out) if holdout else self.test,
            self.mean,
            self.std,
            fingerprint_of_part(print_of_all, holdout),
            self.source + subset.sentence + _remark(damaged),
            damaged,
            tuple(tested),
        )


@dataclass(frozen=True)
class Dataset(Source):
    """A data set in memory. `fingerprint`: of images and labels of both splits as they are here (see `of_part`).
    damaged: by path, why an image cannot be decoded. missing: the positions of the test images among them."""

    name: str
    classes: tuple[str, ...]
    train: Split
    test: Split
    mean: Channels
    std: Channels
    fingerprint: str
    source: str
    damaged: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if len(self.classes) < 2 or len(set(self.classes)) != len(self.classes):
            raise UserError(f"{self.name} needs two classes or more, each named once, not {self.classes}")
        highest = max(int(split.labels.max()) for split in (self.train, self.test))
        if highest >= len(self.classes):
            raise UserError(f"{self.name} has a label {highest}, but only {len(self.classes)} classes")
        if self.train.images.shape[1:] != self.test.images.shape[1:]:
            raise UserError(f"{self.name}'s training and test images differ in size: resize them to one side")
        absent = torch.bincount(self.train.labels, minlength=len(self.classes)).eq(0).nonzero().flatten()
        if len(absent):
            raise UserError(f"{self.name} has no training image of class {self.classes[int(absent[0])]!r}")
        if not (all(0 <= m <= 1 for m in self.mean) and all(0 < s <= 1 for s in self.std)):
            raise UserError(
                f"{self.name} has a mean {self.mean} outside [0, 1] or a std {self.std} outside (0, 1]: "
                "its images may all be of one colour"
            )

    @property
    def side(self) -> int:
        return self.train.images.shape[1]

    @property
    def train_labels(self) -> torch.Tensor:
        return self.train.labels

    @property
    def test_labels(self) -> torch.Tensor:
        return self.test.labels

    @property
    def unreadable(self) -> Mapping[str, str]:
        return self.damaged

    def to(self, device: torch.device | str) -> Dataset:
        return replace(self, train=self.train.to(device), test=self.test.to(device))

    def normalised(self, normalisation: str) -> Dataset:
        """The fingerprint names another normalisation behind its first half."""
        if normalisation == "own":
            return self
        mean, std = IMAGENET_STATISTICS
        digest = hashlib.sha256(f"{self.fingerprint} {normalisation}".encode()).hexdigest()
        return replace(self, mean=mean, std=std, fingerprint=self.fingerprint[:32] + digest[:32])

    def stream(self, *, seed: int, batch_size: int, augmentation: str, share: Share = WHOLE) -> BatchStream:
        if augmentation not in PADDING:
            raise UserError(f"{self.name} has no augmentation {augmentation!r}: use one of {', '.join(PADDING)}")
        return BatchStream(
            self.train.images,
            self.train.labels,
            self.mean,
            self.std,
            seed=seed,
            batch_size=batch_size,
            augmentation=augmentation,
            share=share,
        )

    def scan(self, split: str, size: int, share: Share = WHOLE) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The label of a test image that could not be decoded is UNREADABLE."""
        data = {"train": self.train, "test": self.test}[split]
        labels = data.labels
        if split == "test" and self.missing:
            labels = labels.clone()
            labels[list(self.missing)] = UNREADABLE
        for part in share.parts(len(data), size):
            rows = slice(part.start, part.stop)
            yield normalise(data.images[rows], self.mean, self.std), labels[rows]


def _remark(damaged: Mapping[str, str]) -> str:
    """What to add to the line that says where the images come from."""
    if not damaged:
        return ""
    named = "; ".join(f"{path} ({why})" for path, why in [*damaged.items()][:MOST_NAMED])
    more = f"; and {len(damaged) - MOST_NAMED} more" if len(damaged) > MOST_NAMED else ""
    return (
        f"; images that cannot be read (the next of its class takes the place of a training image, a test image "
        f"counts as wrong): {named}{more}"
    )


def fingerprint(train: Split, test: Split) -> str:
    """SHA-256, as hex, of images and labels of both splits and of their shapes."""
    digest = hashlib.sha256()
    for split in (train, test):
        for tensor in (split.images, split.labels):
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.cpu().numpy().data)
    return digest.hexdigest()


def fingerprint_of_part(whole: str, holdout: float) -> str:
    """The fingerprint of a data set of which a share is held out: it begins as that of the whole does."""
    return whole if not holdout else whole[:32] + hashlib.sha256(f"{whole} {holdout!r}".encode()).hexdigest()[:32]


def channel_statistics(images: torch.Tensor) -> tuple[Channels, Channels]:
    """Mean and (population) standard deviation of each channel of images (N, H, W, 3), uint8, divided by 255.

    Taken from exact integer histograms, so they do not depend on the order of summation.
    """
    values = torch.arange(256, dtype=torch.float64) / 255
    counts = torch.stack([torch.bincount(images[..., c].flatten(), minlength=256) for c in range(3)])
    share = counts.double() / counts.sum(1, keepdim=True)
    mean = share @ values
    std = (share * (values - mean[:, None]) ** 2).sum(1).sqrt()
    return tuple(mean.tolist()), tuple(std.tolist())

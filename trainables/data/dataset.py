"""A data set in memory: images as uint8 (N, H, W, 3), labels as int64 (N,), checked when it is made."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from trainables.data.facts import counts_in_words, held_out, kept, long_tailed
from trainables.data.source import Source
from trainables.data.stream import PADDING, WHOLE, BatchStream, Share, generator, normalise
from trainables.errors import UserError

Channels = tuple[float, float, float]
IMAGENET_STATISTICS: tuple[Channels, Channels] = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and deviation of ImageNet's channels, as everyone uses them."""


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

    def to(self, device: torch.device | str) -> Split:
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Contents:
    """What a data set's own module reads: everything of a Dataset before its training split is thinned."""

    classes: tuple[str, ...]
    train: Split
    test: Split
    mean: Channels
    std: Channels
    source: str


@dataclass(frozen=True)
class Dataset:
    """A checked data set.

    mean and std are of the whole training split's pixels divided by 255, one for each channel. `fingerprint` is the
    SHA-256 of images and labels of both splits as they are here (see `of_part`); `source` says in one line where they
    came from.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    test: Split
    mean: Channels
    std: Channels
    fingerprint: str
    source: str

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
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def side(self) -> int:
        return self.train.images.shape[1]

    @property
    def device(self) -> torch.device:
        return self.train.images.device

    @property
    def train_labels(self) -> torch.Tensor:
        return self.train.labels

    @property
    def train_size(self) -> int:
        return len(self.train)

    @property
    def test_size(self) -> int:
        return len(self.test)

    @property
    def unreadable(self) -> dict[str, str]:
        """None: such an image is refused when the data set is read."""
        return {}

    def to(self, device: torch.device | str) -> Dataset:
        """The same data set with its tensors on another device."""
        return replace(self, train=self.train.to(device), test=self.test.to(device))

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
        data = {"train": self.train, "test": self.test}[split]
        for part in share.parts(len(data), size):
            rows = slice(part.start, part.stop)
            yield normalise(data.images[rows], self.mean, self.std), data.labels[rows]


def fingerprint(train: Split, test: Split) -> str:
    """SHA-256, as hex, of images and labels of both splits and of their shapes."""
    digest = hashlib.sha256()
    for split in (train, test):
        for tensor in (split.images, split.labels):
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.cpu().numpy().data)
    return digest.hexdigest()


def normalised(source: Source, normalisation: str) -> Source:
    """The same images under another normalisation (see RunSpec), which the fingerprint names behind its first half."""
    if normalisation == "own":
        return source
    if not isinstance(source, Dataset):
        raise UserError(f"{source.name} always has ImageNet's mean and deviation: leave `normalisation` out")
    mean, std = IMAGENET_STATISTICS
    digest = hashlib.sha256(f"{source.fingerprint} {normalisation}".encode()).hexdigest()
    return replace(source, mean=mean, std=std, fingerprint=source.fingerprint[:32] + digest[:32])


def of_part(whole: str, holdout: float) -> str:
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
    return _channels(mean), _channels(std)


def _channels(tensor: torch.Tensor) -> Channels:
    red, green, blue = tensor.tolist()
    return red, green, blue


def first_of_each(split: Split, counts: Sequence[int]) -> Split:
    """The first counts[c] images of each class c, all in their present order."""
    by_class = torch.argsort(split.labels, stable=True)
    present = torch.bincount(split.labels, minlength=len(counts)).tolist()
    chosen = [part[:count] for part, count in zip(by_class.split(present), counts, strict=True)]
    index = torch.cat(chosen).sort().values
    return Split(split.images[index], split.labels[index])


def stratified(split: Split, fraction: float) -> Split:
    """The first ceil(fraction * n_c) images of each class, all in their present order."""
    return first_of_each(split, [kept(count, fraction) for count in torch.bincount(split.labels).tolist()])


def held_out_positions(labels: Sequence[int], share: float) -> np.ndarray:
    """Positions of the images that are held out, ascending: of each class the same ones every time, at random."""
    own = np.asarray(labels)
    found = []
    for label in np.unique(own):
        places = np.flatnonzero(own == label)
        found.append(generator(0, "held-out images", int(label)).permutation(places)[: held_out(len(places), share)])
    return np.sort(np.concatenate(found))


def hold_out(train: Split, share: float) -> tuple[Split, Split]:
    """What is left to train on, and what is held out, both in their present order."""
    held = torch.zeros(len(train), dtype=torch.bool)
    held[torch.from_numpy(held_out_positions(train.labels.tolist(), share))] = True
    return Split(train.images[~held], train.labels[~held]), Split(train.images[held], train.labels[held])


def assemble(
    name: str, contents: Contents, train_fraction: float, imbalance: float = 1.0, holdout: float = 0.0
) -> Dataset:
    """Make the training split long-tailed, thin it, hold out a share of it in place of the test split, take the
    fingerprint, check everything."""
    train, test, source = contents.train, contents.test, contents.source
    if imbalance < 1:
        present = torch.bincount(train.labels, minlength=len(contents.classes)).tolist()
        counts = long_tailed(present, imbalance)
        train = first_of_each(train, counts)
        source += f"; long-tailed (imbalance {imbalance:g}): {counts_in_words(counts)} of {len(contents.train):,}"
    if train_fraction < 1:
        whole, train = len(train), stratified(train, train_fraction)
        source += f"; {len(train)} of {whole} training images"
    print_of_all = fingerprint(train, test)
    if holdout:
        train, test = hold_out(train, holdout)
        source += f"; {len(test)} training images held out, in place of the test images"
    return Dataset(
        name,
        contents.classes,
        train,
        test,
        contents.mean,
        contents.std,
        of_part(print_of_all, holdout),
        source,
    )

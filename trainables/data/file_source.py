"""A data set that does not fit in memory: its images stay in their files, decoded while they are trained on.

A file that cannot be read or decoded does not end a training: the next image of its class takes its place, in the test
split it counts as wrong, and it is named once.
"""

from __future__ import annotations

import copy
import hashlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from trainables.data.dataset import fingerprint_of_part
from trainables.data.folders import FolderListing, fingerprint_files
from trainables.data.image_files import Decoder, DecodeRequest, ImageFiles
from trainables.data.loader import PART, Loader, in_parts
from trainables.data.random_streams import Purpose, generator
from trainables.data.source import IMAGENET_STATISTICS, UNREADABLE, Source
from trainables.data.stream import WHOLE, Chunk, Share, normalise, to_device
from trainables.data.subset import select
from trainables.errors import UserError

AUGMENTATIONS = ("none", "random_resized_crop_flip")
INSTEAD = {"train": "the next image of its class takes its place", "test": "it counts as wrong"}


@dataclass(frozen=True)
class FileContents:
    """What a data set's own module finds: everything of a FileSource before its training images are selected."""

    root: Path
    listing: FolderListing
    source: str
    side: int
    """To which the images are cropped and resized, in pixels."""
    workers: int | None = None
    """Processes that decode; None for as many as the cores allow, 0 for none."""
    own: bool = False
    """A user's own images: turned upright, and of another fingerprint at another side."""

    def assemble(
        self, name: str, *, imbalance: float = 1.0, train_fraction: float = 1.0, holdout: float = 0.0
    ) -> FileSource:
        """Select the training images (see `subset.select`) and take the fingerprint."""
        listing, num_classes = self.listing, len(self.listing.classes)
        subset = select(
            [label for _, label in listing.train.files],
            num_classes,
            imbalance=imbalance,
            train_fraction=train_fraction,
            holdout=holdout,
        )
        print_of_all = fingerprint_files(self.root, (listing.train.take(subset.kept), listing.test))
        if self.own:
            print_of_all = hashlib.sha256(f"{print_of_all} {self.side}".encode()).hexdigest()
        test = listing.train.take(subset.held_out) if holdout else listing.test
        ignored = listing.train.ignored + listing.test.ignored
        return FileSource(
            name,
            listing.classes,
            ImageFiles.of(listing.train.take(subset.train), num_classes),
            ImageFiles.of(test, num_classes),
            fingerprint=fingerprint_of_part(print_of_all, holdout),
            source=self.source
            + subset.sentence
            + (f"; {ignored} files that are no images were ignored" if ignored else ""),
            side=self.side,
            workers=self.workers,
            upright=self.own,
        )


class FileSource(Source):
    """A data set in its files, normalised by ImageNet's statistics.

    Its fingerprint is of the files' names and sizes, not of their contents. It keeps its loaders from epoch to epoch.
    """

    mean, std = IMAGENET_STATISTICS

    def __init__(
        self,
        name: str,
        classes: tuple[str, ...],
        train: ImageFiles,
        test: ImageFiles,
        *,
        fingerprint: str,
        source: str,
        side: int,
        workers: int | None,
        upright: bool = False,
    ) -> None:
        self.name, self.classes, self.train, self.test = name, classes, train, test
        self.fingerprint, self.source, self.workers, self._side = fingerprint, source, workers, side
        self.upright = upright
        self._train_labels, self._test_labels = train.labels, test.labels
        self._unreadable: dict[str, str] = {}
        self._loaders: dict[int, Loader] = {}

    @property
    def side(self) -> int:
        return self._side

    @property
    def train_labels(self) -> Tensor:
        return self._train_labels

    @property
    def test_labels(self) -> Tensor:
        return self._test_labels

    @property
    def unreadable(self) -> Mapping[str, str]:
        return self._unreadable

    def to(self, device: torch.device | str) -> FileSource:
        """It shares the notes of unreadable images, and has loaders of its own."""
        moved = copy.copy(self)
        moved._train_labels, moved._test_labels = self._train_labels.to(device), self._test_labels.to(device)
        moved._loaders = {}
        return moved

    def normalised(self, normalisation: str) -> FileSource:
        if normalisation != "own":
            raise UserError(f"{self.name} always has ImageNet's mean and deviation: leave `normalisation` out")
        return self

    def stream(self, *, seed: int, batch_size: int, augmentation: str, share: Share = WHOLE) -> FileStream:
        return FileStream(self, seed=seed, batch_size=batch_size, augmentation=augmentation, share=share)

    def scan(self, split: str, size: int, share: Share = WHOLE) -> Iterator[tuple[Tensor, Tensor]]:
        """The centres of the images; the label of a test image that cannot be decoded is UNREADABLE."""
        labels = {"train": self.train_labels, "test": self.test_labels}[split]
        batches = [np.arange(part.start, part.stop) for part in share.parts(len(labels), size)]
        for rows, (pixels, missing) in zip(batches, self.batches(split, batches, None, share), strict=True):
            truth = labels[rows[0] : rows[-1] + 1]
            if missing:
                truth = truth.clone()
                truth[[index - int(rows[0]) for index in missing]] = UNREADABLE
            yield normalise(pixels, self.mean, self.std), truth

    def batches(
        self, split: str, batches: Sequence[np.ndarray], draw: tuple[int, int] | None, share: Share
    ) -> Iterator[tuple[Tensor, list[int]]]:
        """Of each batch of positions in a split: uint8 (n, side, side, 3) on the device, and the test images among
        them that cannot be decoded. `draw`: as in DecodeRequest."""
        requests = (DecodeRequest(split, part, draw) for rows in batches for part in in_parts(tuple(rows.tolist())))
        with closing(self._loader(share.world).parts(requests)) as parts:
            for rows in batches:
                pixels = torch.empty(len(rows), self.side, self.side, 3, dtype=torch.uint8, device=self.device)
                flips = torch.empty(len(rows), dtype=torch.bool, device=self.device)
                missing: list[int] = []
                for start in range(0, len(rows), PART):
                    part = next(parts)
                    if part.fault:
                        raise UserError(part.fault)
                    pixels[start : start + PART].copy_(part.pixels, non_blocking=True)
                    flips[start : start + PART].copy_(part.flips, non_blocking=True)
                    self._note(split, part.unreadable)
                    missing += [index for index, _ in part.unreadable if split == "test"]
                if draw is not None:
                    pixels = torch.where(flips[:, None, None, None], pixels.flip(2), pixels)
                yield pixels, missing

    def _loader(self, world: int) -> Loader:
        if world not in self._loaders:
            decoder = Decoder(self.train, self.test, self.side, self.upright)
            pinned = self.device.type == "cuda"
            self._loaders[world] = Loader(decoder, self.workers, pinned=pinned, devices=world)
        return self._loaders[world]

    def _note(self, split: str, unreadable: Sequence[tuple[int, str]]) -> None:
        files = {"train": self.train, "test": self.test}[split]
        for index, reason in unreadable:
            path = files.path(index)
            if path not in self._unreadable:
                self._unreadable[path] = reason
                print(f"warning: cannot read {path} ({reason}): {INSTEAD[split]}", file=sys.stderr, flush=True)


class FileStream:
    """The batches of a run, each a chunk of its own. The last, smaller batch of an epoch is used.

    The crop and flip of an image are a function of (seed, epoch, its position in the training set). `anew` flips anew
    but keeps the crop: another one would have to be decoded again.
    """

    version: ClassVar[int] = 2

    def __init__(self, dataset: FileSource, *, seed: int, batch_size: int, augmentation: str, share: Share) -> None:
        if augmentation not in AUGMENTATIONS:
            raise UserError(
                f"{dataset.name} has no augmentation {augmentation!r}: use one of {', '.join(AUGMENTATIONS)}"
            )
        self.dataset, self.seed, self.batch_size, self.share = dataset, seed, batch_size, share
        self.random = augmentation != "none"
        self.device, self.mean, self.std = dataset.device, dataset.mean, dataset.std

    @property
    def steps(self) -> int:
        """Steps of an epoch. A last batch of one image is left out: batch statistics need two."""
        whole, rest = divmod(self.dataset.train_size, self.batch_size)
        return whole + (rest > 1)

    def each_once(self, most: int) -> Iterator[Tensor]:
        """With the crops and flips of epoch 0: the epochs that are trained count from 1."""
        parts = [np.arange(part.start, part.stop) for part in self.share.parts(self.dataset.train_size, most)]
        draw = (self.seed, 0) if self.random else None
        for pixels, _ in self.dataset.batches("train", parts, draw, self.share):
            yield normalise(pixels, self.mean, self.std)

    def epoch(self, epoch: int) -> Iterator[Chunk]:
        size = self.dataset.train_size
        order = generator(self.seed, Purpose.ORDER_AND_AUGMENTATION, epoch).permutation(size)
        keys = generator(self.seed, Purpose.MIXING_PARTNERS, epoch).random(size)
        starts = range(0, self.steps * self.batch_size, self.batch_size)
        sizes = [min(self.batch_size, size - start) for start in starts]
        own = [
            slice(*(start + end for end in self.share.of(count))) for start, count in zip(starts, sizes, strict=True)
        ]
        draw = (self.seed, epoch) if self.random else None
        made = self.dataset.batches("train", [order[rows] for rows in own], draw, self.share)
        for step, (rows, (pixels, _)) in enumerate(zip(own, made, strict=True)):
            index, mixing = (to_device(torch.from_numpy(values[rows]), self.device) for values in (order, keys))
            yield Chunk(
                epoch=epoch,
                first_step=step,
                images=normalise(pixels, self.mean, self.std),
                pixels=pixels,
                labels=self.dataset.train_labels[index],
                index=index,
                step=torch.zeros_like(index),
                mixing=mixing,
                bounds=(0, len(index)),
                sizes=(sizes[step],),
            )

    def anew(self, chunk: Chunk) -> Tensor:
        if not self.random:
            return chunk.pixels
        place = chunk.epoch, chunk.first_step
        draw = generator(self.seed, Purpose.STRONG_CROP_AND_FLIP, *place).random(len(chunk.index))
        flips = to_device(torch.from_numpy(draw < 0.5), self.device)
        return torch.where(flips[:, None, None, None], chunk.pixels.flip(2), chunk.pixels)

"""ImageNet (ILSVRC2012, O. Russakovsky et al., 2015), or a user's subset of it: decoded while it is trained on.

It does not fit in memory, so its images stay in their files. A file that cannot be read or decoded does not end a
training: the next image of its class takes its place, in the test split it counts as wrong, and it is named once.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from trainables.data import imagenet_folders
from trainables.data.dataset import IMAGENET_STATISTICS, Channels, held_out_positions, of_part
from trainables.data.facts import FACTS, counts_in_words, kept, long_tailed, of_listing
from trainables.data.folders import FolderListing
from trainables.data.image_files import Decoder, DecodeRequest, ImageFiles
from trainables.data.loader import PART, Loader, default_workers, in_parts
from trainables.data.source import UNREADABLE
from trainables.data.stream import WHOLE, Chunk, Share, generator, normalise, sent
from trainables.errors import UserError

SIDE = 224
AUGMENTATIONS = ("none", "random_resized_crop_flip")
INSTEAD = {"train": "the next image of its class takes its place", "test": "it counts as wrong"}


@dataclass(frozen=True, eq=False)
class ImageNet:
    """ImageNet in its files. train_labels, test_labels: on the device; fingerprint: of the files' names and sizes, not
    of their contents; workers: processes that decode, None for as many as the cores allow, 0 for none; beside: devices
    of this machine that train at the same time, each with its share of the cores;
    unreadable: by path, why an image could not be read, of those that this process has come across."""

    classes: tuple[str, ...]
    train: ImageFiles
    test: ImageFiles
    train_labels: Tensor
    test_labels: Tensor
    fingerprint: str
    source: str
    side: int = SIDE
    workers: int | None = None
    beside: int = 1
    unreadable: dict[str, str] = field(default_factory=dict)
    _loaders: dict[int, Loader] = field(default_factory=dict, repr=False)

    name: ClassVar[str] = "imagenet"
    mean: ClassVar[Channels] = IMAGENET_STATISTICS[0]
    std: ClassVar[Channels] = IMAGENET_STATISTICS[1]

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def device(self) -> torch.device:
        return self.train_labels.device

    @property
    def train_size(self) -> int:
        return len(self.train)

    @property
    def test_size(self) -> int:
        return len(self.test)

    def to(self, device: torch.device | str) -> ImageNet:
        """The same data set for another device."""
        train, test = self.train_labels.to(device), self.test_labels.to(device)
        return replace(self, train_labels=train, test_labels=test, _loaders={})

    def stream(self, *, seed: int, batch_size: int, augmentation: str, share: Share = WHOLE) -> ImageStream:
        return ImageStream(self, seed=seed, batch_size=batch_size, augmentation=augmentation, share=share)

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
            workers = default_workers(max(world, self.beside)) if self.workers is None else self.workers
            decoder = Decoder(self.train, self.test, self.side)
            self._loaders[world] = Loader(decoder, workers, pinned=self.device.type == "cuda")
        return self._loaders[world]

    def _note(self, split: str, unreadable: Sequence[tuple[int, str]]) -> None:
        files = {"train": self.train, "test": self.test}[split]
        for index, reason in unreadable:
            path = files.path(index)
            if path not in self.unreadable:
                self.unreadable[path] = reason
                print(f"warning: cannot read {path} ({reason}): {INSTEAD[split]}", file=sys.stderr, flush=True)


class ImageStream:
    """The batches of a run, each a chunk of its own. The last, smaller batch of an epoch is used.

    The crop and flip of an image are a function of (seed, epoch, its position in the training set). `anew` flips anew
    but keeps the crop: another one would have to be decoded again.
    """

    version: ClassVar[int] = 2

    def __init__(self, dataset: ImageNet, *, seed: int, batch_size: int, augmentation: str, share: Share) -> None:
        if augmentation not in AUGMENTATIONS:
            raise UserError(f"imagenet has no augmentation {augmentation!r}: use one of {', '.join(AUGMENTATIONS)}")
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
        order = generator(self.seed, "order and augmentation", epoch).permutation(size)
        keys = generator(self.seed, "mixing partners", epoch).random(size)
        starts = range(0, self.steps * self.batch_size, self.batch_size)
        sizes = [min(self.batch_size, size - start) for start in starts]
        own = [
            slice(*(start + end for end in self.share.of(count))) for start, count in zip(starts, sizes, strict=True)
        ]
        draw = (self.seed, epoch) if self.random else None
        made = self.dataset.batches("train", [order[rows] for rows in own], draw, self.share)
        for step, (rows, (pixels, _)) in enumerate(zip(own, made, strict=True)):
            index, mixing = (sent(torch.from_numpy(values[rows]), self.device) for values in (order, keys))
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
        draw = generator(self.seed, "strong crop and flip", chunk.epoch, chunk.first_step).random(len(chunk.index))
        flips = sent(torch.from_numpy(draw < 0.5), self.device)
        return torch.where(flips[:, None, None, None], chunk.pixels.flip(2), chunk.pixels)


def open_source(
    data_dir: Path | None,
    *,
    train_fraction: float = 1.0,
    imbalance: float = 1.0,
    holdout: float = 0.0,
    download: bool = False,
    side: int = SIDE,
    workers: int | None = None,
) -> ImageNet:
    """ImageNet in `data_dir` or in one of its usual sub-folders; its training images long-tailed, then thinned; with
    `holdout`, that share of them in place of the test images."""
    if download:
        raise UserError(
            "ImageNet cannot be fetched with --download (its terms ask for an account): get it from image-net.org; "
            + imagenet_folders.LAYOUT
        )
    root = imagenet_folders.find(data_dir)
    if root is None:
        raise UserError(
            f"{data_dir or 'imagenet: no --data-dir was given, which'} has no ImageNet: {imagenet_folders.LAYOUT}"
        )
    listing = imagenet_folders.scan(root)
    present = of_listing(listing, side).train_per_class
    counts = long_tailed(present, imbalance)
    thinned = [kept(count, train_fraction) for count in counts]
    train, test = imagenet_folders.first_of_each(listing.train, thinned), listing.test
    source = f"ImageNet in {root}: {_classes(listing)}, {sum(present):,} + {len(listing.test.files):,} images"
    if imbalance < 1:
        source += f"; long-tailed (imbalance {imbalance:g}): {counts_in_words(counts)}"
    if train_fraction < 1:
        source += f"; {sum(thinned)} of {sum(counts)} training images"
    whole = imagenet_folders.fingerprint(root, (train, test))
    if holdout:
        held = set(held_out_positions([label for _, label in train.files], holdout).tolist())
        parts = [[file for place, file in enumerate(train.files) if (place in held) == out] for out in (False, True)]
        train, test = (replace(train, files=type(train.files)(part)) for part in parts)
        source += f"; {len(test.files):,} training images held out, in place of the test images"
    if ignored := listing.train.ignored + listing.test.ignored:
        source += f"; {ignored} files that are no images were ignored"
    files = ImageFiles.of(train, len(listing.classes)), ImageFiles.of(test, len(listing.classes))
    return ImageNet(
        classes=listing.classes,
        train=files[0],
        test=files[1],
        train_labels=files[0].labels,
        test_labels=files[1].labels,
        fingerprint=of_part(whole, holdout),
        source=source,
        side=side,
        workers=workers,
    )


def _classes(listing: FolderListing) -> str:
    found, published = len(listing.classes), FACTS["imagenet"].num_classes
    if found < published:
        return f"{found:,} of the {published:,} classes"
    return f"{found:,} classes" + (f", not the published {published:,}" if found > published else "")

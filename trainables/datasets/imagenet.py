"""ImageNet (ILSVRC2012, O. Russakovsky et al., 2015), as class folders (train/CLASS/*.JPEG and val/CLASS/*.JPEG) or as
parquet files.

Fewer than the 1,000 classes are allowed: that is a user's subset, told apart by its fingerprint.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.data import folders
from trainables.data.counts import ImageCounts, count_files
from trainables.data.definition import DatasetDefinition
from trainables.data.folders import EXTENSIONS, FolderListing
from trainables.errors import UserError, reason_of
from trainables.recipes import IMAGENET

if TYPE_CHECKING:
    from trainables.data.file_source import FileContents

SIDE = 224
PUBLISHED = ImageCounts(1000, SIDE, (1282,) * 167 + (1281,) * 833, 50_000, evenly=True)
PLACES = (".", "imagenet", "ImageNet", "ILSVRC2012", "ILSVRC/Data/CLS-LOC", "imagenet/ILSVRC/Data/CLS-LOC")
HUB = ("imagenet1k", "imagenet2012", "ilsvrc")
"""How the hub's folders of it are called."""
LAYOUT = (
    f"it is train/CLASS/*.JPEG and val/CLASS/*.JPEG in --data-dir DIR or in DIR/{', DIR/'.join(PLACES[1:])}, or the "
    "hub's train-*.parquet and validation-*.parquet there"
)


def find(data_dir: Path | None) -> Path | None:
    """The first of the usual places in `data_dir`, itself among them, that has train/ and val/."""
    if data_dir is None:
        return None
    from trainables.data import parquet

    root = data_dir.expanduser()
    folders = (root / place for place in PLACES if all((root / place / s).is_dir() for s in ("train", "val")))
    return next(folders, None) or parquet.find_folder(root, *HUB)


def scan(root: Path) -> FolderListing:
    """Both splits by their names alone, of parquet files by their labels. Refuses the flat val/ in which ImageNet is
    distributed."""
    from trainables.data import parquet

    if tables := parquet.scan(root, *HUB):
        return tables
    val = root / "val"
    try:
        entries = list(os.scandir(val))
    except OSError as error:
        raise UserError(f"cannot list {val}: {reason_of(error)}") from error
    images = sum(1 for entry in entries if os.path.splitext(entry.name)[1].lower() in EXTENSIONS)
    if images and not any(entry.is_dir() and not entry.name.startswith(".") for entry in entries):
        raise UserError(
            f"{val} has {images} images in no class folders, as ImageNet is distributed: move each into the folder of "
            "its class, val/CLASS/*.JPEG (the script valprep.sh of PyTorch's examples does it)"
        )
    return folders.scan(root)


def read(data_dir: Path | None, *, download: bool, side: int = SIDE, workers: int | None = None) -> FileContents:
    """ImageNet's files in `data_dir` or in one of its usual sub-folders. side, workers: as in FileContents."""
    from trainables.data.file_source import FileContents

    if download:
        raise UserError(
            "ImageNet cannot be fetched with --download (its terms ask for an account): get it from image-net.org; "
            + LAYOUT
        )
    root = find(data_dir)
    if root is None:
        raise UserError(f"{data_dir or 'imagenet: no --data-dir was given, which'} has no ImageNet: {LAYOUT}")
    listing = scan(root)
    found, published = len(listing.classes), PUBLISHED.num_classes
    classes = f"{found:,} of the {published:,} classes" if found < published else f"{found:,} classes"
    if found > published:
        classes += f", not the published {published:,}"
    images = f"{len(listing.train.files):,} + {len(listing.test.files):,} images"
    return FileContents(root, listing, f"ImageNet in {root}: {classes}, {images}", side, workers)


def _class_names(root: Path) -> tuple[str, ...]:
    from trainables.data import parquet

    tables = parquet.scan(root, *HUB)
    return tables.classes if tables else folders.class_names(root)


def _unpack(data_dir: Path | None) -> None:
    from trainables.data import parquet

    parquet.unpack(find(data_dir), *HUB)


DATASET = DatasetDefinition(
    title="ImageNet",
    recipe=IMAGENET,
    read=read,
    obtain="class folders train/CLASS/* and val/CLASS/*, or the hub's parquet files, in --data-dir DIR",
    published=PUBLISHED,
    find=find,
    count=lambda root: count_files(scan(root), SIDE),
    class_names=_class_names,
    convert=_unpack,
    streamed=True,
)

"""TinyImageNet (Stanford CS231n, 2015): 200 classes of ImageNet at 64x64 pixels, 500 training images of each.

Its 10,000 validation images are the test split, for its test images have no public labels. All are decoded at every
start: a few thousand a second on each core, so a cache would save seconds and need 1.3 GB.
"""

from __future__ import annotations

import io
import shutil
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from trainables.data import fetching
from trainables.data import tinyimagenet_folders as folders
from trainables.data.counts import ImageCounts, count_files
from trainables.data.definition import DatasetDefinition
from trainables.data.folders import FolderListing
from trainables.data.tinyimagenet_folders import FOLDER, convert
from trainables.errors import UserError, reason_of
from trainables.recipes import TINYIMAGENET
from trainables.storage.locks import hold_lock

if TYPE_CHECKING:
    import numpy as np

    from trainables.data.dataset import Contents

SIDE = 64
PUBLISHED = ImageCounts(200, SIDE, (500,) * 200, 10_000)
URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
ARCHIVE = f"{FOLDER}.zip"
ARCHIVE_MD5 = "90528d7ca1a48142e341f4ef8d21d0de"
UNPACKING_SECONDS = 3600
HUB = ("tinyimagenet",)
"""How the hub's folders of it are called."""
HOW = f"add --download, or unpack {URL} or put the hub's train-*.parquet and valid-*.parquet in --data-dir DIR"


def find(data_dir: Path | None) -> Path | None:
    """Its folder, else that of its parquet files."""
    from trainables.data import parquet

    return folders.find(data_dir) or parquet.find_folder(data_dir, *HUB)


def scan(root: Path) -> FolderListing:
    from trainables.data import parquet

    return parquet.scan(root, *HUB) or folders.scan(root)


def read(data_dir: Path | None, *, download: bool) -> Contents:
    """Both splits, classes in the order of their WNIDs; mean and std are measured on the training images.

    The validation images are the same, in the same order, before they are converted and after.
    """
    from trainables.data.dataset import Contents, channel_statistics
    from trainables.data.decoding import read_splits

    if data_dir is None:
        raise UserError(f"tinyimagenet needs --data-dir DIR, the folder of its files: {HOW}")
    place = data_dir.expanduser()
    if place.exists() and not place.is_dir():
        raise UserError(f"{place} is no folder: --data-dir is the folder that holds TinyImageNet's files")
    root = find(place)
    if root is None and download:
        root = fetch(place)
    if root is None:
        packed = f" but {ARCHIVE}, which is not unpacked" if (place / ARCHIVE).exists() else ""
        raise UserError(f"{place} has no TinyImageNet{packed}: {HOW}")
    listing = scan(root)
    found = read_splits(listing, SIDE, pixels)
    mean, std = channel_statistics(found.train.images)
    source = f"TinyImageNet in {root}"
    if count_files(listing, SIDE) != PUBLISHED:
        source += (
            f"; {len(found.train):,} training and {len(found.test):,} test images of {len(listing.classes)} classes, "
            f"not the published {PUBLISHED.train_size:,}, {PUBLISHED.test_size:,} and {PUBLISHED.num_classes}"
        )
    return Contents(
        folders.class_names(root, listing.classes),
        found.train,
        found.test,
        mean,
        std,
        source,
        found.train_faults,
        found.test_faults,
    )


def pixels(path: Path) -> np.ndarray:
    """One image file as (64, 64, 3), uint8; the grey ones become RGB."""
    import numpy as np
    from PIL import Image

    from trainables.data.decoding import in_rgb
    from trainables.data.parquet import read_image

    with Image.open(io.BytesIO(read_image(path))) as image:
        if image.size != (SIDE, SIDE):
            raise UserError(
                f"the image {path} has {image.width}x{image.height} pixels, TinyImageNet's have {SIDE}x{SIDE}: "
                "replace it, or use --dataset imagefolder, which resizes"
            )
        return np.asarray(in_rgb(image))


def fetch(place: Path) -> Path:
    """Download the archive and unpack it; of several processes one does, the others wait."""
    try:
        place.mkdir(parents=True, exist_ok=True)
        with hold_lock(place / f".{FOLDER}.lock", seconds=UNPACKING_SECONDS):
            root = find(place)
            if root is None:
                if (goal := place / FOLDER).exists():
                    raise UserError(f"{goal} is there, but is no TinyImageNet: move or delete it, it is unpacked anew")
                otherwise = "use --dataset digits, which needs nothing"
                archive = fetching.fetch(URL, place, ARCHIVE, ARCHIVE_MD5, title="TinyImageNet", otherwise=otherwise)
                root = unpack(archive, goal)
            return root
    except OSError as error:
        raise UserError(
            f"cannot write into {place} ({reason_of(error)}): make it writable, or give another --data-dir"
        ) from error


def unpack(archive: Path, goal: Path) -> Path:
    """Unpack the archive's one folder, which gets its name `goal` when it is whole."""
    partial = goal.with_name(f".{goal.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as packed:
            for name in packed.namelist():
                parts = PurePosixPath(name).parts
                if parts[:1] != (FOLDER,) or ".." in parts:
                    raise UserError(f"{archive} has a file {name!r} outside its folder {FOLDER}: delete it, then {HOW}")
            packed.extractall(partial)
        (partial / FOLDER).rename(goal)
    except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"cannot unpack {archive} ({error}): if it is damaged, delete it, then {HOW}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return goal


DATASET = DatasetDefinition(
    title="TinyImageNet",
    recipe=TINYIMAGENET,
    read=read,
    obtain="--download fetches it",
    published=PUBLISHED,
    find=find,
    count=lambda root: count_files(scan(root), SIDE),
    class_names=lambda root: folders.class_names(root, scan(root).classes),
    convert=convert,
    downloadable=True,
)

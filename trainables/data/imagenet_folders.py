"""ImageNet (ILSVRC2012) as class folders: train/CLASS/*.JPEG and val/CLASS/*.JPEG. Free of torch.

Fewer than the 1,000 classes are allowed: that is a user's subset, told apart by its fingerprint.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from trainables.data import folders
from trainables.data.folders import EXTENSIONS, Files, FolderListing
from trainables.errors import UserError, reason_of

PLACES = (".", "imagenet", "ImageNet", "ILSVRC2012", "ILSVRC/Data/CLS-LOC", "imagenet/ILSVRC/Data/CLS-LOC")
LAYOUT = f"it is train/CLASS/*.JPEG and val/CLASS/*.JPEG in --data-dir DIR or in DIR/{', DIR/'.join(PLACES[1:])}"
THREADS = 16


def find(data_dir: Path | None) -> Path | None:
    """The first of the usual places in `data_dir`, itself among them, that has train/ and val/."""
    if data_dir is None:
        return None
    root = data_dir.expanduser()
    return next((root / place for place in PLACES if all((root / place / s).is_dir() for s in ("train", "val"))), None)


def scan(root: Path) -> FolderListing:
    """Both splits by their names alone: no file is opened. Refuses the flat val/ in which ImageNet is distributed."""
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


def first_of_each(files: Files, counts: Sequence[int]) -> Files:
    """The first counts[c] files of each class c."""
    classes = groupby(files.files, itemgetter(1))
    chosen = [entry for label, entries in classes for entry in list(entries)[: counts[label]]]
    return Files(files.folder, tuple(chosen), files.ignored)


def fingerprint(root: Path, splits: Iterable[Files]) -> str:
    """SHA-256, as hex, of the sorted relative paths and sizes of all files: their contents are too large to be read.

    Images that were replaced by others of exactly their sizes are not noticed. A file that cannot be asked for its size
    (a link to nothing) has the size -1; a class that has no other files is refused.
    """
    digest = hashlib.sha256()
    start = len(os.fsencode(root)) + 1

    def lines(paths: Sequence[Path]) -> bytes:
        sizes = [_size(path) for path in paths]
        if max(sizes) < 0:
            raise UserError(f"cannot read any of the images in {paths[0].parent}, for example {paths[0].name}")
        return b"".join(
            b"%s\0%d\n" % (os.fsencode(path)[start:], size) for path, size in zip(paths, sizes, strict=True)
        )

    with ThreadPoolExecutor(THREADS) as pool:
        for split in splits:
            for part in pool.map(lines, _by_class(split)):
                digest.update(part)
    return digest.hexdigest()


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return -1


def _by_class(split: Files) -> Iterator[list[Path]]:
    for _, entries in groupby(split.files, itemgetter(1)):
        yield [path for path, _ in entries]

"""The files of a user's own image folders: train/CLASS/* and val/CLASS/* (or see TESTED). Free of torch."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from trainables.errors import UserError, reason_of

SIDE = 32
THREADS = 16
EXTENSIONS = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
TESTED = ("val", "test", "validation", "valid")
"""What the folder may be called that is tested on: the first that is there."""
LAYOUT = (
    "own images are train/CLASS/*.png and val/CLASS/*.png (or test/, validation/, valid/), or the hub's "
    "train-*.parquet and test-*.parquet, in --data-dir DIR"
)


@dataclass(frozen=True)
class Files:
    """The images of one split as (path, label), sorted by class and then by path; `ignored` files are no images."""

    folder: Path
    files: tuple[tuple[Path, int], ...]
    ignored: int

    def take(self, positions: Iterable[int]) -> Files:
        """The files at ascending positions."""
        return Files(self.folder, tuple(self.files[position] for position in positions), self.ignored)


@dataclass(frozen=True)
class FolderListing:
    """Both splits of an image folder; the classes are the folders' names in sorted order."""

    classes: tuple[str, ...]
    train: Files
    test: Files


def scan(data_dir: Path | None) -> FolderListing:
    """Find the images of both splits by their names alone: no file is opened."""
    if data_dir is None:
        raise UserError(f"imagefolder needs --data-dir: {LAYOUT}")
    root = data_dir.expanduser()
    if not root.is_dir():
        raise UserError(f"{root} is no folder: {LAYOUT}")
    train = root / "train"
    test = next((root / split for split in TESTED if (root / split).is_dir()), None)
    if not train.is_dir() or test is None:
        raise UserError(f"{root} has no {'val/ or test/' if train.is_dir() else 'train/'} folder: {LAYOUT}")
    classes = _classes(train)
    if len(classes) < 2:
        raise UserError(f"{train} has {len(classes)} class folder(s), two are the least: {LAYOUT}")
    _check_same(train, classes, test, _classes(test))
    return FolderListing(classes, _files(train, classes), _files(test, classes))


def class_names(root: Path) -> tuple[str, ...]:
    """Those of the class folders; none where there is no folder of training images."""
    train = root.expanduser() / "train"
    return _classes(train) if os.path.isdir(train) else ()


def visible(entries: Iterable[str]) -> list[str]:
    return sorted(name for name in entries if not name.startswith("."))


def _classes(split: Path) -> tuple[str, ...]:
    try:
        return tuple(name for name in visible(os.listdir(split)) if (split / name).is_dir())
    except OSError as error:
        raise UserError(f"cannot list {split}: {reason_of(error)}") from error


def _check_same(train: Path, classes: tuple[str, ...], test: Path, others: tuple[str, ...]) -> None:
    for here, there, missing in (
        (train, test, sorted(set(classes) - set(others))),
        (test, train, sorted(set(others) - set(classes))),
    ):
        if missing:
            named = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
            alike = [(name, other) for name in missing for other in {*classes, *others} if _look_alike(name, other)]
            hint = f" ({alike[0][0]!a} and {alike[0][1]!a} are two names)" if alike else ""
            raise UserError(f"{there} lacks class folders that {here} has ({named}): both need the same classes{hint}")


def _look_alike(one: str, other: str) -> bool:
    """Whether two names differ in their case, their spaces or the form of their accents alone."""
    return one != other and len({unicodedata.normalize("NFKC", name).casefold().strip() for name in (one, other)}) == 1


def _files(split: Path, classes: tuple[str, ...]) -> Files:
    found: list[tuple[Path, int]] = []
    ignored = sum(1 for entry in os.scandir(split) if entry.is_file())
    for label, name in enumerate(classes):
        images, others = images_in(split / name)
        if not images:
            read = f"files that end in {', '.join(sorted(EXTENSIONS))} are read"
            there = f"{read}, and it has {others} others" if others else read
            raise UserError(
                f"class folder {split / name} has no images ({there}): add or convert some, or delete it in both splits"
            )
        found += [(path, label) for path in images]
        ignored += others
    return Files(split, tuple(found), ignored)


def _unlistable(error: OSError) -> None:
    raise UserError(f"cannot list {error.filename}: {reason_of(error)}") from error


def images_in(folder: Path) -> tuple[list[Path], int]:
    """Image files of a class folder and of the folders in it, sorted by path, and the number of other files."""
    images: list[Path] = []
    others = 0
    for parent, inner, files in os.walk(folder, onerror=_unlistable):
        inner[:] = visible(inner)
        pictures = [name for name in visible(files) if Path(name).suffix.lower() in EXTENSIONS]
        images += [Path(parent, name) for name in pictures]
        others += len(files) - len(pictures)
    return sorted(images), others


def fingerprint_files(root: Path, splits: Iterable[Files]) -> str:
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


def file_of(path: Path) -> Path:
    """The file in which an image lies: a parquet file for its rows."""
    return path.parent if path.parent.suffix == ".parquet" else path


def _size(path: Path) -> int:
    try:
        return os.stat(file_of(path)).st_size
    except OSError:
        return -1


def _by_class(split: Files) -> Iterator[list[Path]]:
    for _, entries in groupby(split.files, itemgetter(1)):
        yield [path for path, _ in entries]

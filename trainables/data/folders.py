"""The files of a user's own image folders: train/CLASS/* and val/CLASS/* (or test/CLASS/*). Free of torch."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from trainables.errors import UserError, reason_of

SIDE = 32
EXTENSIONS = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
LAYOUT = "own images are train/CLASS/*.png and val/CLASS/*.png (or test/CLASS/*.png) in --data-dir DIR"


@dataclass(frozen=True)
class Files:
    """The images of one split as (path, label), sorted by class and then by path; `ignored` files are no images."""

    folder: Path
    files: tuple[tuple[Path, int], ...]
    ignored: int


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
    test = next((root / split for split in ("val", "test") if (root / split).is_dir()), None)
    if not train.is_dir() or test is None:
        raise UserError(f"{root} has no {'val/ or test/' if train.is_dir() else 'train/'} folder: {LAYOUT}")
    classes = _classes(train)
    if len(classes) < 2:
        raise UserError(f"{train} has {len(classes)} class folder(s), two are the least: {LAYOUT}")
    _check_same(train, classes, test, _classes(test))
    return FolderListing(classes, _files(train, classes), _files(test, classes))


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
            raise UserError(f"{there} lacks class folders that {here} has ({named}): both need the same classes")


def _files(split: Path, classes: tuple[str, ...]) -> Files:
    found: list[tuple[Path, int]] = []
    ignored = sum(1 for entry in os.scandir(split) if entry.is_file())
    for label, name in enumerate(classes):
        images, others = images_in(split / name)
        if not images:
            raise UserError(f"class folder {split / name} has no images: add some, or delete it in both splits")
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

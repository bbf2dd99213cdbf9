"""The files of TinyImageNet, whose validation images come without class folders and get them once. Free of torch.

As published: train/WNID/images/*.JPEG, val/images/*.JPEG, val/val_annotations.txt, wnids.txt, words.txt. Folders that
others have sorted in place (val/WNID/ and the like, with or without the text files) are read as they are.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from trainables.data.folders import Files, FolderListing, images_in, visible
from trainables.errors import UserError, reason_of
from trainables.storage.locks import hold_lock
from trainables.storage.runs import read_file

FOLDER = "tiny-imagenet-200"
BY_CLASS = "val_by_class"
ANNOTATIONS = "val_annotations.txt"
WNID = re.compile(r"n\d{8}")
AGAIN = f"delete the folder, then unpack {FOLDER}.zip anew or add --download"


def find(data_dir: Path | None) -> Path | None:
    """TinyImageNet's folder: the one that its archive makes in `data_dir`, or `data_dir` itself."""
    if data_dir is None:
        return None
    root = data_dir.expanduser()
    return next((place for place in (root / FOLDER, root) if _wnids(place) or _folders(place / "train", WNID)), None)


def scan(root: Path) -> FolderListing:
    """Both splits by the files' names alone, sorted by class and then by name; refuses what is not whole.

    The folder of the test split says how it was found: val/images as published, val sorted by others, val_by_class.
    """
    train = root / "train"
    classes = _classes(root)
    files: list[tuple[Path, int]] = []
    ignored = 0
    for label, name in enumerate(classes):
        images, others = images_in(train / name)
        if not images:
            raise UserError(f"class folder {train / name} has no images: {AGAIN}")
        files += [(path, label) for path in images]
        ignored += others
    return FolderListing(classes, Files(train, tuple(files), ignored), _validation(root, classes))


def class_names(root: Path, classes: Sequence[str]) -> tuple[str, ...]:
    """The first word of each class in words.txt, with the WNID where two share it; the WNID where it has none."""
    first = dict(line.split("\t", 1) for line in _lines(root / "words.txt") if "\t" in line)
    words = [first.get(wnid, "").split(",")[0].strip() or wnid for wnid in classes]
    times = Counter(words)
    return tuple(word if times[word] == 1 else f"{word} ({wnid})" for word, wnid in zip(words, classes, strict=True))


def convert(data_dir: Path | None) -> None:
    """Give the validation images class folders, if they have none yet."""
    root = find(data_dir)
    if root is not None and not (root / BY_CLASS).exists():
        in_class_folders(root, scan(root))


def in_class_folders(root: Path, listing: FolderListing) -> FolderListing:
    """The listing, with the validation images in class folders, which are made beside `val` if they are not there.

    Where nothing can be written, or another process is at it, the listing stays: the annotations say the same.
    """
    if listing.test.folder != root / "val" / "images":
        return listing
    try:
        with hold_lock(root / f".{BY_CLASS}.lock", seconds=0):
            if not (root / BY_CLASS).exists():
                _sort(listing, root / BY_CLASS)
    except (OSError, UserError):
        return listing
    return replace(listing, test=_validation(root, listing.classes))


def _sort(listing: FolderListing, goal: Path) -> None:
    """Hard links, or copies where there can be none, in a folder that gets its name when it is whole."""
    partial = goal.with_name(f".{goal.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        for name in listing.classes:
            (partial / name).mkdir(parents=True)
        for path, label in listing.test.files:
            place = partial / listing.classes[label] / path.name
            try:
                os.link(path.resolve(), place)
            except OSError:
                shutil.copyfile(path, place)
        partial.rename(goal)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _lines(file: Path) -> list[str]:
    """The lines of a text file; none where there is no such file."""
    try:
        return read_file(file).decode(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"cannot read {file} ({reason_of(error)}): make it readable") from error


def _wnids(root: Path) -> set[str]:
    return {line.strip() for line in _lines(root / "wnids.txt")} - {""}


def _folders(place: Path, like: re.Pattern[str]) -> set[str]:
    """The folders in `place` with such a name; none where there is no such place."""
    try:
        return {name for name in visible(os.listdir(place)) if like.fullmatch(name) and (place / name).is_dir()}
    except (FileNotFoundError, NotADirectoryError):
        return set()
    except OSError as error:
        raise UserError(f"cannot list {place}: {reason_of(error)}") from error


def _classes(root: Path) -> tuple[str, ...]:
    train, listed = root / "train", _wnids(root)
    present = _folders(train, re.compile(".*") if listed else WNID)
    if len(listed or present) < 2:
        raise UserError(f"{root} has {len(listed or present)} classes, two are the least: {AGAIN}")
    for odd, what in (
        (sorted(listed - present), f"{root / 'wnids.txt'} names classes that have no folder in {train}"),
        (sorted(present - listed) if listed else [], f"{train} has folders that {root / 'wnids.txt'} does not name"),
    ):
        if odd:
            raise UserError(f"{what} ({_name_some(odd)}): {AGAIN}")
    return tuple(sorted(present))


def _name_some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _validation(root: Path, classes: tuple[str, ...]) -> Files:
    """The validation images, wherever their classes can be known for sure."""
    annotations, made, val = root / "val" / ANNOTATIONS, root / BY_CLASS, root / "val"
    annotated = _read_annotations(annotations, classes)
    if made.is_dir():
        sorted_, loose, ignored = _find_images(made, classes)
        if loose or (annotated is not None and sorted(_labels(sorted_)) != sorted(annotated.items())):
            raise UserError(f"{made} has other images than {annotations} names: delete {made}, it is made anew")
        return _check(Files(made, sorted_, ignored), classes)
    if not val.is_dir():
        raise UserError(f"{root} has no val folder: {AGAIN}")
    sorted_, loose, ignored = _find_images(val, classes)
    if annotated is None:
        if loose:
            raise UserError(
                f"{len(sorted_)} images of {val} are in class folders and {len(loose)} in none, and without "
                f"{ANNOTATIONS} the classes of these are unknown: {AGAIN}"
            )
        return _check(Files(val, sorted_, ignored), classes)
    if unknown := sorted(loose.keys() - annotated.keys()):
        raise UserError(f"{val} has images that {ANNOTATIONS} does not name ({_name_some(unknown)}): {AGAIN}")
    if loose.keys() == annotated.keys():
        ordered = sorted((label, name) for name, label in annotated.items())
        return _check(Files(val / "images", tuple((loose[name], label) for label, name in ordered), ignored), classes)
    if sorted(_labels(sorted_)) == sorted(annotated.items()):
        return _check(Files(val, sorted_, ignored), classes)
    placed = annotated.items() & set(_labels(sorted_))
    nowhere = annotated.keys() - loose.keys() - {name for name, _ in placed}
    raise UserError(
        f"{val} is incomplete or half sorted: of the {len(annotated)} images that {ANNOTATIONS} names, {len(placed)} "
        f"are in their class folders, {len(loose)} in none, {len(nowhere)} are missing: {AGAIN}"
    )


def _find_images(place: Path, classes: tuple[str, ...]) -> tuple[tuple[tuple[Path, int], ...], dict[str, Path], int]:
    """Images somewhere in a class's folder, by class and name; by name those in none; how many files are no images."""
    labels = {name: label for label, name in enumerate(classes)}
    images, others = images_in(place)
    sorted_: list[tuple[Path, int]] = []
    loose: dict[str, Path] = {}
    for path in images:
        inside = path.relative_to(place).parts[:-1]
        label = next((labels[part] for part in inside if part in labels), None)
        if label is None:
            loose[path.name] = path
        else:
            sorted_.append((path, label))
    return tuple(sorted(sorted_, key=lambda found: (found[1], found[0].name))), loose, others


def _labels(files: tuple[tuple[Path, int], ...]) -> list[tuple[str, int]]:
    return [(path.name, label) for path, label in files]


def _read_annotations(file: Path, classes: tuple[str, ...]) -> dict[str, int] | None:
    """The label of each image that the annotations name; None where there are none."""
    if not file.exists():
        return None
    labels = {name: label for label, name in enumerate(classes)}
    annotated: dict[str, int] = {}
    for number, line in enumerate(_lines(file), 1):
        match line.split():
            case []:
                continue
            case [name, wnid, *_] if wnid in labels and name not in annotated:
                annotated[name] = labels[wnid]
            case _:
                raise UserError(f"line {number} of {file} is not a new image and a class of wnids.txt: {AGAIN}")
    if not annotated:
        raise UserError(f"{file} names no image: {AGAIN}")
    return annotated


def _check(files: Files, classes: tuple[str, ...]) -> Files:
    absent = sorted(set(range(len(classes))) - {label for _, label in files.files})
    if absent:
        raise UserError(f"{files.folder} has no image of the class {_name_some([classes[a] for a in absent])}: {AGAIN}")
    return files

"""Images in parquet files as the Hugging Face hub lays them out: `train-00000-of-00002.parquet` and the like (or
`train.parquet`, or a folder `train`), with the columns `image` (or `img`: a struct with the file as `bytes`) and
`label` (or `fine_label`: a whole number or a word).

An image's path is `FILE.parquet/ROW`. Images that are read while they are trained on are unpacked once: the bytes of a
file's images, one after the other, and where each begins. From the table itself, a hundred would be read for each.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from trainables.data.folders import Files, FolderListing, file_of
from trainables.errors import UserError, reason_of
from trainables.storage.locks import hold_lock
from trainables.storage.runs import check_regular, read_file

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

IMAGES, LABELS = ("image", "img"), ("label", "fine_label", "labels")
TRAIN, TEST = ("train",), ("validation", "valid", "val", "dev", "test")
"""How the files of a split begin; of several test splits the first that is there."""
CACHED = "datasets--*/snapshots/*"
"""In the hub's cache."""
SHARD = re.compile(r".*-(\d{5})-of-(\d{5})(-\w+)?\.parquet")
UNPACKED = "unpacked"
SECONDS = 6 * 3600
"""For which another process may unpack."""
AGAIN = "delete it, then copy it anew"


class Columns(NamedTuple):
    image: str
    label: str


def shards(folder: Path, split: str) -> list[Path]:
    """The files of a split in a folder, in the order of their names."""
    whole = folder / f"{split}.parquet"
    inner = sorted((folder / split).glob("*.parquet"))
    return sorted(folder.glob(f"{split}-*.parquet")) or ([whole] if whole.is_file() else inner)


def missing_shard(folder: Path, split: str) -> str | None:
    """The first shard that the folder lacks by what the others' names (`train-00000-of-00002`) promise, in words."""
    matches = [match for match in (SHARD.fullmatch(file.name) for file in shards(folder, split)) if match]
    total = max((int(match[2]) for match in matches), default=0)
    absent = sorted(set(range(total)) - {int(match[1]) for match in matches})
    return f"{folder} has no {split}-{absent[0]:05d}-of-{total:05d}.parquet" if absent else None


@contextlib.contextmanager
def open_parquet(file: Path, again: str = AGAIN) -> Iterator[pq.ParquetFile]:
    """A file, whose damages are one line. again: what to do about them."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError as error:
        raise UserError(f"{file} cannot be read without pyarrow: pip install pyarrow") from error
    try:
        check_regular(file)
        with pq.ParquetFile(file) as table:
            yield table
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UserError(f"{file} is truncated or damaged ({reason}): {again}") from error


def find_columns(schema: pa.Schema, labels: Sequence[str] = LABELS) -> Columns | None:
    """The columns of images and of labels; None where one of them is not there."""
    import pyarrow as pa

    columns = {field.name: field.type for field in schema}
    structs = [name for name in IMAGES if name in columns and pa.types.is_struct(columns[name])]
    images = [name for name in structs if columns[name].get_field_index("bytes") >= 0]
    kinds = (pa.types.is_integer, pa.types.is_string, pa.types.is_large_string)
    found = [name for name in labels if name in columns and any(fits(columns[name]) for fits in kinds)]
    return Columns(images[0], found[0]) if images and found else None


def find_folder(data_dir: Path | None, *names: str) -> Path | None:
    """The folder of the training images' files; None where there are none, or class folders.

    names: parts of the names of folders that are looked into, in lower case without hyphens; without any, all are.
    """
    root = None if data_dir is None else data_dir.expanduser()
    if root is None or not root.is_dir() or any(path.is_dir() for path in root.glob("train/*")):
        return None
    patterns = CACHED, f"hub/{CACHED}", "snapshots/*"
    cached = [place for pattern in patterns for place in sorted(root.glob(pattern))]
    fitting = [place for place in cached if _is_named(place.parts[-3], names)]
    inner = [place for place in _folders(root) if place.name == "data" or _is_named(place.name, names)]
    inner += [place / "data" for place in inner if (place / "data").is_dir()]
    places = [root, *inner, *(each for place in fitting for each in (place, *_folders(place)))]
    tables = [place for place in places if _split(place, TRAIN)]
    if len(tables) > 1:
        raise UserError(
            f"{root} has several data sets in parquet files ({_name_some(tables)}): give --data-dir one of them"
        )
    if not tables and not names and not (root / "train").is_dir():
        files = (file for place in places for file in sorted(place.glob("*.parquet")))
        if some := next(files, None):
            raise UserError(f"{some.parent} has parquet files ({some.name}) but none of training images: {_layout()}")
    return tables[0] if tables else None


def _folders(place: Path) -> list[Path]:
    try:
        return sorted(path for path in place.iterdir() if path.is_dir())
    except OSError as error:
        raise UserError(f"cannot list {place}: {reason_of(error)}") from error


def _is_named(folder: str, names: Sequence[str]) -> bool:
    plain = folder.lower().replace("-", "").replace("_", "")
    return (not names and not folder.startswith(".")) or any(name in plain for name in names)


def scan(data_dir: Path | None, *names: str) -> FolderListing | None:
    """Both splits of what `find_folder` finds, by their labels alone."""
    folder = find_folder(data_dir, *names)
    if folder is None:
        return None
    test = _split(folder, TEST)
    if test is None:
        raise UserError(f"{folder} has no parquet files of test images: {_layout()}")
    for split in ("train", test):
        if lacking := missing_shard(folder, split):
            raise UserError(f"{lacking}: copy it there too")
    return _listing(folder, test)


def _split(folder: Path, names: Sequence[str]) -> str | None:
    return next((name for name in names if shards(folder, name)), None)


def _layout() -> str:
    return f"own images in parquet files are train-*.parquet and one of {', '.join(f'{name}-*' for name in TEST)}"


def _name_some(paths: Sequence[Path]) -> str:
    return ", ".join(map(str, paths[:2])) + (f" and {len(paths) - 2} more" if len(paths) > 2 else "")


def _listing(folder: Path, test: str) -> FolderListing:
    """Sorted by class, then by file and row. test: the name of that split."""
    found = {file: _labels(file) for name in ("train", test) for file in shards(folder, name)}
    named = next((names for names, _ in found.values() if names), ())
    values = {value for _, labels in found.values() for value in labels}
    words = sorted(value for value in values if isinstance(value, str))
    highest = max((value for value in values if isinstance(value, int)), default=-1)
    if not named and highest >= (images := sum(len(labels) for _, labels in found.values())):
        raise UserError(f"the labels in {folder} go up to {highest}, of {images} images: number the classes from 0 on")
    classes = tuple(words) or _each_once(named) or tuple(map(str, range(highest + 1)))
    if words and highest >= 0:
        raise UserError(f"some labels in {folder} are words ({words[0]!r}) and others whole numbers: use one kind")
    if len(classes) < 2:
        raise UserError(f"all images in {folder} have the label {classes[0]!r}: two classes are the least")
    if highest >= len(classes):
        raise UserError(f"the labels in {folder} are of {highest + 1} classes, {len(classes)} named")
    place = {word: label for label, word in enumerate(words)}

    def split(name: str) -> Files:
        rows: list[tuple[Path, int]] = []
        for file in shards(folder, name):
            values = enumerate(found[file][1])
            rows += [(file / str(row), place[value] if isinstance(value, str) else value) for row, value in values]
        return Files(folder / name, tuple(sorted(rows, key=lambda row: row[1])), 0)

    listing = FolderListing(classes, split("train"), split(test))
    if absent := sorted({*range(len(classes))} - {label for _, label in listing.train.files}):
        raise UserError(
            f"{folder} has no training image of the class {classes[absent[0]]!r}: each class, from 0 on, needs one"
        )
    return listing


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    """With the label behind a name that several classes have."""
    return tuple(f"{name} ({label})" if names.count(name) > 1 else name for label, name in enumerate(names))


def _labels(file: Path) -> tuple[tuple[str, ...], list[int | str]]:
    """The names of the classes, if the file has them, and the label of each row."""
    with open_parquet(file) as table:
        schema = table.schema_arrow
        columns = find_columns(schema)
        if columns is None:
            there = ", ".join(f"{field.name} ({field.type})" for field in schema)
            what = "image (a struct with bytes) and label (whole numbers or words)"
            raise UserError(f"{file} has no images with labels: it has the columns {there}, and {what} are read")
        values = table.read(columns=[columns.label]).column(columns.label).to_pylist()
    if not values or None in values or any(isinstance(value, int) and value < 0 for value in values):
        raise UserError(
            f"{file} has images without a label (none, or one below 0) in its column {columns.label}: "
            "give a split that has all"
        )
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        names = tuple(map(str, features[columns.label]["names"]))
    except (ValueError, KeyError, TypeError):
        names = ()
    return names, values


def is_row(path: Path) -> bool:
    return file_of(path) != path


def read_image(path: Path) -> bytes:
    """The bytes of an image's file, wherever it lies."""
    if not is_row(path):
        return read_file(path)
    file, row = path.parent, int(path.name)
    content, ends = _find_unpacked(file)
    if _is_fresh(content, file):
        start, end = _read_ends(ends)[row : row + 2].tolist()
        return os.pread(_handle(content), end - start, start)
    starts = _find_starts(file)
    group = int(np.searchsorted(starts, row, side="right")) - 1
    return _group(file, group)[row - int(starts[group])]


@lru_cache(maxsize=4096)
def _find_starts(file: Path) -> np.ndarray:
    """The first row of each row group."""
    with open_parquet(file) as table:
        sizes = [table.metadata.row_group(group).num_rows for group in range(table.num_row_groups)]
    return np.array([0, *accumulate(sizes)])[:-1]


@lru_cache(maxsize=16)
def _group(file: Path, group: int) -> list[bytes]:
    with open_parquet(file) as table:
        columns = find_columns(table.schema_arrow)
        assert columns is not None
        images = table.read_row_group(group, columns=[columns.image]).column(columns.image).combine_chunks()
    # Where the bytes are not in the table, nothing can be decoded.
    return [content or b"" for content in images.field("bytes").to_pylist()]


def _find_unpacked(file: Path) -> tuple[Path, Path]:
    """The bytes of a file's images, and where they end."""
    folder = file.parent / UNPACKED
    return folder / f"{file.name}.images", folder / f"{file.name}.ends.npy"


def _is_fresh(content: Path, file: Path) -> bool:
    try:
        return content.stat().st_mtime_ns >= file.stat().st_mtime_ns
    except FileNotFoundError:
        return False


@lru_cache(maxsize=4096)
def _read_ends(path: Path) -> np.ndarray:
    return np.load(path)


@lru_cache(maxsize=4096)
def _handle(path: Path) -> int:
    return os.open(path, os.O_RDONLY)


def unpack(data_dir: Path | None, *names: str) -> None:
    """Unpack what `scan` finds, as far as it is not yet; where nothing can be written, say so and leave it."""
    listing = scan(data_dir, *names)
    splits = (listing.train, listing.test) if listing else ()
    for file in dict.fromkeys(path.parent for split in splits for path, _ in split.files):
        content, ends = _find_unpacked(file)
        try:
            content.parent.mkdir(exist_ok=True)
            with hold_lock(content.with_suffix(".lock"), seconds=SECONDS):
                if not _is_fresh(content, file):
                    _unpack(file, content, ends)
        except OSError as error:
            print(f"warning: cannot unpack {file} ({reason_of(error)}): its images are read slowly", file=sys.stderr)
            return


def _unpack(file: Path, content: Path, ends: Path) -> None:
    partial = content.with_suffix(".partial")
    places = [0]
    with partial.open("wb") as out:
        for image in _images(file):
            places.append(places[-1] + out.write(image))
    np.save(ends, np.array(places))
    partial.replace(content)


def _images(file: Path) -> Iterable[bytes]:
    for group in range(len(_find_starts(file))):
        yield from _group.__wrapped__(file, group)

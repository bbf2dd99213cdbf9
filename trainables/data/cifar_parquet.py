"""CIFAR as the Hugging Face hub distributes it: `train-*.parquet` and `test-*.parquet` (or one file each), one PNG a
row."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from trainables.data.cifar_files import SIDE, CifarFiles
from trainables.data.cifar_python import Arrays
from trainables.data.decoding import UNREADABLE, in_threads, why_unreadable
from trainables.data.parquet import CACHED, Columns, find_columns, missing_shard, open_parquet, shards
from trainables.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

SPLITS = ("train", "test")
ROWS = 1000


def cached_folders(root: Path, cifar: CifarFiles) -> list[Path]:
    """Where the hub's cache has the files, if `root` is that cache or holds it."""
    places = [place for outer in (root, root / "hub") for place in sorted(outer.glob(CACHED))]
    own = re.compile(rf"{cifar.name}(?!\d)")
    named = [place for place in places if own.search(place.parts[-3].lower().replace("-", ""))]
    inner = (".", cifar.name, "data", "plain_text")
    return [place / folder for place in named for folder in inner if (place / folder).is_dir()]


def present(folder: Path) -> bool:
    return any(shards(folder, split) for split in SPLITS)


def missing(folder: Path) -> str | None:
    """The first file that the folder lacks, in words."""
    for split in SPLITS:
        if not shards(folder, split):
            return f"{folder} has no {split}-*.parquet and no {split}.parquet"
        if lacking := missing_shard(folder, split):
            return lacking
    return None


def read_folder(folder: Path, cifar: CifarFiles) -> dict[str, Arrays]:
    """Both splits, their shards in the order of their names."""
    splits: dict[str, Arrays] = {}
    for split in SPLITS:
        parts = [read_file(file, cifar) for file in shards(folder, split)]
        images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        splits[split] = (images, labels)
    return splits


def read_file(file: Path, cifar: CifarFiles) -> Arrays:
    """One parquet file as images (N, 32, 32, 3), uint8, and labels (N,), int64."""
    with open_parquet(file, cifar.again) as table:
        columns = find_columns(table.schema_arrow, cifar.columns)
        if columns is None:
            raise UserError(
                f"{file} is not {cifar.title}: it has the columns {', '.join(table.schema_arrow.names)} instead of "
                f"img.bytes and {' or '.join(cifar.columns)}"
            )
        batches = table.iter_batches(ROWS, columns=[*columns])
        parts = list(in_threads(lambda batch: _decode(file, batch, columns, cifar), batches))
    if not parts:
        raise UserError(f"{file} has no rows: {cifar.again}")
    return np.concatenate([images for images, _ in parts]), np.concatenate([labels for _, labels in parts])


def _decode(file: Path, batch: pa.RecordBatch, columns: Columns, cifar: CifarFiles) -> Arrays:
    encoded = batch.column(columns.image).field("bytes").to_pylist()
    labels = batch.column(columns.label)
    if labels.null_count or None in encoded:
        raise UserError(f"{file} has rows without an image or without a label: {cifar.again}")
    images = np.empty((len(encoded), SIDE, SIDE, 3), np.uint8)
    for row, png in zip(images, encoded, strict=True):
        row[:] = _pixels(file, png, cifar)
    return images, labels.to_numpy().astype(np.int64)


def _pixels(file: Path, png: bytes, cifar: CifarFiles) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
            if image.size != (SIDE, SIDE) or image.mode != "RGB":
                raise UserError(
                    f"{file} has an image of {image.size[0]}x{image.size[1]} pixels in {image.mode}, "
                    f"{cifar.title}'s are {SIDE}x{SIDE} in RGB"
                )
            return np.asarray(image)
    except UNREADABLE as error:
        raise UserError(f"{file} has a damaged image ({why_unreadable(error)}): {cifar.again}") from error

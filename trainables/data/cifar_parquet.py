"""CIFAR-100 as the Hugging Face hub distributes it: `train-*.parquet` and `test-*.parquet` (or one file each), one PNG
a row.

Columns: one of IMAGES (a struct with the PNG file as `bytes`), one of LABELS.
"""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from trainables.data.cifar_python import AGAIN, Arrays
from trainables.data.decoding import UNREADABLE, in_threads, why_unreadable
from trainables.errors import UserError
from trainables.storage.runs import check_regular

SPLITS = ("train", "test")
ROWS = 1000
IMAGES, LABELS = ("img", "image"), ("fine_label", "label")
SHARD = re.compile(r".*-(\d{5})-of-(\d{5})\.parquet")


def shards(folder: Path, split: str) -> list[Path]:
    whole = folder / f"{split}.parquet"
    return sorted(folder.glob(f"{split}-*.parquet")) or ([whole] if whole.is_file() else [])


def cached_folders(root: Path) -> list[Path]:
    """Where the hub's cache has the files, if `root` is that cache or holds it."""
    places = [place for outer in (root, root / "hub") for place in sorted(outer.glob("datasets--*/snapshots/*"))]
    named = [place for place in places if "cifar100" in place.parts[-3].lower().replace("-", "")]
    return [place / inner for place in named for inner in (".", "cifar100", "data") if (place / inner).is_dir()]


def present(folder: Path) -> bool:
    return any(shards(folder, split) for split in SPLITS)


def missing(folder: Path) -> str | None:
    """The first shard that the folder lacks by what the others' names (`train-00000-of-00002`) promise, in words."""
    for split in SPLITS:
        files = shards(folder, split)
        if not files:
            return f"{folder} has no {split}-*.parquet and no {split}.parquet"
        matches = [match for match in (SHARD.fullmatch(file.name) for file in files) if match]
        total = max((int(match[2]) for match in matches), default=0)
        absent = sorted(set(range(total)) - {int(match[1]) for match in matches})
        if absent:
            return f"{folder} has no {split}-{absent[0]:05d}-of-{total:05d}.parquet"
    return None


def read_folder(folder: Path) -> dict[str, Arrays]:
    """Both splits, their shards in the order of their names."""
    splits: dict[str, Arrays] = {}
    for split in SPLITS:
        parts = [read_file(file) for file in shards(folder, split)]
        images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        splits[split] = (images, labels)
    return splits


def read_file(file: Path) -> Arrays:
    """One parquet file as images (N, 32, 32, 3), uint8, and labels (N,), int64."""
    try:
        check_regular(file)
        with pq.ParquetFile(file) as table:
            names = _columns(file, table.schema_arrow)
            batches = table.iter_batches(ROWS, columns=names)
            parts = list(in_threads(lambda batch: _decode(file, batch, *names), batches))
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UserError(f"{file} is truncated or damaged ({reason}): {AGAIN}") from error
    if not parts:
        raise UserError(f"{file} has no rows: {AGAIN}")
    return np.concatenate([images for images, _ in parts]), np.concatenate([labels for _, labels in parts])


def _columns(file: Path, schema: pa.Schema) -> list[str]:
    """The columns of images and labels."""
    columns = {field.name: field.type for field in schema}
    images = [name for name in IMAGES if name in columns and pa.types.is_struct(columns[name])]
    images = [name for name in images if columns[name].get_field_index("bytes") >= 0]
    labels = [name for name in LABELS if pa.types.is_integer(columns.get(name, pa.null()))]
    if not images or not labels:
        raise UserError(
            f"{file} is not CIFAR-100: it has the columns {', '.join(columns)} instead of img.bytes and fine_label (or "
            "image.bytes and label)"
        )
    return [images[0], labels[0]]


def _decode(file: Path, batch: pa.RecordBatch, image: str, label: str) -> Arrays:
    encoded = batch.column(image).field("bytes").to_pylist()
    labels = batch.column(label)
    if labels.null_count or None in encoded:
        raise UserError(f"{file} has rows without an image or without a label: {AGAIN}")
    images = np.empty((len(encoded), 32, 32, 3), np.uint8)
    for row, png in zip(images, encoded, strict=True):
        row[:] = _pixels(file, png)
    return images, labels.to_numpy().astype(np.int64)


def _pixels(file: Path, png: bytes) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
            if image.size != (32, 32) or image.mode != "RGB":
                raise UserError(
                    f"{file} has an image of {image.size[0]}x{image.size[1]} pixels in {image.mode}, "
                    "CIFAR-100's are 32x32 in RGB"
                )
            return np.asarray(image)
    except UNREADABLE as error:
        raise UserError(f"{file} has a damaged image ({why_unreadable(error)}): {AGAIN}") from error

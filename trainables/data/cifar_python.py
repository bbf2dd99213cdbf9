"""CIFAR-100's own files: Python 2 pickles, in a folder or in the archive.

A pickle can run code, so each is read only after its MD5 equals the published one, and then by an unpickler that knows
nothing but NumPy arrays.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from trainables.errors import UserError, reason_of
from trainables.storage.runs import read_file

MD5 = {"train": "16019d7e3df5f24257cddd939b257f8d", "test": "f0ef6b0ae62326f3e7ffdfab6717acfc"}
AGAIN = "delete it, then copy CIFAR-100 anew or add --download, or use --dataset digits"

Arrays = tuple[np.ndarray, np.ndarray]
"""Images (N, 32, 32, 3), uint8, and labels (N,), int64."""


def missing(folder: Path) -> str | None:
    """Which of the two files the folder lacks, in words."""
    absent = [name for name in MD5 if not (folder / name).is_file()]
    return f"{folder} lacks the file {' and '.join(map(repr, absent))}" if absent else None


def read_folder(folder: Path) -> dict[str, Arrays]:
    """Both splits of an unpacked `cifar-100-python`."""
    splits: dict[str, Arrays] = {}
    for split in MD5:
        try:
            blob = read_file(folder / split)
        except OSError as error:
            raise UserError(f"cannot read {folder / split} ({reason_of(error)}): make it readable") from error
        splits[split] = decode(verified(split, blob, folder / split))
    return splits


def read_archive(archive: Path) -> dict[str, Arrays]:
    """Both splits straight from `cifar-100-python.tar.gz`: nothing is written, so the folder may be read-only."""
    splits: dict[str, Arrays] = {}
    try:
        with tarfile.open(archive, "r|gz") as tar:
            for member in tar:
                split = member.name.removeprefix("./").removeprefix("cifar-100-python/")
                content = tar.extractfile(member) if split in MD5 else None
                if content is not None:
                    splits[split] = decode(verified(split, content.read(), archive))
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise UserError(f"{archive} is truncated or damaged ({error}): {AGAIN}") from error
    absent = [split for split in MD5 if split not in splits]
    if absent:
        raise UserError(f"{archive} lacks {' and '.join(absent)}: {AGAIN}")
    return splits


def verified(split: str, blob: bytes, path: Path) -> bytes:
    """`blob`, if its MD5 is the published one."""
    if hashlib.md5(blob, usedforsecurity=False).hexdigest() != MD5[split]:
        raise UserError(f"{path} is not CIFAR-100's {split!r} file as published (its MD5 differs): {AGAIN}")
    return blob


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("numpy", "dtype"):
            return _dtype
        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (module, name) == ("numpy.core.multiarray", "_reconstruct"):
            return _empty_array
        raise pickle.UnpicklingError(f"{module}.{name} has no place in CIFAR-100")


def _dtype(code: str, align: int, copy: int) -> np.dtype:
    """Python 2's NumPy wrote 0 and 1 for the flags, of which NumPy 2.4.0 to 2.4.4 warn."""
    return np.dtype(code, bool(align), bool(copy))


def _empty_array(kind: type[np.ndarray], shape: tuple[int, ...], code: str) -> np.ndarray:
    """What `_reconstruct` makes: an array that the pickle's next instruction fills."""
    return np.ndarray.__new__(kind, shape, code)


def decode(blob: bytes) -> Arrays:
    """A pickled {'data': (N, 3072) uint8 by channel, row, column; 'fine_labels': N integers} as images and labels."""
    content = _ArrayUnpickler(io.BytesIO(blob), encoding="latin1").load()
    images = content["data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), np.asarray(content["fine_labels"], dtype=np.int64)

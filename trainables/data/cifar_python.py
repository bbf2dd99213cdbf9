"""CIFAR's own files: Python 2 pickles, in a folder or in the archive.

A pickle can run code, so each is read only after its MD5 equals the published one, and then by an unpickler that knows
nothing but NumPy arrays.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trainables.data.cifar_files import SIDE, CifarFiles
from trainables.errors import UserError, reason_of
from trainables.storage.runs import read_file

Arrays = tuple[np.ndarray, np.ndarray]
"""Images (N, 32, 32, 3), uint8, and labels (N,), int64."""


def sums(cifar: CifarFiles) -> dict[str, str]:
    """The MD5 of each file."""
    return {name: md5 for files in cifar.parts.values() for name, md5 in files.items()}


def missing(folder: Path, cifar: CifarFiles) -> str | None:
    """Which of the files the folder lacks, in words."""
    absent = [name for name in sums(cifar) if not (folder / name).is_file()]
    return f"{folder} lacks the file {' and '.join(map(repr, absent))}" if absent else None


def read_folder(folder: Path, cifar: CifarFiles) -> dict[str, Arrays]:
    """Both splits of an unpacked archive."""
    blobs: dict[str, bytes] = {}
    for name in sums(cifar):
        try:
            blobs[name] = read_file(folder / name)
        except OSError as error:
            raise UserError(f"cannot read {folder / name} ({reason_of(error)}): make it readable") from error
        check_sum(name, blobs[name], folder / name, cifar)
    return put_together(blobs, cifar)


def read_archive(archive: Path, cifar: CifarFiles) -> dict[str, Arrays]:
    """Both splits straight from the archive: nothing is written, so the folder may be read-only."""
    blobs: dict[str, bytes] = {}
    known = sums(cifar)
    try:
        with tarfile.open(archive, "r|gz") as tar:
            for member in tar:
                name = member.name.removeprefix("./").removeprefix(f"{cifar.folder}/")
                content = tar.extractfile(member) if name in known else None
                if content is not None:
                    blobs[name] = content.read()
                    check_sum(name, blobs[name], archive, cifar)
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise UserError(f"{archive} is truncated or damaged ({error}): {cifar.again}") from error
    absent = [name for name in known if name not in blobs]
    if absent:
        raise UserError(f"{archive} lacks {' and '.join(absent)}: {cifar.again}")
    return put_together(blobs, cifar)


def put_together(blobs: Mapping[str, bytes], cifar: CifarFiles) -> dict[str, Arrays]:
    """The splits of the contents of their files."""
    splits: dict[str, Arrays] = {}
    for split, names in cifar.parts.items():
        parts = [decode(blobs[name], cifar) for name in names]
        images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        splits[split] = images, labels
    return splits


def check_sum(name: str, blob: bytes, path: Path, cifar: CifarFiles) -> None:
    """Refuse content whose MD5 is not the published one."""
    if hashlib.md5(blob, usedforsecurity=False).hexdigest() != sums(cifar)[name]:
        raise UserError(f"{path} is not {cifar.title}'s {name!r} file as published (its MD5 differs): {cifar.again}")


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("numpy", "dtype"):
            return _dtype
        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (module, name) == ("numpy.core.multiarray", "_reconstruct"):
            return _empty_array
        raise pickle.UnpicklingError(f"{module}.{name} has no place in CIFAR")


def _dtype(code: str, align: int, copy: int) -> np.dtype:
    """Python 2's NumPy wrote 0 and 1 for the flags, of which NumPy 2.4.0 to 2.4.4 warn."""
    return np.dtype(code, bool(align), bool(copy))


def _empty_array(kind: type[np.ndarray], shape: tuple[int, ...], code: str) -> np.ndarray:
    """What `_reconstruct` makes: an array that the pickle's next instruction fills."""
    return np.ndarray.__new__(kind, shape, code)


def decode(blob: bytes, cifar: CifarFiles) -> Arrays:
    """A pickled {'data': (N, 3072) uint8 by channel, row, column; LABELS: N integers} as images and labels."""
    content = _ArrayUnpickler(io.BytesIO(blob), encoding="latin1").load()
    images = content["data"].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), np.asarray(content[cifar.labels], dtype=np.int64)

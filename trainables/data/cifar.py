"""CIFAR-10 and CIFAR-100, from whichever copy is there.

Three layouts are found in `data_dir` and in the folders that the tools which write them make: the unpacked folder of
the archive, the parquet files of the Hugging Face hub, and the archive. Copies differ in the order of their images, so
both splits are put in one of their own (`in_fixed_order`): whatever was read, the data set has the same tensors and the
same fingerprint.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.data import fetching
from trainables.data.cifar_files import SIDE, CifarFiles
from trainables.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from trainables.data.cifar_python import Arrays
    from trainables.data.dataset import Contents, Split


@dataclass(frozen=True)
class Found:
    """A layout found at `path`; `missing` says what of it is not there, and is None where it is whole."""

    path: Path
    layout: str
    missing: str | None
    read: Callable[[Path, CifarFiles], dict[str, Arrays]]


def read(cifar: CifarFiles, data_dir: Path | None, *, download: bool) -> Contents:
    """The images of the first whole layout in `data_dir`, downloaded there first if that is asked for and needed."""
    from trainables.data.dataset import Contents

    if data_dir is None:
        raise UserError(f"{cifar.name} needs --data-dir DIR, the folder of its files: {cifar.how}")
    root = data_dir.expanduser()
    if root.exists() and not root.is_dir():
        raise UserError(f"{root} is no folder: --data-dir is the folder that holds {cifar.title}'s files")
    found = search(cifar, root)
    whole = next((candidate for candidate in found if candidate.missing is None), None)
    if download and (whole is None or whole.layout == "archive"):
        whole = fetch(cifar, root if whole is None else whole.path.parent)
    if whole is None:
        title = cifar.title
        partial = f"{root} has an incomplete {title}: {found[0].missing}" if found else f"{root} has no {title}"
        raise UserError(f"{partial}: {cifar.how}")
    arrays = whole.read(whole.path, cifar)
    splits = {split: check_split(cifar, split, *both, whole.path) for split, both in arrays.items()}
    return Contents(
        cifar.classes,
        in_fixed_order(*splits["train"]),
        in_fixed_order(*splits["test"]),
        cifar.mean,
        cifar.std,
        f"{cifar.title} ({whole.layout}) in {whole.path}",
    )


def find(cifar: CifarFiles, data_dir: Path) -> Path | None:
    """The first whole layout in `data_dir`."""
    return next((found.path for found in search(cifar, data_dir) if found.missing is None), None)


def search(cifar: CifarFiles, root: Path) -> list[Found]:
    """Every layout in `root` and its usual sub-folders, whole or not, the fastest to read first."""
    from trainables.data import cifar_parquet, cifar_python

    folders = [root / place for place in cifar.places if (root / place).is_dir()]
    found: list[Found] = []
    for folder in (inner for outer in folders for inner in (outer, outer / cifar.folder)):
        files = [(folder / name).is_file() for name in cifar_python.sums(cifar)]
        if any(files):
            missing = cifar_python.missing(folder, cifar)
            found.append(Found(folder, "python", missing, cifar_python.read_folder))
    for folder in (*folders, *cifar_parquet.cached_folders(root, cifar)):
        if cifar_parquet.present(folder):
            found.append(Found(folder, "parquet", cifar_parquet.missing(folder), cifar_parquet.read_folder))
    for folder in folders:
        if (folder / cifar.archive).is_file():
            found.append(Found(folder / cifar.archive, "archive", None, cifar_python.read_archive))
    return found


def fetch(cifar: CifarFiles, folder: Path) -> Found:
    """Download the archive; nothing is fetched where it is already whole."""
    from trainables.data import cifar_python

    otherwise = "use --dataset digits"
    archive = fetching.fetch(
        cifar.url, folder, cifar.archive, cifar.archive_md5, title=cifar.title, otherwise=otherwise
    )
    return Found(archive, "archive", None, cifar_python.read_archive)


def check_split(
    cifar: CifarFiles, split: str, images: np.ndarray, labels: np.ndarray, path: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Refuse a split that has not the published number of images of each class."""
    import numpy as np

    expected, classes, title = cifar.per_class[split], cifar.classes, cifar.title
    size = expected * len(classes)
    if images.shape != (size, SIDE, SIDE, 3) or labels.shape != (size,):
        raise UserError(f"{path} has {len(labels)} {split} images, {title} has {size}: {cifar.again}")
    if labels.min() < 0 or labels.max() >= len(classes):
        raise UserError(
            f"{path} has {split} labels from {labels.min()} to {labels.max()}, {title}'s are 0 to {len(classes) - 1}"
        )
    counts = np.bincount(labels, minlength=len(classes))
    if (counts != expected).any():
        odd = int(np.flatnonzero(counts != expected)[0])
        raise UserError(
            f"{path} has {counts[odd]} {split} images of {classes[odd]!r}, {title} has {expected}: {cifar.again}"
        )
    return images, labels


def in_fixed_order(images: np.ndarray, labels: np.ndarray) -> Split:
    """Sort by the SHA-256 of each image's pixels, then by label: an order of the content alone, in effect a random one.

    Images that are equal in both (CIFAR-100 has a few duplicates) cannot be told apart, so their order is of no matter.
    """
    import torch

    from trainables.data.dataset import Split

    digests = [hashlib.sha256(image).digest() for image in images]
    order = sorted(range(len(labels)), key=lambda i: (digests[i], labels[i]))
    return Split(torch.from_numpy(images[order]), torch.from_numpy(labels[order]))

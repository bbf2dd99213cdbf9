"""CIFAR-100 (A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009): 60,000 images, 100 classes.

Three layouts are found in `data_dir` and in the folders that the tools which write them make: the unpacked
`cifar-100-python`, the parquet files of the Hugging Face hub, and the archive `cifar-100-python.tar.gz`. Copies
differ in the order of their images, so both splits are put in one of their own (`in_fixed_order`): whatever was read,
the data set has the same tensors and the same fingerprint.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.data import fetching
from trainables.data.counts import ImageCounts
from trainables.data.definition import DatasetDefinition
from trainables.errors import UserError
from trainables.recipes import CIFAR100

if TYPE_CHECKING:
    import numpy as np

    from trainables.data.cifar_python import Arrays
    from trainables.data.dataset import Contents, Split
    from trainables.data.source import Channels

MEAN: Channels = (0.5071, 0.4867, 0.4408)
STD: Channels = (0.2675, 0.2565, 0.2761)
SIDE = 32
PER_CLASS = {"train": 500, "test": 100}
URL = "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"
ARCHIVE = "cifar-100-python.tar.gz"
ARCHIVE_MD5 = "eb9058c3a382ffc7106e4002c42a8d85"
PLACES = (".", "cifar100", "data", "data/cifar100", "cifar100/cifar100", "cifar100/data")
HOW = (
    f"add --download, or put {URL} or the hub's train-*.parquet and test-*.parquet into --data-dir DIR, or use "
    "--dataset digits, which needs nothing"
)

# fmt: off
CLASSES = (
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl", "boy",
    "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair", "chimpanzee", "clock",
    "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish",
    "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion",
    "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom", "oak_tree", "orange",
    "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree", "plain", "plate", "poppy", "porcupine",
    "possum", "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk",
    "skyscraper", "snail", "snake", "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank",
    "telephone", "television", "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale",
    "willow_tree", "wolf", "woman", "worm",
)
# fmt: on


@dataclass(frozen=True)
class Found:
    """A layout found at `path`; `missing` says what of it is not there, and is None where it is whole."""

    path: Path
    layout: str
    missing: str | None
    read: Callable[[Path], dict[str, Arrays]]


def read(data_dir: Path | None, *, download: bool) -> Contents:
    """CIFAR-100 from the first whole layout in `data_dir`, downloaded there first if that is asked for and needed."""
    from trainables.data.dataset import Contents

    if data_dir is None:
        raise UserError(f"cifar100 needs --data-dir DIR, the folder of its files: {HOW}")
    root = data_dir.expanduser()
    if root.exists() and not root.is_dir():
        raise UserError(f"{root} is no folder: --data-dir is the folder that holds CIFAR-100's files")
    found = search(root)
    whole = next((candidate for candidate in found if candidate.missing is None), None)
    if download and (whole is None or whole.layout == "archive"):
        whole = fetch(root if whole is None else whole.path.parent)
    if whole is None:
        partial = f"{root} has an incomplete CIFAR-100: {found[0].missing}" if found else f"{root} has no CIFAR-100"
        raise UserError(f"{partial}: {HOW}")
    splits = {split: checked(split, *arrays, whole.path) for split, arrays in whole.read(whole.path).items()}
    return Contents(
        CLASSES,
        in_fixed_order(*splits["train"]),
        in_fixed_order(*splits["test"]),
        MEAN,
        STD,
        f"CIFAR-100 ({whole.layout}) in {whole.path}",
    )


def find(data_dir: Path) -> Path | None:
    """The first whole layout in `data_dir`."""
    return next((found.path for found in search(data_dir) if found.missing is None), None)


def search(root: Path) -> list[Found]:
    """Every layout in `root` and its usual sub-folders, whole or not, the fastest to read first."""
    from trainables.data import cifar_parquet, cifar_python

    folders = [root / place for place in PLACES if (root / place).is_dir()]
    found: list[Found] = []
    for folder in (inner for outer in folders for inner in (outer, outer / "cifar-100-python")):
        files = [(folder / name).is_file() for name in cifar_python.MD5]
        if any(files):
            found.append(Found(folder, "python", cifar_python.missing(folder), cifar_python.read_folder))
    for folder in (*folders, *cifar_parquet.cached_folders(root)):
        if cifar_parquet.present(folder):
            found.append(Found(folder, "parquet", cifar_parquet.missing(folder), cifar_parquet.read_folder))
    for folder in folders:
        if (folder / ARCHIVE).is_file():
            found.append(Found(folder / ARCHIVE, "archive", None, cifar_python.read_archive))
    return found


def fetch(folder: Path) -> Found:
    """Download the archive; nothing is fetched where it is already whole."""
    from trainables.data import cifar_python

    archive = fetching.fetch(URL, folder, ARCHIVE, ARCHIVE_MD5, title="CIFAR-100", otherwise="use --dataset digits")
    return Found(archive, "archive", None, cifar_python.read_archive)


def checked(split: str, images: np.ndarray, labels: np.ndarray, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Refuse a split that has not the published number of images of each class."""
    import numpy as np

    from trainables.data.cifar_python import AGAIN

    size, expected = PER_CLASS[split] * len(CLASSES), PER_CLASS[split]
    if images.shape != (size, SIDE, SIDE, 3) or labels.shape != (size,):
        raise UserError(f"{path} has {len(labels)} {split} images, CIFAR-100 has {size}: {AGAIN}")
    if labels.min() < 0 or labels.max() >= len(CLASSES):
        raise UserError(f"{path} has {split} labels from {labels.min()} to {labels.max()}, CIFAR-100's are 0 to 99")
    counts = np.bincount(labels, minlength=len(CLASSES))
    if (counts != expected).any():
        odd = int(np.flatnonzero(counts != expected)[0])
        raise UserError(
            f"{path} has {counts[odd]} {split} images of {CLASSES[odd]!r}, CIFAR-100 has {expected}: {AGAIN}"
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


DATASET = DatasetDefinition(
    title="CIFAR-100",
    recipe=CIFAR100,
    read=read,
    obtain="--download fetches it",
    published=ImageCounts(100, SIDE, (500,) * 100, 10_000),
    find=find,
    downloadable=True,
)

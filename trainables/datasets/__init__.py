"""Data sets, one a module, whose `DATASET` is found by looking into this folder.

`load` reads one, `count_images` knows its sizes without reading it. A module here imports torch and the like in its
functions only, because planning must not wait for them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.additions import load as load_addition
from trainables.additions import modules_in, remembered
from trainables.data.counts import ImageCounts
from trainables.data.definition import DatasetDefinition
from trainables.errors import UserError

if TYPE_CHECKING:
    from trainables.data.source import Source


def names() -> tuple[str, ...]:
    """The data sets, by the files of this folder; none is imported."""
    return modules_in(__name__)


@remembered
def find(name: str) -> DatasetDefinition:
    """The data set of that name, which may end in an image size (`imagefolder_224`); refuses an unknown one."""
    base, _, side = name.rpartition("_")
    if name not in names() and base in names() and side.isdecimal() and side == str(int(side)):
        own, at_side = find(base), find(base).at_side
        if at_side is not None and (sized := at_side(int(side))) is not own:
            return sized
    if name not in names():
        raise UserError(f"unknown data set {name!r}: use one of {', '.join(names())}")
    definition: DatasetDefinition = load_addition(__name__, name, "DATASET", DatasetDefinition)
    return definition


def is_known(name: str) -> bool:
    try:
        find(name)
    except UserError:
        return False
    return True


def at_side(name: str, side: int) -> str:
    """The name of a data set with images of another size."""
    definition = find(name)
    if definition.at_side is None:
        raise UserError(f"--image-size {side}: the images of {name} have a fixed size; it is for --dataset imagefolder")
    return name if definition.at_side(side) is definition else f"{name}_{side}"


def load(
    name: str,
    data_dir: Path | None,
    *,
    train_fraction: float = 1.0,
    imbalance: float = 1.0,
    holdout: float = 0.0,
    download: bool = False,
    convert: bool = True,
) -> Source:
    """Read a data set from `data_dir` (`digits` needs none), check it, and select its training images (`select`).

    Mean and deviation stay those of the whole training split. `download` fetches what is missing into `data_dir`, for
    the data sets that have a public address. `convert`: a folder may be put into the form that it should have.
    """
    from trainables.data.subset import check_shares

    definition = find(name)
    check_shares(imbalance, train_fraction)
    contents = definition.read(data_dir, download=download)
    if convert and definition.convert is not None:
        definition.convert(data_dir)
    return contents.assemble(name, imbalance=imbalance, train_fraction=train_fraction, holdout=holdout)


def count_images(
    name: str, data_dir: Path | None, train_fraction: float = 1.0, imbalance: float = 1.0, holdout: float = 0.0
) -> ImageCounts:
    """Count the images of which `load` selects the training images: those in the user's folder, else the published."""
    import numpy as np

    from trainables.data.subset import select

    definition = find(name)
    whole = _count_folder(definition, data_dir) or definition.published
    assert whole is not None, "a data set without published counts counts its folder"
    if (train_fraction, imbalance, holdout) == (1, 1, 0):
        return whole
    labels = np.repeat(np.arange(whole.num_classes), whole.train_per_class)
    subset = select(labels, whole.num_classes, imbalance=imbalance, train_fraction=train_fraction, holdout=holdout)
    counts = np.bincount(labels[subset.train], minlength=whole.num_classes).tolist()
    test_size = len(subset.held_out) if holdout else whole.test_size
    return replace(whole, train_per_class=tuple(counts), test_size=test_size)


def class_names(name: str, data_dir: Path | None) -> tuple[str, ...]:
    """The names of the classes in the user's folder; none where they are the same everywhere or not there."""
    definition = find(name)
    if definition.class_names is None or data_dir is None:
        return ()
    root = data_dir if definition.find is None else definition.find(data_dir)
    return () if root is None else definition.class_names(root)


def needs_fingerprint(name: str, data_dir: Path | None) -> bool:
    """Whether the images are none that were published, so that a run's identity must name them by their fingerprint."""
    definition = find(name)
    published = definition.published
    if published is None:
        return True
    counted = _count_folder(definition, data_dir)
    return counted is not None and not (
        not counted.own_order
        and (counted.num_classes, counted.train_size, counted.test_size)
        == (published.num_classes, published.train_size, published.test_size)
        and (published.evenly or counted.train_per_class == published.train_per_class)
    )


def _count_folder(definition: DatasetDefinition, data_dir: Path | None) -> ImageCounts | None:
    """What the user's folder holds; None for a data set that is the same everywhere, or whose folder is not there."""
    if definition.count is None:
        return None
    if definition.find is None:
        return definition.count(data_dir)
    root = None if data_dir is None else definition.find(data_dir)
    return None if root is None else definition.count(root)

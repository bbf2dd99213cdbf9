"""Data sets: `load` reads one whole into memory, `facts` knows its sizes without reading it.

Importing this package does not import torch.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.data.facts import check_fraction, check_name, names

if TYPE_CHECKING:
    from trainables.data.dataset import Dataset

__all__ = ["load", "names"]


def load(name: str, data_dir: Path | None, *, train_fraction: float = 1.0, download: bool = False) -> Dataset:
    """Read a data set from `data_dir` (`digits` needs none), check it, and thin its training images.

    `train_fraction` keeps the first ceil(fraction * n_c) of the n_c training images of each class, in the data set's
    own fixed order, which no seed changes; mean and std stay those of the whole training split. `download` fetches
    what is missing into `data_dir`, for the data sets that have a public address.
    """
    check_name(name)
    check_fraction(train_fraction)
    from trainables.data.dataset import assemble

    module = importlib.import_module(f"trainables.data.{name}")
    return assemble(name, module.read(data_dir, download=download), train_fraction)

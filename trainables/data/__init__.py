"""Data sets: `load` opens one, `facts` knows its sizes without reading it.

Importing this package does not import torch.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.data.facts import check_fraction, check_imbalance, check_name, names

if TYPE_CHECKING:
    from trainables.data.source import Source

__all__ = ["load", "names"]


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
    """Read a data set from `data_dir` (`digits` needs none), check it, and thin its training images.

    `imbalance` makes the training split long-tailed (`facts.long_tailed`), then `train_fraction` keeps the first
    ceil(fraction * n_c) of the n_c images of each class: both in the data set's own fixed order, which no seed
    changes; mean and std stay those of the whole training split. `holdout`: that share of each class's images is not
    trained on and takes the place of the test split. `download` fetches what is missing into `data_dir`,
    for the data sets that have a public address. `convert`: a folder may be put into the form that it should have, once
    and for all. A data set too large for memory stays in its files.
    """
    check_name(name)
    check_fraction(train_fraction)
    check_imbalance(imbalance)
    module = importlib.import_module(f"trainables.data.{name}")
    if hasattr(module, "open_source"):
        source: Source = module.open_source(
            data_dir, train_fraction=train_fraction, imbalance=imbalance, holdout=holdout, download=download
        )
        return source
    from trainables.data.dataset import assemble

    contents = module.read(data_dir, download=download)
    if convert and hasattr(module, "convert"):
        module.convert(data_dir)
    return assemble(name, contents, train_fraction, imbalance, holdout)

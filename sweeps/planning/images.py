"""How many images and classes a run has. Each data set is looked at once."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from trainables import datasets
from trainables.data.counts import ImageCounts
from trainables.spec import RunSpec

_count = cache(datasets.count_images)


def count_images(spec: RunSpec, data_dir: Path | None) -> ImageCounts:
    """The images that a run trains and is tested on."""
    return _count(spec.dataset, data_dir, spec.train_fraction, spec.imbalance, spec.holdout)

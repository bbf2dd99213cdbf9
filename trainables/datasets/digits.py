"""scikit-learn's bundled handwritten digits: 1,797 real images (8x8, 17 grey levels), no download.

Source: UCI, Optical Recognition of Handwritten Digits (E. Alpaydin, C. Kaynak, 1998), test part. The images come in
the order in which they were collected, writer after writer, so the last third is the test split: mostly other hands
than those trained on, which is a harder and more honest test than a random third.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.data.counts import ImageCounts
from trainables.data.definition import DatasetDefinition
from trainables.recipes import DIGITS

if TYPE_CHECKING:
    import torch

    from trainables.data.dataset import Contents
    from trainables.data.source import Channels

TRAIN_SIZE = 1200
SIDE = 16
LEVELS = 16
MEAN: Channels = (0.3063, 0.3063, 0.3063)
STD: Channels = (0.3179, 0.3179, 0.3179)


def read(data_dir: Path | None, *, download: bool) -> Contents:
    """The digits as (N, 16, 16, 3), uint8: doubled by bilinear interpolation, the same grey in all channels."""
    import numpy as np
    import torch

    from trainables.data.dataset import Contents, Split

    table = torch.from_numpy(np.loadtxt(_find_bundled(), delimiter=","))
    images = upsampled(table[:, :-1].reshape(-1, 8, 8))
    labels = table[:, -1].long()
    return Contents(
        tuple(str(digit) for digit in range(10)),
        Split(images[:TRAIN_SIZE], labels[:TRAIN_SIZE]),
        Split(images[TRAIN_SIZE:], labels[TRAIN_SIZE:]),
        MEAN,
        STD,
        "scikit-learn's bundled digits, 8x8 pixels enlarged to 16x16",
    )


def _find_bundled() -> Path:
    """The file that `sklearn.datasets.load_digits` reads; to import that takes seconds."""
    package = find_spec("sklearn")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"


def upsampled(levels: torch.Tensor) -> torch.Tensor:
    """Grey levels 0 to 16, (N, 8, 8), to bytes 0 to 255, (N, 16, 16, 3).

    In float64 every weight and sum is exact (quarters of small integers), so all machines give the same bytes.
    """
    import torch
    from torch.nn.functional import interpolate

    doubled = interpolate(levels.double()[:, None], size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    grey = (doubled * 255 / LEVELS).round().to(torch.uint8)
    return grey.permute(0, 2, 3, 1).expand(-1, -1, -1, 3).contiguous()


DATASET = DatasetDefinition(
    title="digits",
    recipe=DIGITS,
    read=read,
    obtain="comes with the program",
    published=ImageCounts(10, SIDE, (119, 121, 117, 121, 120, 123, 120, 118, 119, 122), 597),
)

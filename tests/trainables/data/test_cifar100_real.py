"""CIFAR-100's real images: what is published of them, in both layouts, and what is selected of them."""

from __future__ import annotations

import io
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from test_cifar100 import parts_of, write_own_layout
from test_holdout import parts
from test_long_tail import expected

from trainables.data.dataset import Contents, Dataset, channel_statistics
from trainables.datasets import count_images, load
from trainables.datasets.cifar100 import DATASET, FILES

pytestmark = pytest.mark.slow
FINGERPRINT = "971be3f160eca78670a8ae30ac256c796b9c47978f488c78d66cbffe2d46eb90"


@pytest.fixture(scope="module")
def parquet(ekd_data: Path) -> Path:
    return ekd_data / "data" / "cifar100"


@pytest.fixture(scope="module")
def contents(parquet: Path) -> Contents:
    return DATASET.read(parquet, download=False)


@pytest.fixture(scope="module")
def cifar(contents: Contents) -> Dataset:
    return contents.assemble("cifar100")


def test_cifar100(cifar: Dataset) -> None:
    assert (len(cifar.train), len(cifar.test), cifar.side, cifar.num_classes) == (50_000, 10_000, 32, 100)
    assert set(torch.bincount(cifar.train.labels).tolist()) == {500}
    assert set(torch.bincount(cifar.test.labels).tolist()) == {100}
    mean, std = channel_statistics(cifar.train.images)
    assert cifar.mean == pytest.approx(mean, abs=2e-4)
    assert cifar.std == pytest.approx(std, abs=2e-4)
    assert mean == pytest.approx((0.50707516, 0.48654887, 0.44091784), abs=1e-8)
    assert cifar.fingerprint == FINGERPRINT


def test_the_own_layout_gives_the_same_data_set(
    cifar: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = {"train": cifar.train, "test": cifar.test}
    own = write_own_layout({name: (each.images.numpy(), each.labels.numpy()) for name, each in both.items()}, tmp_path)
    monkeypatch.setattr(FILES, "parts", parts_of(own))
    assert load("cifar100", tmp_path).fingerprint == FINGERPRINT
    shutil.rmtree(own)


def test_cifar100_images_are_the_files_pixels(cifar: Dataset, parquet: Path) -> None:
    """Every 97th test image, decoded by itself, is in the data set once, with its label."""
    table = pq.read_table(parquet / "test-00000-of-00001.parquet")
    there = Counter(
        (image.tobytes(), label)
        for image, label in zip(cifar.test.images.numpy(), cifar.test.labels.tolist(), strict=True)
    )
    for row in table.take(list(range(0, 10_000, 97))).to_pylist():
        pixels = np.asarray(Image.open(io.BytesIO(row["img"]["bytes"])).convert("RGB"))
        assert there[pixels.tobytes(), row["fine_label"]] == 1


def test_cifar100_fraction(cifar: Dataset, contents: Contents) -> None:
    tenth = contents.assemble("cifar100", train_fraction=0.1)
    assert set(torch.bincount(tenth.train.labels).tolist()) == {50}
    first = (cifar.train.labels == 7).nonzero().flatten()[:50]
    assert torch.equal(tenth.train.images[tenth.train.labels == 7], cifar.train.images[first])
    assert torch.equal(tenth.test.images, cifar.test.images)
    assert tenth.fingerprint != cifar.fingerprint
    assert tenth.mean == cifar.mean
    assert "5,000 of 50,000" in tenth.source
    assert count_images("cifar100", None, 0.1).train_size == 5000


def test_a_tenth_of_cifar100(contents: Contents) -> None:
    whole, part = (contents.assemble("cifar100", holdout=share) for share in (0.0, 0.1))
    assert torch.bincount(part.test.labels).tolist() == [50] * 100
    assert torch.bincount(part.train.labels).tolist() == [450] * 100
    train, held, all_of_them, test = parts(whole, part)
    assert train | held == all_of_them
    known = count_images("cifar100", None, holdout=0.1)
    assert (known.train_size, known.test_size) == (45_000, 5_000)
    assert len(held & test) <= len(all_of_them & test)
    assert (part.mean, part.std) == (whole.mean, whole.std)
    assert part.source.endswith("; 5,000 training images held out, in place of the test images")


def test_cifar100_lt(contents: Contents) -> None:
    whole = contents.assemble("cifar100")
    tail = contents.assemble("cifar100_lt", imbalance=0.5)
    counts = torch.bincount(tail.train_labels).tolist()
    assert counts == expected([500] * 100, 0.5)
    assert counts == list(count_images("cifar100_lt", None, imbalance=0.5).train_per_class)
    assert tail.source.endswith("; long-tailed (imbalance 0.5): 500 .. 250 a class, 36,029 images of 50,000")
    assert torch.equal(tail.test.images, whole.test.images)
    assert torch.equal(tail.test.labels, whole.test.labels)
    assert (tail.mean, tail.std, tail.classes, tail.name) == (whole.mean, whole.std, whole.classes, "cifar100_lt")
    taken, first = Counter[int](), []
    for index, label in enumerate(whole.train.labels.tolist()):
        if taken[label] < counts[label]:
            first.append(index)
            taken[label] += 1
    assert torch.equal(tail.train.images, whole.train.images[first])
    assert tail.fingerprint != whole.fingerprint

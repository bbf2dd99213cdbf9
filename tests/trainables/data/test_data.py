"""What every data set has in common, thinning to a fraction, and the digits."""

from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from small_tinyimagenet import write

from trainables.data.dataset import Dataset, Split, channel_statistics, fingerprint
from trainables.data.subset import count_kept, select
from trainables.datasets import count_images, load, names, needs_fingerprint
from trainables.errors import UserError

DIGITS = "ad40a677c993f5ff71e948b2ba149a626f66787eea76e168590976ec9b2a7be2"


def one_line(error: pytest.ExceptionInfo[UserError]) -> str:
    text = str(error.value)
    assert text
    assert "\n" not in text
    return text


# --- every data set -----------------------------------------------------------------------------------------------


def test_unknown_name_says_the_known_ones() -> None:
    assert names() == ("cifar10", "cifar100", "cifar100_lt", "digits", "imagefolder", "imagenet", "tinyimagenet")
    for ask in (load, count_images, needs_fingerprint):
        with pytest.raises(UserError, match=f"unknown data set 'mnist': use one of {', '.join(names())}$"):
            ask("mnist", None)


@pytest.mark.parametrize("fraction", [0, -0.5, 1.01, math.nan, math.inf])
def test_fraction_outside_its_range(fraction: float) -> None:
    for ask in (load, count_images):
        with pytest.raises(UserError, match=r"must be in \(0, 1\]"):
            ask("digits", None, train_fraction=fraction)


def test_planning_needs_no_torch(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from trainables.datasets import names
from trainables.datasets import count_images, needs_fingerprint
count_images('cifar100_lt', None, 0.1, 0.5).in_words()
for root in sys.argv[1:]:
    place = Path(root) if root else None
    count_images('tinyimagenet', place), needs_fingerprint('tinyimagenet', place)
print({'torch', 'PIL', 'sklearn', 'pyarrow'} & set(sys.modules))"""
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", script, "", str(write(tmp_path))]
    ran = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"


def a_split(labels: list[int], side: int = 16) -> Split:
    return Split(torch.zeros(len(labels), side, side, 3, dtype=torch.uint8), torch.tensor(labels))


def a_dataset(train: Split, test: Split, mean: float = 0.5, std: float = 0.25) -> Dataset:
    return Dataset("toy", ("a", "b"), train, test, (mean,) * 3, (std,) * 3, fingerprint(train, test), "made here")


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(2, 8, 8, 3), torch.tensor([0, 1]), "expected uint8"),
        (torch.zeros(2, 8, 8, 3).byte(), torch.tensor([0, 1]).int(), "int64"),
        (torch.zeros(2, 3, 8, 8).byte(), torch.tensor([0, 1]), "square"),
        (torch.zeros(2, 8, 9, 3).byte(), torch.tensor([0, 1]), "square"),
        (torch.zeros(2, 3, 8, 8).byte().permute(0, 2, 3, 1), torch.tensor([0, 1]), "contiguous"),
        (torch.zeros(2, 8, 8, 3).byte(), torch.tensor([0, 1, 1]), "each image needs one"),
        (torch.zeros(0, 8, 8, 3).byte(), torch.zeros(0).long(), "each image needs one"),
        (torch.zeros(2, 8, 8, 3).byte(), torch.tensor([0, -1]), "negative"),
    ],
)
def test_split_refuses(images: torch.Tensor, labels: torch.Tensor, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        Split(images, labels)
    one_line(error)


def test_dataset_refuses() -> None:
    good = a_split([0, 1, 1])
    assert a_dataset(good, good).num_classes == 2
    for train, test, mean, std, message in (
        (good, a_split([0, 2]), 0.5, 0.25, "label 2, but only 2 classes"),
        (a_split([1, 1]), good, 0.5, 0.25, "no training image of class 'a'"),
        (good, a_split([0, 1], side=18), 0.5, 0.25, "differ in size"),
        (good, good, 127.0, 0.25, "mean"),
        (good, good, 0.5, 0.0, "std"),
        (good, good, math.nan, 0.25, "mean"),
    ):
        with pytest.raises(UserError, match=message) as error:
            a_dataset(train, test, mean, std)
        one_line(error)


def test_fingerprint_sees_every_part() -> None:
    base = Split(torch.arange(2 * 4 * 4 * 3).byte().reshape(2, 4, 4, 3), torch.tensor([0, 1]))
    pixel = base.images.clone()
    pixel[1, 3, 3, 2] += 1
    others = (Split(pixel, base.labels), Split(base.images, torch.tensor([1, 0])))
    seen = {fingerprint(base, base), *(fingerprint(o, base) for o in others), *(fingerprint(base, o) for o in others)}
    assert len(seen) == 5


# --- train_fraction -----------------------------------------------------------------------------------------------


@given(st.integers(1, 2000), st.integers(1, 100_000))
def test_kept_is_the_exact_ceiling_of_the_written_fraction(count: int, parts: int) -> None:
    fraction = parts / 100_000
    assert count_kept(count, fraction) == math.ceil(Decimal(str(fraction)) * count)
    assert 1 <= count_kept(count, fraction) <= count


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.floats(0, 1, exclude_min=True), st.floats(0.01, 1))
def test_thinning_against_a_loop(labels: list[int], fraction: float, share: float) -> None:
    expected, taken = [], Counter[int]()
    for index, label in enumerate(labels):
        if taken[label] < count_kept(labels.count(label), fraction):
            expected.append(index)
            taken[label] += 1
    thin = select(labels, 5, train_fraction=fraction)
    assert thin.kept.tolist() == thin.train.tolist() == expected
    assert {labels[i] for i in expected} == set(labels)
    smaller = select(labels, 5, train_fraction=fraction * share) if fraction * share > 0 else thin
    assert set(smaller.kept.tolist()) <= set(expected)


@pytest.mark.parametrize("fraction", [1.0, 0.5, 0.07, 1e-6])
def test_facts_are_those_of_the_loaded_digits(fraction: float) -> None:
    data, known = load("digits", None, train_fraction=fraction), count_images("digits", None, fraction)
    assert torch.bincount(data.train.labels).tolist() == list(known.train_per_class)
    assert (len(data.train), len(data.test), data.side, data.num_classes) == (
        known.train_size,
        known.test_size,
        known.side,
        known.num_classes,
    )


# --- digits -------------------------------------------------------------------------------------------------------


def test_digits() -> None:
    data = load("digits", None)
    assert (len(data.train), len(data.test), data.side, data.num_classes) == (1200, 597, 16, 10)
    assert data.classes == tuple("0123456789")
    assert set(data.test.labels.tolist()) == set(range(10))
    assert torch.equal(torch.cat([data.train.labels, data.test.labels]), torch.from_numpy(load_digits().target))
    mean, std = channel_statistics(data.train.images)
    assert data.mean == pytest.approx(mean, abs=5e-5)
    assert data.std == pytest.approx(std, abs=5e-5)
    assert data.fingerprint == DIGITS


def test_digits_are_a_bilinear_enlargement() -> None:
    """Each pixel is 3/4 and 1/4 of its nearest neighbours along each axis, edges repeated: in NumPy, in integers."""
    levels = np.pad(load_digits().images.astype(int), ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = np.stack([levels[:, :-2] + 3 * levels[:, 1:-1], 3 * levels[:, 1:-1] + levels[:, 2:]], 2)
    rows = rows.reshape(len(levels), 16, 10)
    both = np.stack([rows[:, :, :-2] + 3 * rows[:, :, 1:-1], 3 * rows[:, :, 1:-1] + rows[:, :, 2:]], 3)
    grey = np.round(both.reshape(len(levels), 16, 16) * 255 / 256)
    data = load("digits", None)
    images = torch.cat([data.train.images, data.test.images]).numpy()
    assert (images == grey[..., None]).all()


def test_statistics_are_those_of_numpy() -> None:
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (7, 5, 5, 3), np.uint8))
    mean, std = channel_statistics(images)
    scaled = images.numpy().reshape(-1, 3) / 255
    assert mean == pytest.approx(scaled.mean(0), rel=1e-12)
    assert std == pytest.approx(scaled.std(0), rel=1e-12)


def test_to_moves_both_splits() -> None:
    data = load("digits", None, train_fraction=0.1)
    moved = data.to("cpu")
    assert torch.equal(moved.train.images, data.train.images)
    assert moved.fingerprint == data.fingerprint


@pytest.mark.gpu
def test_to_a_gpu() -> None:
    data = load("digits", None).to("cuda")
    assert {t.device.type for s in (data.train, data.test) for t in (s.images, s.labels)} == {"cuda"}


def test_another_normalisation_is_another_data_set() -> None:
    """Of the same images: its fingerprint begins as theirs does."""
    own = load("digits", None)
    assert isinstance(own, Dataset)
    found = own.normalised("imagenet")
    assert own.normalised("own") is own
    assert found.fingerprint != own.fingerprint
    assert found.fingerprint[:32] == own.fingerprint[:32]
    images, labels = next(found.scan("test", 8))
    expected = (own.test.images[:8] / 255 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(images, expected.permute(0, 3, 1, 2))
    assert torch.equal(labels, own.test.labels[:8])

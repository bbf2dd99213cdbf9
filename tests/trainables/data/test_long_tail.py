"""Long-tailed training splits: the published profile, on CIFAR-100's real images and on any other."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainables.data.dataset import Contents, Split
from trainables.data.subset import check_shares, count_kept, long_tailed
from trainables.datasets import count_images, load, needs_fingerprint
from trainables.errors import UserError


def expected(counts: list[int], imbalance: float) -> list[int]:
    """Cao et al.'s profile from the largest class, in logarithms, of at most what is there."""
    last = len(counts) - 1
    profile = [math.exp(math.log(max(counts)) + math.log(imbalance) * c / last) for c in range(len(counts))]
    return [min(count, int(share + 1e-9)) for count, share in zip(counts, profile, strict=True)]


@pytest.mark.parametrize("imbalance", [0.5, 0.1, 0.01])
def test_the_published_profile(imbalance: float) -> None:
    known = count_images("cifar100_lt", None, imbalance=imbalance)
    assert list(known.train_per_class) == expected([500] * 100, imbalance)
    assert known.train_per_class[0] == 500
    assert known.train_per_class[-1] == 500 * imbalance
    assert sorted(known.train_per_class, reverse=True) == list(known.train_per_class)


def test_the_published_totals() -> None:
    """CIFAR-100-LT at imbalance 1/100 has 10,847 images, at 1/10 19,573: the usual figures of the literature."""
    assert count_images("cifar100_lt", None, imbalance=0.01).train_size == 10_847
    assert count_images("cifar100_lt", None, imbalance=0.1).train_size == 19_573


def contents(labels: list[int]) -> Contents:
    images = torch.arange(len(labels)).byte()[:, None, None, None].expand(-1, 2, 2, 3).contiguous()
    split = Split(images, torch.tensor(labels))
    classes = tuple(str(c) for c in range(max(labels) + 1))
    return Contents(classes, split, split, (0.5,) * 3, (0.5,) * 3, "made here")


@given(
    st.lists(st.integers(0, 4), max_size=60).map(lambda extra: [0, 1, 2, 3, 4, *extra]),
    st.floats(0, 1, exclude_min=True),
    st.floats(0, 1, exclude_min=True),
)
def test_what_is_known_before_is_what_is_selected(labels: list[int], imbalance: float, fraction: float) -> None:
    counts = [labels.count(c) for c in range(5)]
    try:
        tail = long_tailed(counts, imbalance)
    except UserError:
        assert int(max(counts) * imbalance ** (4 / 4)) < 1
        return
    assert all(abs(a - b) <= 1 for a, b in zip(tail, expected(counts, imbalance), strict=True))
    data = contents(labels).assemble("toy", train_fraction=fraction, imbalance=imbalance)
    assert torch.bincount(data.train.labels).tolist() == [count_kept(n, fraction) for n in tail]
    first = [labels[:i].count(label) < count_kept(tail[label], fraction) for i, label in enumerate(labels)]
    assert data.train.images[:, 0, 0, 0].tolist() == [i for i, taken in enumerate(first) if taken]


@pytest.mark.parametrize(("fraction", "imbalance"), [(1.0, 0.5), (0.3, 0.1), (0.07, 0.02), (0.5, 1.0)])
def test_facts_are_those_of_the_loaded_digits(fraction: float, imbalance: float) -> None:
    data = load("digits", None, train_fraction=fraction, imbalance=imbalance)
    known = count_images("digits", None, fraction, imbalance)
    assert torch.bincount(data.train_labels).tolist() == list(known.train_per_class)
    assert (data.train_size, data.test_size) == (known.train_size, known.test_size)


def test_the_whole_data_set_is_left_as_it_is() -> None:
    assert load("digits", None, imbalance=1.0).fingerprint == load("digits", None).fingerprint
    assert count_images("cifar100_lt", None) == count_images("cifar100", None)


@pytest.mark.parametrize("imbalance", [0, -0.5, 1.01, math.nan, math.inf])
def test_imbalance_outside_its_range(imbalance: float) -> None:
    for ask in (load, count_images):
        with pytest.raises(UserError, match=r"must be in \(0, 1\]"):
            ask("digits", None, imbalance=imbalance)
    with pytest.raises(UserError, match=r"smallest class / largest class"):
        check_shares(imbalance, 1.0)


def test_a_class_that_would_lose_all_its_images_is_named() -> None:
    """In the same words before anything is loaded and after."""
    complaint = r"^the imbalance 0\.001 leaves class 7 of 0 to 9 no training image: use a larger one$"
    with pytest.raises(UserError, match=complaint):
        load("digits", None, imbalance=0.001)
    with pytest.raises(UserError, match=complaint):
        count_images("digits", None, imbalance=0.001)


def test_counts_for_people() -> None:
    assert count_images("cifar100", None).in_words() == "500 a class, 50,000 images"
    assert count_images("cifar100_lt", None, 1.0, 0.5).in_words() == "500 .. 250 a class, 36,029 images"
    assert count_images("tinyimagenet", None).in_words() == "500 a class, 100,000 images"
    assert (
        count_images("imagenet", None)
        .in_words()
        .startswith("1,282 .. 1,281 a class, 1,281,167 images (the published total")
    )
    assert "published" in count_images("imagenet", None, 0.1).in_words()


def test_published_images_need_no_fingerprint() -> None:
    assert [needs_fingerprint(name, None) for name in ("digits", "cifar100", "cifar100_lt", "tinyimagenet")] == [
        False
    ] * 4
    assert needs_fingerprint("imagefolder", None)

"""CutMix and MixUp of selected samples: boxes pixel by pixel, shares by counting, partners within their batch."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ekd_core import cutmix, energy_thresholds, mixup, partners, select

SHARE = st.floats(0, 1, width=32)
PLACE = st.floats(0, 1, width=32, exclude_max=True)
SIZES = st.lists(st.integers(0, 6), min_size=1, max_size=8)


def pictures(count: int, height: int = 16, width: int = 16) -> Tensor:
    """Images in which no two pixels are alike."""
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(count))


def yun_box(height: int, width: int, keep: float, y: float, x: float) -> tuple[slice, slice]:
    """The box of the CutMix paper's own code, of one image: cut ratio, integer sides, clipped at the borders."""
    ratio = np.sqrt(np.float32(1) - np.float32(keep))
    cut_h, cut_w = int(np.float32(height) * ratio), int(np.float32(width) * ratio)
    cy, cx = int(np.float32(y) * np.float32(height)), int(np.float32(x) * np.float32(width))
    return (
        slice(int(np.clip(cy - cut_h // 2, 0, height)), int(np.clip(cy + cut_h // 2, 0, height))),
        slice(int(np.clip(cx - cut_w // 2, 0, width)), int(np.clip(cx + cut_w // 2, 0, width))),
    )


# --- which samples -------------------------------------------------------------------------------------------------


def test_select() -> None:
    energies = torch.tensor([-3.0, -2.0, -1.0, 0.0, 1.0])
    chosen = {name: select(energies, name, -2.0, 0.0).tolist() for name in ("all", "high", "low", "half")}
    assert chosen == {
        "all": [True] * 5,
        "high": [False, False, False, False, True],
        "low": [True, False, False, False, False],
        "half": [True, False, False, False, True],
    }


@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=2, max_size=50, unique=True), st.floats(0.01, 0.99))
def test_shares_of_a_training_set(values: list[float], rate: float) -> None:
    energies = torch.tensor(values)
    share = int(len(values) * rate)
    for name in ("high", "low"):
        assert int(select(energies, name, *energy_thresholds(energies, rate, rate)).sum()) == share
    halves = energy_thresholds(energies, rate / 2, rate / 2)
    assert int(select(energies, "half", *halves).sum()) == 2 * int(len(values) * rate / 2)


def test_unknown_selection() -> None:
    with pytest.raises(ValueError, match="unknown selection 'both': use one of all, high, low, half"):
        select(torch.zeros(3), "both", 0.0, 0.0)


# --- with whom -----------------------------------------------------------------------------------------------------


def grouped(sizes: list[int]) -> Tensor:
    return torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))


@given(SIZES, st.integers(0, 1000), st.booleans())
def test_partners_are_a_permutation_within_each_group(sizes: list[int], seed: int, ties: bool) -> None:
    groups = grouped(sizes)
    keys = torch.rand(len(groups), generator=torch.Generator().manual_seed(seed))
    partner = partners(groups, (keys * 3).floor() if ties else keys)
    assert sorted(partner.tolist()) == list(range(len(groups)))
    assert torch.equal(groups[partner], groups)


@given(SIZES, st.integers(0, 1000))
def test_a_group_does_not_depend_on_the_others(sizes: list[int], seed: int) -> None:
    groups = grouped(sizes)
    keys = torch.rand(len(groups), generator=torch.Generator().manual_seed(seed))
    partner, start = partners(groups, keys), 0
    for size in sizes:
        alone = partners(torch.zeros(size, dtype=torch.int64), keys[start : start + size])
        assert torch.equal(partner[start : start + size] - start, alone)
        start += size


def test_every_permutation_is_as_likely() -> None:
    """3,000 groups of three: each of the six permutations 500 times, give or take four standard deviations."""
    groups = grouped([3] * 3000)
    partner = partners(groups, torch.rand(9000, generator=torch.Generator().manual_seed(0))).view(-1, 3) % 3
    counts = Counter(map(tuple, partner.tolist()))
    assert len(counts) == 6
    spread = math.sqrt(3000 * (1 / 6) * (5 / 6))
    assert all(abs(count - 500) < 4 * spread for count in counts.values())


# --- CutMix --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(32, 32), (16, 16), (8, 20), (17, 9)])
def test_cutmix_pixel_by_pixel(height: int, width: int) -> None:
    count = 200
    made = torch.Generator().manual_seed(1)
    images, partner = pictures(count, height, width), torch.randperm(count, generator=made)
    keep, centre = torch.rand(count, generator=made), torch.rand(count, 2, generator=made)
    before = images.clone()
    mixed, stayed = cutmix(images, partner, keep, centre)
    for i in range(count):
        expected = before[i].clone()
        box = yun_box(height, width, keep[i].item(), *centre[i].tolist())
        expected[:, box[0], box[1]] = before[partner[i]][:, box[0], box[1]]
        assert torch.equal(mixed[i], expected)
        area = len(range(height)[box[0]]) * len(range(width)[box[1]])
        assert stayed[i].item() == pytest.approx(1 - area / (height * width), abs=1e-6)
    assert torch.equal(images, before)


@given(SHARE, PLACE, PLACE)
def test_share_is_what_really_stayed(keep: float, y: float, x: float) -> None:
    """Counted: pixels of an all-zero image whose partner is all ones. Borders only ever cut the box smaller."""
    images = torch.stack([torch.zeros(3, 16, 16), torch.ones(3, 16, 16)])
    mixed, stayed = cutmix(images, torch.tensor([1, 0]), torch.full((2,), keep), torch.tensor([[y, x]] * 2))
    assert stayed[0].item() == pytest.approx(1 - mixed[0].mean().item(), abs=1e-6)
    assert stayed[1].item() == pytest.approx(mixed[1].mean().item(), abs=1e-6)
    assert stayed[0].item() >= keep - 1e-6
    assert bool((mixed == mixed[:, :1]).all())


@given(st.floats(0.25, 0.875, width=32))
def test_share_of_a_large_image_is_the_share_asked_for(keep: float) -> None:
    _, stayed = cutmix(torch.zeros(1, 1, 512, 512), torch.tensor([0]), torch.tensor([keep]), torch.full((1, 2), 0.5))
    assert stayed.item() == pytest.approx(keep, abs=4 / 512)


def test_cutmix_of_nothing_and_of_everything() -> None:
    images, partner = pictures(5), torch.tensor([1, 2, 3, 4, 0])
    middle = torch.full((5, 2), 0.5)
    same, kept = cutmix(images, partner, torch.ones(5), middle)
    assert torch.equal(same, images)
    assert kept.tolist() == [1.0] * 5
    other, gone = cutmix(images, partner, torch.zeros(5), middle)
    assert torch.equal(other, images[partner])
    assert gone.tolist() == [0.0] * 5


def test_cutmix_with_oneself_changes_nothing() -> None:
    images = pictures(4)
    assert torch.equal(cutmix(images, torch.arange(4), torch.full((4,), 0.3), torch.full((4, 2), 0.4))[0], images)


# --- MixUp ---------------------------------------------------------------------------------------------------------


@given(st.lists(SHARE, min_size=1, max_size=6))
def test_mixup_formula(keep: list[float]) -> None:
    images = pictures(len(keep)).double()
    partner = torch.arange(len(keep)).roll(1)
    mixed = mixup(images, partner, torch.tensor(keep, dtype=torch.float64))
    for i, share in enumerate(keep):
        expected = share * images[i].numpy() + (1 - share) * images[partner[i]].numpy()
        np.testing.assert_allclose(mixed[i].numpy(), expected, rtol=0, atol=1e-12)


def test_mixup_at_its_ends() -> None:
    images, partner = pictures(4), torch.tensor([3, 2, 1, 0])
    assert torch.equal(mixup(images, partner, torch.ones(4)), images)
    assert torch.equal(mixup(images, partner, torch.zeros(4)), images[partner])


def test_mixup_keeps_precision_and_mean() -> None:
    images = pictures(6).bfloat16()
    mixed = mixup(images, torch.arange(6).roll(2), torch.full((6,), 0.25))
    assert mixed.dtype == torch.bfloat16
    assert mixed.shape == images.shape
    double = pictures(6).double()
    blended = mixup(double, torch.arange(6).roll(2), torch.full((6,), 0.25))
    torch.testing.assert_close(blended.mean(0), double.mean(0), rtol=0, atol=1e-12)


# --- both ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 3])
def test_one_number_an_image(length: int) -> None:
    images, partner = pictures(2), torch.tensor([1, 0])
    with pytest.raises(ValueError, match=r"\(M,\) is needed"):
        mixup(images, partner, torch.ones(length))
    with pytest.raises(ValueError, match=r"\(M,\) is needed"):
        cutmix(images, partner, torch.ones(length), torch.zeros(2, 2))
    with pytest.raises(ValueError, match=r"\(M,\) is needed"):
        cutmix(images, partner, torch.ones(2), torch.zeros(length, 2))


def test_no_images() -> None:
    nothing, nobody = pictures(2)[:0], torch.zeros(0, dtype=torch.int64)
    assert partners(nobody, torch.zeros(0)).shape == (0,)
    assert mixup(nothing, nobody, torch.zeros(0)).shape == nothing.shape
    mixed, stayed = cutmix(nothing, nobody, torch.zeros(0), torch.zeros(0, 2))
    assert mixed.shape == nothing.shape
    assert stayed.shape == (0,)

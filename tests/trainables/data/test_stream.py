"""The batch stream: every sample once an epoch, pure in (seed, epoch), augmented as PIL and torchvision would."""

from __future__ import annotations

from collections import Counter
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from scipy.stats import binomtest, chisquare, kendalltau
from torch import Tensor
from torchvision.transforms import functional as tv

from trainables.data.dataset import Dataset, Split
from trainables.data.random_streams import Purpose, generator
from trainables.data.stream import BatchStream, Chunk, normalise
from trainables.errors import UserError

MEAN, STD = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)


def toy(count: int, side: int = 32) -> Dataset:
    """Noise whose every image is a class of its own, so that a label tells which image it is."""
    noise = torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    split = Split(noise, torch.arange(count))
    return Dataset("toy", tuple(map(str, range(count))), split, split, MEAN, STD, "", "")


def stream(
    count: int, *, seed: int = 1, batch: int = 64, augmentation: str = "crop_flip", side: int = 32
) -> BatchStream:
    return toy(count, side).stream(seed=seed, batch_size=batch, augmentation=augmentation)


def batches(chunks: list[Chunk]) -> list[list[int]]:
    """The labels of every step of an epoch."""
    return [chunk.labels[a:b].tolist() for chunk in chunks for a, b in pairwise(chunk.bounds)]


def same(a: Chunk, b: Chunk) -> bool:
    tensors = ("images", "labels", "step", "mixing")
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in tensors) and (
        (a.epoch, a.first_step, a.bounds) == (b.epoch, b.first_step, b.bounds)
    )


# --- which samples -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "batch"), [(1280, 64), (1200, 64), (130, 64), (64, 64), (63, 64), (2, 64), (17, 2), (18, 2), (8 * 7, 7)]
)
def test_every_sample_once_an_epoch(count: int, batch: int) -> None:
    made = stream(count, batch=batch, side=8)
    for epoch in (1, 2):
        chunks = list(made.epoch(epoch))
        steps = batches(chunks)
        whole, rest = divmod(count, batch)
        lone = rest == 1
        assert [len(step) for step in steps] == [batch] * whole + [rest] * (rest > 1)
        assert len(steps) == made.steps
        seen = [label for step in steps for label in step]
        assert len(set(seen)) == len(seen) == count - lone
        for chunk in chunks:
            assert len(chunk.images) == len(chunk.labels) == len(chunk.mixing) == chunk.bounds[-1]
            rows = [step for step, (a, b) in enumerate(pairwise(chunk.bounds)) for _ in range(a, b)]
            assert chunk.step.tolist() == rows
            assert chunk.epoch == epoch
        assert [chunk.first_step for chunk in chunks] == list(range(0, len(steps), 8))


def test_a_lone_last_sample_is_another_one_each_epoch() -> None:
    made = stream(65, side=8)
    absent = [({*range(65)} - {label for step in batches(list(made.epoch(e))) for label in step}) for e in range(1, 9)]
    assert all(len(each) == 1 for each in absent)
    assert len(set.union(*absent)) > 4


# --- a pure function of (seed, epoch) ------------------------------------------------------------------------------


def test_a_fresh_stream_gives_the_same_epochs_in_any_order() -> None:
    first = stream(300, seed=5)
    forwards = {epoch: list(first.epoch(epoch)) for epoch in (1, 2, 3)}
    torch.manual_seed(99)
    np.random.seed(99)
    for epoch in (3, 1, 2, 3):
        again = list(stream(300, seed=5).epoch(epoch))
        assert len(again) == len(forwards[epoch])
        assert all(same(a, b) for a, b in zip(again, forwards[epoch], strict=True))


def test_two_epochs_at_once_do_not_disturb_each_other() -> None:
    made = stream(1100, side=8)
    alone = {epoch: list(made.epoch(epoch)) for epoch in (1, 2)}
    together = list(zip(made.epoch(1), made.epoch(2), strict=True))
    assert all(same(one, alone[1][i]) and same(two, alone[2][i]) for i, (one, two) in enumerate(together))


def test_the_global_generators_are_left_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    list(stream(100).epoch(1))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("change", ["seed", "epoch"])
def test_orders_are_unrelated(change: str) -> None:
    """Rank correlation of two orders of 2,000 samples: within four standard deviations of none."""
    count = 2000
    epochs = {
        "seed": (stream(count, seed=1, side=8).epoch(1), stream(count, seed=2, side=8).epoch(1)),
        "epoch": (stream(count, side=8).epoch(1), stream(count, side=8).epoch(2)),
    }[change]
    one, two = ([label for step in batches(list(epoch)) for label in step] for epoch in epochs)
    assert one != two
    assert (
        abs(kendalltau(np.argsort(one), np.argsort(two)).statistic) < 4 * (2 * (2 * count + 5) / (9 * count**2)) ** 0.5
    )
    assert abs(kendalltau(np.arange(count), one).statistic) < 4 * (2 * (2 * count + 5) / (9 * count**2)) ** 0.5


def test_mixing_keys_are_fresh_and_uniform() -> None:
    made = stream(1500, side=8)
    keys = [torch.cat([chunk.mixing for chunk in made.epoch(epoch)]).numpy() for epoch in (1, 2)]
    assert len(np.unique(np.concatenate(keys))) == 3000
    for each in keys:
        assert each.min() >= 0
        assert each.max() < 1
        assert chisquare(np.histogram(each, 10, (0, 1))[0]).pvalue > 1e-4


# --- augmentation --------------------------------------------------------------------------------------------------


def pil_pipeline(image: Tensor, top: int, left: int, flip: bool, padding: int = 4) -> Tensor:
    """Pad by black pixels, crop, flip, to tensor, normalise: what torchvision's transforms do to one PIL image."""
    side = image.shape[0]
    padded = ImageOps.expand(Image.fromarray(image.numpy()), border=padding, fill=(0, 0, 0))
    out = padded.crop((left, top, left + side, top + side))
    if flip:
        out = out.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return tv.normalize(tv.to_tensor(out), MEAN, STD)


COUNT, EPOCHS = 40, 24
PLACES = [(top, left, flip) for top in range(9) for left in range(9) for flip in (False, True)]


@cache
def candidates(label: int, side: int) -> Tensor:
    image = toy(COUNT, side).train.images[label]
    return torch.stack([pil_pipeline(image, *place) for place in PLACES])


def place_of(image: Tensor, label: int) -> tuple[int, int, bool]:
    """Which of the 162 crops and flips of its original an image is; exactly one, to the last few bits."""
    distance = (candidates(label, image.shape[-1]) - image).abs().amax(dim=(1, 2, 3))
    hits = (distance < 2e-6).nonzero().flatten().tolist()
    assert len(hits) == 1, f"image {label} is {len(hits)} of the crops and flips of its original"
    return PLACES[hits[0]]


@cache
def places(augmentation: str) -> dict[tuple[int, int], tuple[int, int, bool]]:
    """By (epoch, label)."""
    made = stream(COUNT, augmentation=augmentation, side=16)
    return {
        (epoch, label): place_of(image, label)
        for epoch in range(1, EPOCHS + 1)
        for chunk in made.epoch(epoch)
        for image, label in zip(chunk.images, chunk.labels.tolist(), strict=True)
    }


def test_images_are_crops_and_flips_of_their_originals() -> None:
    """960 images, each found among its own 162: offsets and flips uniform, unrelated, in every combination."""
    found = list(places("crop_flip").values())
    assert len(found) == 960
    for values in zip(*found, strict=True):
        counts = Counter(values)
        assert set(counts) in ({*range(9)}, {False, True})
        assert chisquare(list(counts.values())).pvalue > 1e-4
    quadrants = Counter((top > 4, left > 4, flip) for top, left, flip in found if top != 4 and left != 4)
    assert chisquare(list(quadrants.values())).pvalue > 1e-4
    assert len(quadrants) == 8


def test_crop_without_flip() -> None:
    found = places("crop").values()
    assert not any(flip for _, _, flip in found)
    assert {top for top, _, _ in found} == {left for _, left, _ in found} == {*range(9)}


def test_crops_with_a_padding_of_8() -> None:
    """Against the places that the stream draws: each image is the crop and flip of its own."""
    made = stream(50, augmentation="crop8_flip")
    draw = generator(1, Purpose.ORDER_AND_AUGMENTATION, 1)
    order, corners, flips = draw.permutation(50), draw.integers(0, 17, (50, 2)), draw.random(50) < 0.5
    (chunk,) = made.epoch(1)
    assert chunk.labels.tolist() == order.tolist()
    for image, label, (top, left), flip in zip(chunk.images, order, corners, flips, strict=True):
        expected = pil_pipeline(toy(50).train.images[label], int(top), int(left), bool(flip), padding=8)
        torch.testing.assert_close(image, expected, rtol=0, atol=2e-6)
    assert corners.max() > 8


def test_an_augmentation_that_needs_files_is_refused() -> None:
    with pytest.raises(UserError, match="toy has no augmentation 'random_resized_crop_flip': use one of none, crop"):
        stream(50, augmentation="random_resized_crop_flip")


@cache
def places_anew() -> dict[tuple[int, int], tuple[int, int, bool]]:
    made = stream(COUNT, side=16)
    return {
        (epoch, label): place_of(image, label)
        for epoch in range(1, EPOCHS + 1)
        for chunk in made.epoch(epoch)
        for image, label in zip(normalise(made.anew(chunk), MEAN, STD), chunk.labels.tolist(), strict=True)
    }


def test_images_anew_are_cropped_and_flipped_independently() -> None:
    """Of the weak view's places: equal as often as chance has it, and each part of them unrelated."""
    weak, anew = places("crop_flip"), places_anew()
    assert weak.keys() == anew.keys()
    for part, chance in ((0, 1 / 9), (1, 1 / 9), (2, 1 / 2)):
        equal = sum(weak[key][part] == anew[key][part] for key in weak)
        assert binomtest(equal, len(weak), chance).pvalue > 1e-4
        counts = Counter(place[part] for place in anew.values())
        assert chisquare(list(counts.values())).pvalue > 1e-4
    assert {place[0] for place in anew.values()} == {*range(9)}


def test_images_anew_are_the_same_each_time_and_others_for_another_seed() -> None:
    def of(seed: int, augmentation: str = "crop_flip") -> Tensor:
        made = stream(50, seed=seed, augmentation=augmentation)
        (chunk,) = made.epoch(2)
        return made.anew(chunk)[chunk.labels.argsort()]

    assert torch.equal(of(1), of(1))
    assert not torch.equal(of(1), of(2))
    assert torch.equal(of(1, "none"), toy(50).train.images)


def test_no_augmentation() -> None:
    assert set(places("none").values()) == {(4, 4, False)}


def test_augmentation_leaves_the_order_alone() -> None:
    orders = {
        name: batches(list(stream(200, augmentation=name, side=8).epoch(3))) for name in ("none", "crop", "crop_flip")
    }
    assert orders["none"] == orders["crop"] == orders["crop_flip"]


def test_augmentation_is_another_each_epoch() -> None:
    """Of 40 images, a quarter of one is expected to come out as in the epoch before."""
    found = places("crop_flip")
    for epoch in range(1, EPOCHS):
        assert sum(found[epoch, label] == found[epoch + 1, label] for label in range(COUNT)) < 4


def test_normalise_as_torchvision() -> None:
    """Every byte value, every channel, against to_tensor and normalize in float64."""
    ramp = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1).expand(1, 16, 16, 3).contiguous()
    found = normalise(ramp, MEAN, STD)
    expected = (np.arange(256)[:, None] / 255 - np.array(MEAN)) / np.array(STD)
    np.testing.assert_allclose(found[0].permute(1, 2, 0).reshape(256, 3).numpy(), expected, rtol=0, atol=5e-7)
    assert found.dtype == torch.float32


def test_images_are_ready_for_the_networks() -> None:
    for chunk in stream(200).epoch(1):
        assert chunk.images.dtype == torch.float32
        assert chunk.images.shape[1:] == (3, 32, 32)
        assert chunk.images.is_contiguous(memory_format=torch.channels_last)
        assert chunk.labels.dtype == torch.int64


def test_the_data_set_stays_as_it_was(digits: Dataset) -> None:
    before = digits.train.images.clone()
    made = digits.stream(seed=1, batch_size=64, augmentation="crop_flip")
    total = sum(len(chunk.labels) for chunk in made.epoch(1))
    assert total == len(digits.train)
    assert torch.equal(digits.train.images, before)

"""ImageNet's batches: torchvision's pixels or nearly, and the same ones with any number of workers and devices."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from time import perf_counter

import imagenet_like
import numpy as np
import pytest
import torch
from imagenet_like import open_source
from PIL import Image
from scipy.stats import chisquare, ks_2samp
from torch import Tensor
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms import functional as tv

from trainables.data.file_source import FileSource, FileStream
from trainables.data.image_files import crop, decoded, random_box
from trainables.data.random_streams import Purpose, generator
from trainables.data.source import Source
from trainables.data.stream import WHOLE, Chunk, Share, normalise
from trainables.errors import UserError

SIDE = 64
AUGMENTATION = "random_resized_crop_flip"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return imagenet_like.make(tmp_path_factory.mktemp("imagenet"))


@pytest.fixture(scope="module")
def source(root: Path) -> FileSource:
    return open_source(root, side=SIDE, workers=0)


def stream(source: FileSource, *, batch: int = 8, augmentation: str = AUGMENTATION, share: Share = WHOLE) -> FileStream:
    return source.stream(seed=5, batch_size=batch, augmentation=augmentation, share=share)


def same(a: Chunk, b: Chunk) -> bool:
    tensors = ("images", "pixels", "labels", "index", "step", "mixing")
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in tensors) and (
        (a.epoch, a.first_step, a.bounds, a.sizes) == (b.epoch, b.first_step, b.bounds, b.sizes)
    )


def picture(source: FileSource, index: int) -> Image.Image:
    """A training image as torchvision's ImageFolder opens it."""
    with Image.open(source.train.path(index)) as image:
        return image.convert("RGB")


# --- which samples -------------------------------------------------------------------------------------------------


def test_what_is_known_of_it(source: FileSource, root: Path) -> None:
    found: Source = source
    assert (found.name, found.classes, found.num_classes, found.side) == ("imagenet", imagenet_like.CLASSES, 3, SIDE)
    assert (found.train_size, found.test_size) == (33, 12)
    assert found.train_labels.tolist() == [0] * 13 + [1] * 9 + [2] * 11
    assert found.device == torch.device("cpu")
    assert found.to("cpu").fingerprint == found.fingerprint
    assert str(root) in found.source
    assert "3 of the 1,000 classes, 33 + 12 images" in found.source


@pytest.mark.parametrize("batch", [8, 7, 11, 32, 33, 64])
def test_every_sample_once_an_epoch(source: FileSource, batch: int) -> None:
    made = stream(source, batch=batch)
    chunks = list(made.epoch(1))
    whole, rest = divmod(33, batch)
    sizes = [batch] * whole + [rest] * (rest > 1)
    assert [len(chunk.labels) for chunk in chunks] == sizes
    assert made.steps == len(chunks)
    seen = torch.cat([chunk.index for chunk in chunks])
    assert len(seen.unique()) == len(seen) == sum(sizes)
    for step, chunk in enumerate(chunks):
        assert (chunk.first_step, chunk.bounds, chunk.sizes) == (step, (0, sizes[step]), (sizes[step],))
        assert chunk.step.tolist() == [0] * sizes[step]
        assert torch.equal(chunk.labels, source.train_labels[chunk.index])
        assert torch.equal(chunk.images, normalise(chunk.pixels, source.mean, source.std))
        assert chunk.images.shape == (sizes[step], 3, SIDE, SIDE)
        assert chunk.images.is_contiguous(memory_format=torch.channels_last)
        assert chunk.pixels.dtype == torch.uint8


def test_augmentations_that_it_has_not(source: FileSource) -> None:
    with pytest.raises(UserError, match=r"'crop_flip'.*random_resized_crop_flip"):
        stream(source, augmentation="crop_flip")


def test_images_anew_are_flipped_anew(source: FileSource) -> None:
    """The crop stays; which are flipped is a function of (seed, epoch, step)."""
    flipped = []
    for chunk in stream(source).epoch(1):
        found = stream(source).anew(chunk)
        for image, again in zip(chunk.pixels, found, strict=True):
            flipped.append(torch.equal(again, image.flip(1)))
            assert flipped[-1] or torch.equal(again, image)
        assert torch.equal(found, stream(source).anew(chunk))
    assert 0 < sum(flipped) < len(flipped)
    plain = stream(source, augmentation="none")
    assert all(torch.equal(plain.anew(chunk), chunk.pixels) for chunk in plain.epoch(1))


# --- the same numbers every time -----------------------------------------------------------------------------------


def test_workers_change_nothing(source: FileSource, root: Path) -> None:
    """Two epochs, in either order, then both splits as they are."""
    expected = {epoch: list(stream(source).epoch(epoch)) for epoch in (1, 2)}
    assert not torch.equal(expected[1][0].index, expected[2][0].index)
    for workers in (2, 4):
        other = open_source(root, side=SIDE, workers=workers)
        for epoch in (2, 1):
            found = list(stream(other).epoch(epoch))
            assert all(same(a, b) for a, b in zip(found, expected[epoch], strict=True))
        for split in ("train", "test"):
            for a, b in zip(source.scan(split, 5), other.scan(split, 5), strict=True):
                assert all(map(torch.equal, a, b))


@pytest.mark.parametrize("batch", [8, 3])
def test_devices_share_the_same_batches(source: FileSource, batch: int) -> None:
    ranks = [list(stream(source, batch=batch, share=Share(rank, 2)).epoch(3)) for rank in (0, 1)]
    for whole, *shares in zip(stream(source, batch=batch).epoch(3), *ranks, strict=True):
        for name in ("images", "pixels", "labels", "index", "step", "mixing"):
            assert torch.equal(torch.cat([getattr(share, name) for share in shares]), getattr(whole, name))
        size = whole.sizes[0]
        assert [share.sizes for share in shares] == [(size,)] * 2
        assert [share.bounds for share in shares] == [(0, size // 2), (0, size - size // 2)]


def test_an_image_is_a_function_of_seed_epoch_and_its_position(source: FileSource) -> None:
    """Not of the batch size."""
    one, other = (
        {
            int(i): p
            for chunk in stream(source, batch=b).epoch(4)
            for i, p in zip(chunk.index, chunk.pixels, strict=True)
        }
        for b in (6, 11)
    )
    assert len(one) == len(other) == 33
    assert all(torch.equal(one[index], other[index]) for index in one)


def test_the_global_generators_are_left_alone(root: Path) -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]
    list(stream(open_source(root, side=SIDE, workers=1)).epoch(1))
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == numpy_before).all()  # type: ignore[index]


def test_epochs_differ(source: FileSource) -> None:
    pixels = [
        {int(i): p for chunk in stream(source).epoch(epoch) for i, p in zip(chunk.index, chunk.pixels, strict=True)}
        for epoch in (1, 2)
    ]
    both = pixels[0].keys() & pixels[1].keys()
    assert len(both) > 25
    assert not any(torch.equal(pixels[0][index], pixels[1][index]) for index in both)


# --- pixels --------------------------------------------------------------------------------------------------------


def test_crops_and_flips_are_torchvisions(source: FileSource) -> None:
    """Within two levels, of every kind of file."""
    flipped = []
    for chunk in stream(source).epoch(2):
        for index, pixels in zip(chunk.index.tolist(), chunk.pixels, strict=True):
            draw = generator(5, Purpose.CROP_AND_FLIP, 2, index)
            flipped.append(draw.random() < 0.5)
            image = picture(source, index)
            left, top, right, bottom = random_box(image.size, draw)
            expected = tv.resized_crop(image, top, left, bottom - top, right - left, [SIDE, SIDE])
            away = pixels.int() - pil_tensor(tv.hflip(expected) if flipped[-1] else expected).int()
            assert away.abs().max() <= 2
            assert away.abs().float().mean() < 0.1
    assert 8 <= sum(flipped) <= 24


def pil_tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image))


def centred(image: Image.Image, side: int = SIDE) -> Image.Image:
    return tv.center_crop(tv.resize(image, side * 256 // 224), [side, side])


def test_scan_is_torchvisions_resize_and_centre_crop(source: FileSource) -> None:
    batches = list(source.scan("train", 10))
    assert [len(labels) for _, labels in batches] == [10, 10, 10, 3]
    images = torch.cat([images for images, _ in batches])
    expected = torch.stack([pil_tensor(centred(picture(source, index))) for index in range(33)])
    assert torch.equal(images, normalise(expected, source.mean, source.std))
    assert images.dtype == torch.float32
    assert torch.equal(torch.cat([labels for _, labels in batches]), source.train_labels)


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (224, 224), (300, 41), (33, 400), (17, 20)])
def test_centre_at_the_usual_side(tmp_path: Path, size: tuple[int, int]) -> None:
    imagenet_like.picture(np.random.default_rng(0), *size).save(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as image:
        expected = np.asarray(centred(image, 224))
    assert (decoded((tmp_path / "a.jpg").read_bytes(), 224, None) == expected).all()


def test_devices_share_a_scan(source: FileSource) -> None:
    whole = [torch.cat(tensors) for tensors in zip(*source.scan("test", 4), strict=True)]
    parts = [tensors for rank in range(3) for tensors in source.scan("test", 4, Share(rank, 3))]
    assert [len(labels) for _, labels in parts] == [4, 4, 4]
    assert all(torch.equal(torch.cat(a), b) for a, b in zip(zip(*parts, strict=True), whole, strict=True))


def test_no_augmentation_is_the_centre(source: FileSource) -> None:
    centres = torch.cat([images for images, _ in source.scan("train", 33)])
    for chunk in stream(source, augmentation="none").epoch(1):
        assert torch.equal(chunk.images, centres[chunk.index])


def test_exif_orientation_is_ignored(tmp_path: Path) -> None:
    sideways = Image.Exif()
    sideways[0x0112] = 6
    image = imagenet_like.picture(np.random.default_rng(0), 200, 120)
    image.save(tmp_path / "plain.jpg")
    image.save(tmp_path / "turned.jpg", exif=sideways)
    plain, turned = (decoded((tmp_path / name).read_bytes(), 64, None) for name in ("plain.jpg", "turned.jpg"))
    assert (plain == turned).all()


@pytest.mark.parametrize("size", [(500, 375), (200, 300), (90, 90)])
def test_boxes_are_drawn_as_torchvision_draws_them(size: tuple[int, int]) -> None:
    """3,000 boxes: area, shape and place, each with the same distribution."""
    draw = np.random.default_rng(0)
    mine = np.array([random_box(size, draw) for _ in range(3000)], dtype=float)
    torch.manual_seed(0)
    blank = torch.empty(3, size[1], size[0])
    theirs = np.array([RandomResizedCrop.get_params(blank, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(3000)], float)
    theirs = np.stack([theirs[:, 1], theirs[:, 0], theirs[:, 1] + theirs[:, 3], theirs[:, 0] + theirs[:, 2]], 1)
    assert mine.min() >= 0
    assert (mine.max(0) <= [*size, *size]).all()
    for measure in (
        lambda box: (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1]),
        lambda box: (box[:, 2] - box[:, 0]) / (box[:, 3] - box[:, 1]),
        *(lambda box, edge=edge: box[:, edge] for edge in range(4)),
    ):
        assert ks_2samp(measure(mine), measure(theirs)).pvalue > 1e-4


@pytest.mark.parametrize("size", [(1000, 20), (20, 1000), (1, 300)])
def test_boxes_of_narrow_images(size: tuple[int, int]) -> None:
    """Where no random box fits, torchvision takes the largest central one."""
    mine = random_box(size, np.random.default_rng(0))
    top, left, height, width = RandomResizedCrop.get_params(
        torch.empty(3, size[1], size[0]), [0.99, 1.0], [3 / 4, 4 / 3]
    )
    assert mine == (left, top, left + width, top + height)


def test_flips_are_even_and_unrelated_from_epoch_to_epoch() -> None:
    flips = np.array([[generator(1, Purpose.CROP_AND_FLIP, e, i).random() < 0.5 for i in range(400)] for e in (1, 2)])
    pairs = flips[0] * 2 + flips[1]
    assert chisquare(np.bincount(pairs, minlength=4)).pvalue > 1e-4


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_large_jpegs_are_decoded_smaller(tmp_path: Path, factor: int) -> None:
    """A box of twice the side or more in what is decoded: nearly the same pixels."""
    side, box = 32, (37, 21, 37 + 80 * factor, 21 + 64 * factor)
    imagenet_like.picture(np.random.default_rng(1), 1000, 700).save(tmp_path / "large.jpg", quality=95)
    with Image.open(tmp_path / "large.jpg") as image:
        found = crop(image, side, box).astype(int)
        assert image.size == (-(-1000 // factor), -(-700 // factor))
    with Image.open(tmp_path / "large.jpg") as image:
        expected = np.asarray(image.crop(box).resize((side, side), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(found - expected).mean() < 1.5
    assert np.abs(found - expected).max() < 12


def test_images_a_second(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not a limit: a line to compare with."""
    source = open_source(root, side=224, workers=0)
    began = perf_counter()
    count = sum(len(chunk.labels) for epoch in (1, 2) for chunk in stream(source).epoch(epoch))
    with capsys.disabled():
        print(f"[{count / (perf_counter() - began):.0f} images/s of 120x90 to 300x200, one process]", file=sys.stderr)
    assert count == 64


def test_no_two_steps_overlap(source: FileSource) -> None:
    chunks = list(stream(source, batch=8).epoch(1))
    assert all(not {*a.index.tolist()} & {*b.index.tolist()} for a, b in pairwise(chunks))

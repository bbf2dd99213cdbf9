"""A user's own images: real digits in folders, other formats, and every fault that a folder can have."""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional

from trainables.data.dataset import channel_statistics
from trainables.data.file_source import FileSource
from trainables.data.source import UNREADABLE
from trainables.datasets import at_side, count_images, find, imagefolder, load
from trainables.errors import UserError


def refused(data_dir: Path | None, *, download: bool = False) -> str:
    with pytest.raises(UserError) as error:
        load("imagefolder", data_dir, download=download)
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Real digits 0 to 2 as 16x16 PNG files: 6 of each to train, 3 to test, in folders made in reverse order."""
    data = load("digits", None)
    root = tmp_path / "mine"
    for split, part, count in (("train", data.train, 6), ("val", data.test, 3)):
        for label in (2, 1, 0):
            (place := root / split / f"digit{label}").mkdir(parents=True)
            for number in reversed(range(count)):
                image = part.images[part.labels == label][number]
                Image.fromarray(image.numpy()).save(place / f"{number:03d}.png")
    return root


def test_imagefolder(folder: Path) -> None:
    data = load("imagefolder", folder)
    assert data.classes == ("digit0", "digit1", "digit2")
    assert data.train.labels.tolist() == [0] * 6 + [1] * 6 + [2] * 6
    assert data.test.labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    assert data.side == 32
    assert (data.mean, data.std) == channel_statistics(data.train.images)
    known = count_images("imagefolder", folder, 0.4)
    thin = load("imagefolder", folder, train_fraction=0.4)
    assert known.train_per_class == (3, 3, 3)
    assert (known.num_classes, known.side, known.test_size) == (3, 32, 9)
    assert (len(thin.train), thin.mean) == (9, data.mean)
    assert load("imagefolder", folder).fingerprint == data.fingerprint


def test_imagefolder_of_the_right_size_is_lossless(folder: Path) -> None:
    digits = load("digits", None)
    read = imagefolder.read(folder, download=False, side=16)
    for label in range(3):
        mine = read.train.images[read.train.labels == label]
        assert torch.equal(mine, digits.train.images[digits.train.labels == label][:6])


def test_imagefolder_test_instead_of_val_and_other_files(folder: Path) -> None:
    before = load("imagefolder", folder)
    (folder / "val").rename(folder / "test")
    (folder / "train" / "README").write_text("not a class")
    (folder / "train" / "digit0" / "notes.txt").write_text("not an image")
    (folder / "train" / "digit0" / "._000.png").write_text("another system's shadow of 000.png")
    (folder / "train" / ".cache").mkdir()
    (folder / "test" / "digit1" / "deeper").mkdir()
    shutil.move(folder / "test" / "digit1" / "000.png", folder / "test" / "digit1" / "deeper" / "000.PNG")
    after = load("imagefolder", folder)
    assert torch.equal(after.train.images, before.train.images)
    assert torch.equal(after.test.images[3:6], before.test.images[[4, 5, 3]])
    assert "3 files that are no images were ignored" in after.source


def test_the_folder_that_is_tested_on(folder: Path) -> None:
    """Where there are several, `test` goes before `validation`: as before the latter was known."""
    before = load("imagefolder", folder)
    for name in ("valid", "validation", "test"):
        (folder / "val").rename(folder / name)
        shutil.copytree(folder / name, folder / "val")
        shutil.rmtree(folder / "val")
        after = load("imagefolder", folder)
        assert after.fingerprint == before.fingerprint
        assert f"train and {name}/" in after.source
        shutil.copytree(folder / name, folder / "val")


@pytest.mark.parametrize("size", [(60, 40), (40, 60), (200, 37), (20, 30)])
def test_resize_and_centre_crop_against_torchvision(tmp_path: Path, size: tuple[int, int]) -> None:
    smooth = np.random.default_rng(1).integers(0, 256, (5, 7, 3), np.uint8)
    image = Image.fromarray(smooth).resize(size, Image.Resampling.BICUBIC)
    image.save(tmp_path / "image.png")
    expected = functional.center_crop(functional.resize(image, 32, antialias=True), [32, 32])
    difference = np.abs(imagefolder.square(tmp_path / "image.png", 32).astype(int) - np.asarray(expected))
    assert difference.mean() < 1.5


def test_pixel_formats(tmp_path: Path) -> None:
    def read(image: Image.Image, name: str, **options: object) -> np.ndarray:
        image.save(tmp_path / name, **options)  # type: ignore[arg-type]
        return imagefolder.square(tmp_path / name, 32)

    ramp = np.tile(np.arange(32, dtype=np.uint8) * 8, (32, 1))
    grey = np.repeat(ramp[..., None], 3, 2)
    assert (read(Image.fromarray(ramp), "grey.png") == grey).all()
    assert (read(Image.fromarray(ramp.astype(np.uint16) * 257), "deep.png") == grey).all()
    transparent = Image.fromarray(np.dstack([grey, np.full((32, 32), 90, np.uint8)]))
    assert (read(transparent, "alpha.png") == grey).all()
    assert (read(Image.fromarray(ramp).convert("P"), "palette.png", transparency=b"\x00\x80") == grey).all()
    sideways = Image.Exif()
    sideways[0x0112] = 6
    turned = read(Image.fromarray(grey), "phone.png", exif=sideways)
    assert (turned == np.rot90(grey, -1)).all()
    large = read(Image.fromarray(grey).resize((1024, 1024)), "large.jpg", quality=95)
    assert np.abs(large.astype(int) - grey).mean() < 2
    with pytest.raises(ValueError, match="8 bits"):
        read(Image.fromarray(ramp.astype(np.float32)), "float.tiff")


def test_faulty_imagefolder(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(what: str, data_dir: Path | None = folder, *, download: bool = False) -> None:
        assert what in refused(data_dir, download=download)

    said("needs --data-dir", None)
    said("is no folder", tmp_path / "nowhere")
    said("has no train/ folder", folder / "train")
    said("nothing to --download", download=True)

    (folder / "val" / "digit1").rename(folder / "val" / "other")
    said(f"{folder / 'val'} lacks class folders that {folder / 'train'} has (digit1)")
    (folder / "val" / "digit1").mkdir()
    said(f"{folder / 'train'} lacks class folders that {folder / 'val'} has (other)")
    shutil.rmtree(folder / "val" / "other")
    said(f"class folder {folder / 'val' / 'digit1'} has no images")
    with pytest.raises(UserError, match="has no images"):
        count_images("imagefolder", folder)
    for split in ("train", "val"):
        shutil.rmtree(folder / split / "digit1")
    monkeypatch.setattr(imagefolder, "MOST_BYTES", 18 * 32 * 32 * 3 - 1)
    said("18 images of 32x32 need")
    for split in ("train", "val"):
        shutil.rmtree(folder / split / "digit2")
    said("two are the least")
    shutil.rmtree(folder / "val")
    said("has no val/ or test/ folder")


@pytest.mark.parametrize("name", ["e\u0301te\u0301", "\u00c9t\u00e9", "\u00e9t\u00e9 "])
def test_names_that_look_alike_are_told_apart(name: str, folder: Path) -> None:
    """As copies from another system have them."""
    (folder / "train" / "digit0").rename(folder / "train" / "\u00e9t\u00e9")
    (folder / "val" / "digit0").rename(folder / "val" / name)
    assert f"('\\xe9t\\xe9' and {name!a} are two names)" in refused(folder)


def test_images_of_one_colour(folder: Path) -> None:
    for path in folder.glob("train/*/*.png"):
        Image.new("RGB", (16, 16), (9, 9, 9)).save(path)
    assert "one colour" in refused(folder)


@pytest.mark.parametrize("content", [b"", b"not an image", "half", bytes(500)])
def test_damaged_images_end_nothing_and_are_all_named(folder: Path, content: bytes | str) -> None:
    whole = load("imagefolder", folder)
    places = [folder / "train" / "digit1" / "003.png", folder / "train" / "digit1" / "005.png"]
    places += [folder / "val" / "digit2" / "001.png"]
    for path in places:
        path.write_bytes(path.read_bytes()[:-40] if isinstance(content, str) else content)
    data = load("imagefolder", folder)
    assert set(data.unreadable) == {str(path) for path in places}
    assert all(str(path) in data.source for path in places)
    assert not any("BytesIO" in why or str(folder) in why for why in data.unreadable.values())
    expected = whole.train.images.clone()
    expected[9], expected[11] = expected[10], expected[6]
    assert torch.equal(data.train.images, expected)
    labels = torch.cat([labels for _, labels in data.scan("test", 4)])
    assert labels.tolist() == [0] * 3 + [1] * 3 + [2, UNREADABLE, 2]
    assert data.test_labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    thin = load("imagefolder", folder, train_fraction=0.6)
    assert set(thin.unreadable) == {str(path) for path in places if path != places[1]}
    assert str(places[1]) not in thin.source
    held_out = load("imagefolder", folder, holdout=0.2)
    assert set(held_out.unreadable) == {str(path) for path in places[:2]}
    for path in (folder / "val" / "digit2").iterdir():
        path.write_bytes(b"")
    assert f"none of the images in {folder / 'val' / 'digit2'} can be decoded" in refused(folder)


def test_a_fault_of_the_disk_is_no_damaged_image(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With another image in its place the run would be another one, though the folder is as it was."""
    broken = folder / "train" / "digit1" / "003.png"

    def fail(file: Path) -> bytes:
        if file == broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return file.read_bytes()

    monkeypatch.setattr("trainables.data.parquet.read_file", fail)
    assert refused(folder).startswith(f"cannot read {broken}: Input/output error")


def test_endings_that_are_read_are_named_where_nothing_is_found(folder: Path) -> None:
    for path in (folder / "train" / "digit0").iterdir():
        path.rename(path.with_suffix(".gif"))
    assert "has no images (files that end in .bmp, .jpeg, .jpg," in (message := refused(folder))
    assert "and it has 6 others)" in message


def test_the_size_is_an_option(folder: Path) -> None:
    small, usual = load("imagefolder_16", folder), load("imagefolder", folder)
    assert (small.side, usual.side, count_images("imagefolder_16", folder).side) == (16, 32, 16)
    assert small.fingerprint != usual.fingerprint
    assert at_side("imagefolder", 32) == "imagefolder"
    for other_name in ("imagefolder_32", "imagefolder_064"):
        with pytest.raises(UserError, match=f"unknown data set '{other_name}'"):
            find(other_name)
    assert find("imagefolder_64").recipe == replace(find("imagefolder").recipe, name="imagefolder_64")
    assert not find("imagefolder_64").streamed
    for name, side in (("digits", 32), ("imagefolder", 8)):
        with pytest.raises(UserError, match=f"--image-size {side}: "):
            at_side(name, side)
    with pytest.raises(UserError, match="unknown data set 'digits_32'"):
        find("digits_32")


def test_large_images_stay_in_their_files_and_are_turned_upright(folder: Path) -> None:
    tall = np.zeros((120, 80, 3), np.uint8)
    tall[:60] = 255
    sideways = Image.Exif()
    sideways[0x0112] = 6
    Image.fromarray(np.rot90(tall).copy()).save(folder / "val" / "digit0" / "000.png", exif=sideways)
    data, larger = load("imagefolder_80", folder), load("imagefolder_96", folder)
    assert isinstance(data, FileSource)
    assert find("imagefolder_80").streamed
    assert (data.side, data.mean) == (80, (0.485, 0.456, 0.406))
    assert data.fingerprint != larger.fingerprint
    images, _ = next(data.scan("test", 1))
    assert (images[0, :, :30] > 0).all()
    assert (images[0, :, 50:] < 0).all()
    recipe = find("imagefolder_80").recipe
    assert (recipe.augmentation, recipe.plain) == ("random_resized_crop_flip", find("imagenet").recipe.plain)

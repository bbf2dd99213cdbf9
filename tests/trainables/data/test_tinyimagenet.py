"""TinyImageNet: each layout that people have, its conversion however it ends, and every fault of a folder."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_tinyimagenet import TRAIN, VAL, WNIDS, annotated, sort_in_place, write

from trainables import datasets
from trainables.data.counts import ImageCounts
from trainables.data.dataset import channel_statistics
from trainables.data.tinyimagenet_folders import BY_CLASS, find, in_class_folders, scan
from trainables.datasets import count_images, load, needs_fingerprint, tinyimagenet
from trainables.errors import UserError
from trainables.storage.locks import hold_lock

PROJECT = Path(__file__).parents[3]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(tmp_path / "tiny-imagenet-200")


def refused(data_dir: Path | None) -> str:
    with pytest.raises(UserError) as error:
        load("tinyimagenet", data_dir)
    text = str(error.value)
    assert "\n" not in text
    return text


def sorted_names(folder: Path) -> dict[str, str]:
    return {path.name: path.parent.name for path in folder.glob("*/*.JPEG")}


def decoded(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


# --- as published -------------------------------------------------------------------------------------------------


def test_before_and_after_the_conversion(root: Path) -> None:
    original = sorted(path for path in root.rglob("*") if path.is_file())
    data = load("tinyimagenet", root.parent)
    assert data.classes == ("goldfish", "crane (n02012849)", "crane (n03126707)")
    assert data.train_labels.tolist() == [0] * TRAIN + [1] * TRAIN + [2] * TRAIN
    assert data.test.labels.tolist() == [0] * VAL + [1] * VAL + [2] * VAL
    assert data.train.images.shape == (18, 64, 64, 3)
    assert (data.mean, data.std) == channel_statistics(data.train.images)
    assert data.source == (
        f"TinyImageNet in {root}; 18 training and 9 test images of 3 classes, not the published 100,000, 10,000 and 200"
    )
    assert sorted_names(root / BY_CLASS) == annotated(root)
    assert (root / BY_CLASS / WNIDS[2] / "val_0.JPEG").samefile(root / "val" / "images" / "val_0.JPEG")
    assert all(path.exists() for path in original)
    for place in (root, root.parent):
        assert load("tinyimagenet", place).fingerprint == data.fingerprint
    shutil.rmtree(root / "val")
    assert load("tinyimagenet", root).fingerprint == data.fingerprint


def test_the_images_are_the_same_where_nothing_may_be_converted(root: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    data = load("tinyimagenet", root, convert=False)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    assert load("tinyimagenet", root).fingerprint == data.fingerprint
    assert (root / BY_CLASS).is_dir()
    assert load("tinyimagenet", root, convert=False).fingerprint == data.fingerprint


def test_images_are_the_files_pixels_in_the_order_of_their_names(root: Path) -> None:
    data = load("tinyimagenet", root)
    names = sorted(path.name for path in (root / "train" / WNIDS[1] / "images").iterdir())
    for image, name in zip(data.train.images[TRAIN : 2 * TRAIN].numpy(), names, strict=True):
        assert (image == decoded(root / "train" / WNIDS[1] / "images" / name)).all()
    names = sorted(name for name, wnid in annotated(root).items() if wnid == WNIDS[2])
    for image, name in zip(data.test.images[2 * VAL :].numpy(), names, strict=True):
        assert (image == decoded(root / "val" / "images" / name)).all()


def test_facts(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(root.rglob("*"))
    assert count_images("tinyimagenet", tmp_path) == ImageCounts(3, 64, (TRAIN,) * 3, 9)
    assert needs_fingerprint("tinyimagenet", tmp_path)
    assert count_images("tinyimagenet", tmp_path, 1.0, 0.5).in_words() == "6 .. 3 a class, 13 images"
    assert sorted(root.rglob("*")) == before
    thin = load("tinyimagenet", tmp_path, train_fraction=0.4, imbalance=0.5)
    assert torch.bincount(thin.train_labels).tolist() == [3, 2, 2]
    assert count_images("tinyimagenet", tmp_path, 0.4, 0.5).train_per_class == (3, 2, 2)
    for nowhere in (None, tmp_path / "nowhere"):
        assert count_images("tinyimagenet", nowhere) == ImageCounts(200, 64, (500,) * 200, 10_000)
        assert not needs_fingerprint("tinyimagenet", nowhere)
    published = ImageCounts(3, 64, (TRAIN,) * 3, 9)
    monkeypatch.setattr(tinyimagenet, "PUBLISHED", published)
    monkeypatch.setattr(datasets, "find", lambda name: replace(tinyimagenet.DATASET, published=published))
    assert not needs_fingerprint("tinyimagenet", tmp_path)
    assert load("tinyimagenet", tmp_path).source == f"TinyImageNet in {root}"


def test_grey_and_cmyk_images_become_rgb(root: Path) -> None:
    place = root / "train" / WNIDS[0] / "images"
    first, second = sorted(place.iterdir())[:2]
    before = load("tinyimagenet", root).train.images[:2].int()
    for path, mode in ((first, "L"), (second, "CMYK")):
        with Image.open(path) as image:
            image.convert(mode).save(path, "JPEG", quality=95)
        with Image.open(path) as image:
            assert image.mode == mode
    after = load("tinyimagenet", root).train.images[:2].int()
    assert (after - before).abs().max() < 16


# --- sorted by others ---------------------------------------------------------------------------------------------

PLACES = ("{}", "{}/images", "images/{}")


@pytest.mark.parametrize("places", PLACES)
@pytest.mark.parametrize("left", ["all text", "no annotations", "no text"])
def test_sorted_in_place_by_others(root: Path, tmp_path: Path, places: str, left: str) -> None:
    untouched = load("tinyimagenet", write(tmp_path / "untouched")).fingerprint
    sort_in_place(root, places)
    if left != "all text":
        (root / "val" / "val_annotations.txt").unlink()
    if left == "no text":
        for file in root.rglob("*.txt"):
            file.unlink()
    data = load("tinyimagenet", root.parent)
    assert data.fingerprint == untouched
    assert data.classes == (WNIDS if left == "no text" else ("goldfish", "crane (n02012849)", "crane (n03126707)"))
    assert not (root / BY_CLASS).exists()


def test_training_images_without_a_folder_of_their_own(root: Path) -> None:
    before = load("tinyimagenet", root).fingerprint
    for path in root.glob("train/*/images/*"):
        path.rename(path.parents[1] / path.name)
    assert load("tinyimagenet", root).fingerprint == before


@pytest.mark.parametrize("places", PLACES)
def test_half_sorted_by_others(root: Path, places: str) -> None:
    sort_in_place(root, places, most=4)
    text = refused(root)
    assert f"{root / 'val'} is incomplete or half sorted" in text
    assert "9 images that val_annotations.txt names, 4 are in their class folders, 5 in none, 0 are missing" in text
    assert "unpack tiny-imagenet-200.zip anew or add --download" in text
    with pytest.raises(UserError, match="half sorted"):
        count_images("tinyimagenet", root)
    (root / "val" / "val_annotations.txt").unlink()
    assert "4 images" in (text := refused(root))
    assert "in class folders and 5 in none, and without val_annotations.txt" in text


def test_half_copied_by_others_is_still_whole(root: Path) -> None:
    before = load("tinyimagenet", root).fingerprint
    shutil.rmtree(root / BY_CLASS)
    sort_in_place(root, "{}", most=4, keep=True)
    os.truncate(next((root / "val").glob("n*/*")), 10)
    assert load("tinyimagenet", root).fingerprint == before


def test_sorted_into_wrong_classes(root: Path) -> None:
    sort_in_place(root, "{}")
    for number, wnid in enumerate(WNIDS):
        (root / "val" / wnid).rename(root / "val" / str(number))
    for number, wnid in enumerate([*WNIDS[1:], WNIDS[0]]):
        (root / "val" / str(number)).rename(root / "val" / wnid)
    assert "0 are in their class folders, 0 in none, 9 are missing" in refused(root)


# --- the conversion, however it ends ------------------------------------------------------------------------------

CONVERT = """
import os, signal, sys, time
from pathlib import Path
from trainables.data import tinyimagenet_folders as folders
root, dies_at = Path(sys.argv[1]), int(sys.argv[2])
link, count = os.link, 0
def slow(*arguments):
    global count
    if count == dies_at:
        os.kill(os.getpid(), signal.SIGKILL)
    count += 1
    time.sleep(0.002)
    link(*arguments)
folders.os.link = slow
print(folders.in_class_folders(root, folders.scan(root)).test.folder.name)
"""


def convert(root: Path, dies_at: int = -1) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CONVERT, str(root), str(dies_at)]
    return subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("dies_at", [0, 1, 8])
def test_killed_in_the_middle(root: Path, dies_at: int) -> None:
    with convert(root, dies_at) as process:
        assert process.wait() == -signal.SIGKILL
    assert not (root / BY_CLASS).exists()
    assert len(sorted_names(root / f".{BY_CLASS}.partial")) == dies_at
    assert find(root.parent) == root
    assert count_images("tinyimagenet", root).test_size == 9
    with convert(root) as process:
        assert process.communicate()[0].strip() == BY_CLASS
    assert sorted_names(root / BY_CLASS) == annotated(root)
    assert not (root / f".{BY_CLASS}.partial").exists()


def test_several_at_once(root: Path) -> None:
    running = [convert(root) for _ in range(4)]
    said = {process.communicate()[0].strip() for process in running}
    assert BY_CLASS in said
    assert said <= {BY_CLASS, "images"}
    assert sorted_names(root / BY_CLASS) == annotated(root)
    assert {path.name for path in root.iterdir() if path.name.startswith(".")} == {f".{BY_CLASS}.lock"}


def test_another_process_at_it_is_not_waited_for(root: Path) -> None:
    listing = scan(root)
    with hold_lock(root / f".{BY_CLASS}.lock", seconds=0):
        assert in_class_folders(root, listing) == listing
    assert in_class_folders(root, listing).test.folder == root / BY_CLASS


@pytest.mark.parametrize("copying", [True, False])
def test_where_links_fail(root: Path, monkeypatch: pytest.MonkeyPatch, copying: bool) -> None:
    def fails(*_: object) -> None:
        raise OSError(1, "not permitted")

    monkeypatch.setattr(os, "link", fails)
    if not copying:
        monkeypatch.setattr(shutil, "copyfile", fails)
    found = in_class_folders(root, scan(root))
    assert (found.test.folder == root / BY_CLASS) == copying
    assert (root / BY_CLASS).exists() == copying
    assert not (root / f".{BY_CLASS}.partial").exists()
    assert [(path.name, label) for path, label in found.test.files] == [
        (name, label)
        for label, wnid in enumerate(WNIDS)
        for name, own in sorted(annotated(root).items())
        if own == wnid
    ]


@pytest.fixture
def unwritable() -> Iterator[Path]:
    """A folder that this process, made an ordinary user's for the while, may read only."""
    parent = Path(tempfile.mkdtemp())
    root = write(parent / "tiny-imagenet-200")
    for folder in (parent, *(path for path in parent.rglob("*") if path.is_dir())):
        folder.chmod(0o555)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield root
    os.seteuid(user)
    for folder in (parent, *(path for path in parent.rglob("*") if path.is_dir())):
        folder.chmod(0o755)
    shutil.rmtree(parent)


def test_read_only_folder(unwritable: Path) -> None:
    before = sorted(unwritable.rglob("*"))
    data = load("tinyimagenet", unwritable)
    assert (data.train_size, data.test.labels.tolist()) == (18, [0] * VAL + [1] * VAL + [2] * VAL)
    assert sorted(unwritable.rglob("*")) == before
    with pytest.raises(UserError, match=r"cannot write into .* \(permission denied\): make it writable"):
        load("tinyimagenet", unwritable / "val", download=True)


def test_what_was_converted_from_other_annotations_is_refused(root: Path) -> None:
    before = load("tinyimagenet", root).fingerprint
    (root / BY_CLASS / WNIDS[0] / "val_8.JPEG").rename(root / BY_CLASS / WNIDS[1] / "val_8.JPEG")
    assert f"delete {root / BY_CLASS}, it is made anew" in refused(root)
    shutil.rmtree(root / BY_CLASS)
    assert load("tinyimagenet", root).fingerprint == before


# --- faults -------------------------------------------------------------------------------------------------------


def test_no_folder(root: Path, tmp_path: Path) -> None:
    assert "needs --data-dir" in refused(None)
    assert "is no folder" in refused(root / "words.txt")
    for message in (refused(tmp_path / "nowhere"), refused(root / "test")):
        assert "has no TinyImageNet" in message
        assert "add --download, or unpack http://cs231n.stanford.edu/tiny-imagenet-200.zip" in message
    (root / "test" / "tiny-imagenet-200.zip").touch()
    assert "has no TinyImageNet but tiny-imagenet-200.zip, which is not unpacked" in refused(root / "test")


@pytest.mark.parametrize("place", ["train/n02012849/images/n02012849_3.JPEG", "val/images/val_4.JPEG"])
def test_damaged_images_end_nothing_and_are_named(root: Path, place: str) -> None:
    path = root / place
    whole = path.read_bytes()
    for content in (b"", whole[: len(whole) // 2], whole[:20], b"not an image", bytes(len(whole))):
        path.write_bytes(content)
        data = load("tinyimagenet", root)
        assert [Path(name).name for name in data.unreadable] == [path.name]
        assert path.name in data.source
    Image.new("RGB", (64, 48)).save(path)
    assert "64x48 pixels, TinyImageNet's have 64x64" in refused(root)
    path.write_bytes(whole)
    load("tinyimagenet", root)


def test_faulty_annotations(root: Path) -> None:
    file = root / "val" / "val_annotations.txt"
    whole = file.read_text()
    first, *rest = whole.splitlines(keepends=True)
    for content, message in (
        ("", "names no image"),
        (whole.replace("n01443537", "n99999999", 1), "is not a new image and a class of wnids.txt"),
        (whole + first, "line 10 of"),
        ("val_0.JPEG\n" + "".join(rest), "line 1 of"),
        ("".join(rest), "images that val_annotations.txt does not name (val_0.JPEG)"),
        (whole.replace("val_5.JPEG", "val_55.JPEG"), "does not name (val_5.JPEG)"),
        (whole + "val_9.JPEG\tn01443537\n", "9 in none, 1 are missing"),
    ):
        file.write_text(content)
        assert message in refused(root)
    file.write_bytes(b"\xff" + whole.encode())
    assert "does not name (val_0.JPEG)" in refused(root)
    file.unlink()
    assert "0 images" in (message := refused(root))
    assert "9 in none, and without val_annotations.txt" in message
    shutil.rmtree(root / "val")
    assert "has no val folder" in refused(root)


def test_faulty_classes(root: Path) -> None:
    (root / "train" / "n09999999").mkdir()
    assert "has folders that" in (message := refused(root))
    assert "wnids.txt does not name (n09999999)" in message
    (root / "train" / "n09999999").rmdir()
    for path in (root / "val" / "images").iterdir():
        if annotated(root)[path.name] == WNIDS[1]:
            path.unlink()
    file = root / "val" / "val_annotations.txt"
    file.write_text("".join(f"{k}\t{wnid}\n" for k, wnid in annotated(root).items() if wnid != WNIDS[1]))
    assert f"{root / 'val' / 'images'} has no image of the class {WNIDS[1]}" in refused(root)
    shutil.rmtree(root / "train" / WNIDS[0] / "images")
    assert f"class folder {root / 'train' / WNIDS[0]} has no images" in refused(root)
    shutil.rmtree(root / "train" / WNIDS[0])
    assert f"names classes that have no folder in {root / 'train'} ({WNIDS[0]})" in refused(root)
    (root / "wnids.txt").write_text(f"{WNIDS[1]}\n")
    assert "has 1 classes, two are the least" in refused(root)


def test_words_that_say_nothing(root: Path) -> None:
    (root / "words.txt").write_text(f"{WNIDS[0]}\nno tab\n{WNIDS[1]}\t\n{WNIDS[2]}\tn02012849\n")
    assert load("tinyimagenet", root).classes == (WNIDS[0], f"n02012849 ({WNIDS[1]})", f"n02012849 ({WNIDS[2]})")

"""Images in parquet files, as the hub lays them out, are those of the same files in class folders."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from test_cifar100 import python2_pickle

from trainables import datasets
from trainables.data.cifar import search
from trainables.data.cifar_python import put_together
from trainables.data.dataset import Dataset
from trainables.data.file_source import FileSource
from trainables.datasets.cifar10 import FILES
from trainables.errors import UserError

NAMES = ("dark", "bright")


def picture(number: int, side: int = 40) -> bytes:
    pixels = np.random.default_rng(number).integers(256, size=(side, side + 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def table(
    numbers: Sequence[int],
    labels: Sequence[object] | None,
    names: Sequence[str] | None = NAMES,
    columns: tuple[str, str] = ("image", "label"),
) -> pa.Table:
    image, label = columns
    arrays = {image: pa.array([{"bytes": picture(number), "path": f"{number}.png"} for number in numbers])}
    if labels is not None:
        arrays[label] = pa.array(labels)
    made = pa.table(arrays)
    if names:
        features = {image: {"_type": "Image"}, label: {"names": list(names), "_type": "ClassLabel"}}
        made = made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    return made


def write_tables(folder: Path, columns: tuple[str, str] = ("image", "label")) -> None:
    """Six training images in two shards, two test images; small row groups."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard, numbers in enumerate(((0, 1, 2, 3), (4, 5))):
        made = table(numbers, [number % 2 for number in numbers], columns=columns)
        pq.write_table(made, folder / f"train-{shard:05d}-of-00002.parquet", row_group_size=2)
    pq.write_table(table((6, 7), [0, 1], columns=columns), folder / "validation-00000-of-00001-0a1b.parquet")


def write_folders(folder: Path) -> None:
    """The same images in class folders, whose names are in the order of the labels."""
    for split, numbers in (("train", range(6)), ("val", (6, 7))):
        for number in numbers:
            place = folder / split / f"{number % 2}_{NAMES[number % 2]}"
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{number}.png").write_bytes(picture(number))


def refused(data_dir: Path, name: str = "imagefolder") -> str:
    with pytest.raises(UserError) as error:
        datasets.load(name, data_dir)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("columns", [("image", "label"), ("img", "fine_label")])
@pytest.mark.parametrize("place", [".", "data", "default", "datasets--me--mine/snapshots/0a1b/data", "snapshots/0a1b"])
def test_small_images_are_those_of_class_folders(tmp_path: Path, place: str, columns: tuple[str, str]) -> None:
    write_tables(tmp_path / "tables" / place, columns)
    write_folders(tmp_path / "folders")
    one, two = (datasets.load("imagefolder", tmp_path / name) for name in ("tables", "folders"))
    assert isinstance(one, Dataset)
    assert isinstance(two, Dataset)
    assert one.classes == NAMES
    assert one.fingerprint == two.fingerprint
    assert torch.equal(one.test.images, two.test.images)
    assert datasets.class_names("imagefolder", tmp_path / "tables") == NAMES
    assert datasets.count_images("imagefolder", tmp_path / "tables").train_per_class == (3, 3)


def batches(data_dir: Path) -> list[torch.Tensor]:
    source = datasets.load("imagefolder_72", data_dir)
    assert isinstance(source, FileSource)
    source.workers = 0
    stream = source.stream(seed=1, batch_size=3, augmentation="random_resized_crop_flip")
    return [chunk.images for chunk in stream.epoch(1)] + [images for images, _ in source.scan("test", 2)]


@pytest.mark.parametrize("writable", [True, False])
def test_large_images_are_unpacked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], writable: bool
) -> None:
    write_tables(tmp_path / "tables")
    write_folders(tmp_path / "folders")
    if not writable:
        monkeypatch.setattr(Path, "mkdir", lambda *_, **__: (_ for _ in ()).throw(PermissionError(13, "denied")))
    assert all(map(torch.equal, batches(tmp_path / "tables"), batches(tmp_path / "folders")))
    if writable:
        made = sorted((tmp_path / "tables" / "unpacked").glob("*.images"))
        assert [file.name for file in made] == [
            f"{file.name}.images" for file in sorted((tmp_path / "tables").glob("*.parquet"))
        ]
        before = [file.stat().st_mtime_ns for file in made]
        batches(tmp_path / "tables")
        assert [file.stat().st_mtime_ns for file in made] == before
    else:
        assert "warning: cannot unpack" in capsys.readouterr().err


def test_other_images_are_other_runs(tmp_path: Path) -> None:
    write_tables(tmp_path)
    first = datasets.load("imagefolder_72", tmp_path).fingerprint
    assert datasets.load("imagefolder_72", tmp_path).fingerprint == first
    file = tmp_path / "train-00001-of-00002.parquet"
    pq.write_table(table((4, 5, 8), [0, 1, 0]), file)
    os.utime(file, ns=(os.stat(file).st_atime_ns, os.stat(file).st_mtime_ns + 10**9))
    changed = datasets.load("imagefolder_72", tmp_path)
    assert changed.fingerprint != first
    assert isinstance(changed, FileSource)
    changed.workers = 0
    assert len([images for images, _ in changed.scan("train", 7)]) == 1


def test_faulty_tables_are_one_line(tmp_path: Path) -> None:
    train, test = tmp_path / "train-00000-of-00001.parquet", tmp_path / "test-00000-of-00001.parquet"
    pq.write_table(table((6, 7), [0, 1]), test)
    for content, message in (
        (table((0, 1), None), r"has no images with labels: it has the columns image \(struct.*, and image .* are read"),
        (table((0, 1), [0.5, 1.5]), r", label \(double\), and image .* and label \(whole numbers or words\) are read"),
        (table((0, 1), [-1, 0]), "has images without a label .* in its column label"),
        (table((0, 1), [0, None]), "has images without a label"),
        (table((0, 1), [0, 0]), "has no training image of the class 'bright'"),
        (table((0, 1), [0, 3]), "the labels in .* are of 4 classes, 2 named"),
        (table((0, 1), ["cat", "dog"], None), "are words .'cat'. and others whole numbers"),
        (table((0, 1), [0, 1]).slice(0, 0), "has images without a label"),
    ):
        pq.write_table(content, train)
        text = refused(tmp_path)
        assert re.search(message, text), text
        assert str(tmp_path) in text
    for file in (train, test):
        pq.write_table(table((0, 1), [0, 0], None), file)
    assert "have the label '0': two classes are the least" in refused(tmp_path)
    pq.write_table(table((0, 1), [5, 2**40], None), train)
    assert "go up to 1099511627776, of 4 images: number the classes from 0 on" in refused(tmp_path)
    train.write_bytes(b"PAR1")
    assert "is truncated or damaged" in refused(tmp_path)
    train.rename(tmp_path / "train-00000-of-00003.parquet")
    assert "has no train-00001-of-00003.parquet" in refused(tmp_path)
    (tmp_path / "train-00000-of-00003.parquet").unlink()
    assert "has parquet files (test-00000-of-00001.parquet) but none of training images" in refused(tmp_path)
    test.rename(tmp_path / "train.parquet")
    assert "has no parquet files of test images" in refused(tmp_path)
    for name in ("one", "two"):
        write_tables(tmp_path / "both" / name)
    assert "has several data sets in parquet files" in refused(tmp_path / "both")


def test_labels_may_be_words(tmp_path: Path) -> None:
    pq.write_table(table((0, 1), ["cat", "dog"], None), tmp_path / "train.parquet")
    pq.write_table(table((2, 3), ["dog", "cat"], None), tmp_path / "test.parquet")
    source = datasets.load("imagefolder", tmp_path)
    assert source.classes == ("cat", "dog")
    assert source.test_labels.tolist() == [0, 1]


def test_imagenet_and_tinyimagenet(tmp_path: Path) -> None:
    """A copy has an order of its own, so its runs have its fingerprint."""
    write_tables(tmp_path / "imagenet-1k" / "data")
    assert datasets.find("imagenet").find(tmp_path / "imagenet-1k") == tmp_path / "imagenet-1k" / "data"  # type: ignore[misc]
    source = datasets.load("imagenet", tmp_path / "imagenet-1k")
    assert source.source.startswith(f"ImageNet in {tmp_path / 'imagenet-1k' / 'data'}: 2 of the 1,000 classes, 6 + 2")
    assert datasets.needs_fingerprint("imagenet", tmp_path / "imagenet-1k")
    tiny = tmp_path / "tiny-imagenet" / "data"
    tiny.mkdir(parents=True)
    for name, numbers in (("train-00000-of-00001-1359597a978bc4fa", range(4)), ("valid-00000-of-00001", range(4, 6))):
        images = [{"bytes": square(number), "path": None} for number in numbers]
        labels = [number % 2 for number in numbers]
        pq.write_table(pa.table({"image": images, "label": labels}), tiny / f"{name}.parquet")
    found = datasets.load("tinyimagenet", tmp_path)
    assert (found.side, found.train_size, found.classes) == (64, 4, ("0", "1"))


def square(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (number, 0, 0)).save(buffer, "JPEG")
    return buffer.getvalue()


def test_cifar10_by_its_published_files() -> None:
    """torchvision carries their sums too."""
    from torchvision.datasets import CIFAR10

    parts = {name: md5 for files in FILES.parts.values() for name, md5 in files.items()}
    assert dict([*CIFAR10.train_list, *CIFAR10.test_list]) == parts
    assert (CIFAR10.url, CIFAR10.filename, CIFAR10.tgz_md5) == (FILES.url, FILES.archive, FILES.archive_md5)
    counts = datasets.count_images("cifar10", None)
    assert (counts.train_size, counts.test_size, counts.num_classes) == (50_000, 10_000, 10)


def test_cifar10_puts_its_batches_together() -> None:
    def batch(start: int, count: int) -> bytes:
        rows = np.arange(start, start + count, dtype=np.uint8)
        pickled = python2_pickle(rows[:, None, None, None].repeat(32, 1).repeat(32, 2).repeat(3, 3), rows % 10)
        return pickled.replace(b"U\x0bfine_labels", b"U\x06labels")

    blobs = {f"data_batch_{number}": batch(10 * number, 3) for number in range(1, 6)} | {"test_batch": batch(0, 2)}
    splits = put_together(blobs, FILES)
    images, labels = splits["train"]
    assert images.shape == (15, 32, 32, 3)
    assert images[:, 0, 0, 0].tolist() == [10, 11, 12, 20, 21, 22, 30, 31, 32, 40, 41, 42, 50, 51, 52]
    assert labels.tolist() == [0, 1, 2] * 5
    assert splits["test"][1].tolist() == [0, 1]


def test_cifar10_of_the_hub_is_not_taken_for_cifar100(tmp_path: Path) -> None:
    for name in ("cifar10", "cifar100"):
        folder = tmp_path / f"datasets--uoft-cs--{name}" / "snapshots" / "0a1b" / "plain_text"
        folder.mkdir(parents=True)
        for split in ("train", "test"):
            pq.write_table(table((0, 1), [0, 1], columns=("img", "label")), folder / f"{split}-00000-of-00001.parquet")
    (found,) = search(FILES, tmp_path)
    assert "datasets--uoft-cs--cifar10/" in str(found.path)
    assert "CIFAR-10's are 32x32" in refused(tmp_path, "cifar10")

"""CIFAR-100 against its real images, in each layout, and every fault of a copy that can be made."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import struct
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from serving import served
from torchvision.datasets import CIFAR100

from trainables.data import cifar as reading
from trainables.data import cifar_parquet, cifar_python
from trainables.data.dataset import Contents, Dataset, channel_statistics
from trainables.datasets import cifar100, count_images, load
from trainables.datasets.cifar100 import FILES
from trainables.errors import UserError

FINGERPRINT = "971be3f160eca78670a8ae30ac256c796b9c47978f488c78d66cbffe2d46eb90"


@pytest.fixture(autouse=True)
def _no_leftovers(tmp_path: Path) -> Iterator[None]:
    """pytest keeps the folders of its last runs; these are large."""
    yield
    shutil.rmtree(tmp_path)


@pytest.fixture(scope="module")
def parquet(ekd_data: Path) -> Path:
    return ekd_data / "data" / "cifar100"


@pytest.fixture(scope="module")
def contents(cifar100_contents: Contents) -> Contents:
    return cifar100_contents


@pytest.fixture(scope="module")
def cifar(contents: Contents) -> Dataset:
    return contents.assemble("cifar100")


def refused(data_dir: Path | None, *, download: bool = False) -> str:
    with pytest.raises(UserError) as error:
        load("cifar100", data_dir, download=download)
    text = str(error.value)
    assert "\n" not in text
    return text


def test_cifar100(cifar: Dataset) -> None:
    assert (len(cifar.train), len(cifar.test), cifar.side, cifar.num_classes) == (50_000, 10_000, 32, 100)
    assert set(torch.bincount(cifar.train.labels).tolist()) == {500}
    assert set(torch.bincount(cifar.test.labels).tolist()) == {100}
    mean, std = channel_statistics(cifar.train.images)
    assert cifar.mean == pytest.approx(mean, abs=2e-4)
    assert cifar.std == pytest.approx(std, abs=2e-4)
    assert mean == pytest.approx((0.50707516, 0.48654887, 0.44091784), abs=1e-8)
    assert cifar.fingerprint == FINGERPRINT


def test_cifar100_class_names_are_in_the_files_names(parquet: Path) -> None:
    """The original files' names (`poppy_s_000553.png`) come from a vocabulary that has most class names."""
    table = pq.read_table(parquet / "test-00000-of-00001.parquet")
    stems: list[set[str]] = [set() for _ in range(100)]
    paths = table.column("img").combine_chunks().field("path").to_pylist()
    for path, label in zip(paths, table.column("fine_label").to_pylist(), strict=True):
        stems[label].add(path.rpartition("_s_")[0])
    assert list(cifar100.CLASSES) == sorted(set(cifar100.CLASSES))
    named = [name in stem for name, stem in zip(cifar100.CLASSES, stems, strict=True)]
    assert len(named) == 100
    assert sum(named) > 70


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


def python2_pickle(images: np.ndarray, labels: np.ndarray) -> bytes:
    """The bytes that Python 2's NumPy wrote of {'filenames', 'fine_labels', 'data'}: protocol 2, `str` as BINSTRING."""
    data = images.transpose(0, 3, 1, 2).tobytes()
    array = [
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR(K\x01",
        b"J" + struct.pack("<i", len(images)) + b"J" + struct.pack("<i", images[0].size) + b"\x86",
        b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89",
        b"T" + struct.pack("<i", len(data)) + data + b"tb",
    ]
    fine = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"".join(
        [b"\x80\x02}q\x01(U\x09filenames](U\x0bboa_s_1.pngeU\x0bfine_labels", fine, b"U\x04data", *array, b"u."]
    )


@pytest.fixture(scope="module")
def own_layout(cifar: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The real images in CIFAR-100's own layout, in another order than the data set's."""
    folder = tmp_path_factory.mktemp("own") / "cifar-100-python"
    folder.mkdir()
    for name, split in (("train", cifar.train), ("test", cifar.test)):
        order = np.random.default_rng(3).permutation(len(split))
        blob = python2_pickle(split.images.numpy()[order], split.labels.numpy()[order])
        (folder / name).write_bytes(blob)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def trusted(own_layout: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`own_layout`, with its sums in the place of the published ones (its images are in another order)."""
    sums = {name: hashlib.md5((own_layout / name).read_bytes()).hexdigest() for name in ("train", "test")}
    monkeypatch.setattr(FILES, "parts", {name: {name: md5} for name, md5 in sums.items()})
    return own_layout


@pytest.fixture(scope="module")
def archive(own_layout: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("archive") / "cifar-100-python.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=0) as tar:
        tar.add(own_layout, "cifar-100-python")
    yield path
    path.unlink()


def test_the_published_sums() -> None:
    """torchvision carries them too."""
    assert dict([*CIFAR100.train_list, *CIFAR100.test_list]) == cifar_python.sums(FILES)
    assert (CIFAR100.tgz_md5, CIFAR100.url, CIFAR100.filename) == (
        FILES.archive_md5,
        FILES.url,
        FILES.archive,
    )


def test_own_folder_gives_the_same_data_set(trusted: Path, cifar: Dataset) -> None:
    data = load("cifar100", trusted.parent)
    assert data.fingerprint == cifar.fingerprint
    assert data.source == f"CIFAR-100 (python) in {trusted}"


def test_archive_gives_the_same_data_set_from_a_read_only_folder(trusted: Path, archive: Path, cifar: Dataset) -> None:
    before = sorted(archive.parent.rglob("*"))
    assert load("cifar100", archive.parent).fingerprint == cifar.fingerprint
    assert sorted(archive.parent.rglob("*")) == before


def test_a_pickle_with_another_sum_is_never_opened(own_layout: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    evil = b"cos\nsystem\n(S'touch %s'\ntR." % str(marker).encode()
    shutil.copy(own_layout / "test", tmp_path / "test")
    (tmp_path / "train").write_bytes(evil)
    assert "MD5" in refused(tmp_path)
    assert not marker.exists()


def test_even_a_trusted_pickle_can_only_make_arrays(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    with pytest.raises(Exception, match="no place in CIFAR"):
        cifar_python.decode(b"cos\nsystem\n(S'touch %s'\ntR." % str(marker).encode(), FILES)
    assert not marker.exists()


def test_real_pickles_of_another_release_are_refused(own_layout: Path) -> None:
    message = refused(own_layout)
    assert "MD5" in message
    assert "--dataset digits" in message


@pytest.mark.parametrize("part", [0.0, 0.001, 0.5, 0.999])
def test_truncated_archive(trusted: Path, archive: Path, tmp_path: Path, part: float) -> None:
    whole = archive.read_bytes()
    (tmp_path / archive.name).write_bytes(whole[: int(len(whole) * part)])
    message = refused(tmp_path)
    assert "truncated or damaged" in message
    assert "--download" in message


def test_archive_without_its_test_part(trusted: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "cifar-100-python.tar.gz", "w:gz", compresslevel=0) as tar:
        tar.add(trusted / "train", "cifar-100-python/train")
    assert "lacks test" in refused(tmp_path)


def test_missing_files_are_named_with_the_way_to_get_them(own_layout: Path, parquet: Path, tmp_path: Path) -> None:
    def said(data_dir: Path | None, what: str) -> None:
        message = refused(data_dir)
        assert what in message
        assert all(way in message for way in ("--data-dir", "--download", "--dataset digits"))

    (half := tmp_path / "half" / "cifar-100-python").mkdir(parents=True)
    (half / "train").symlink_to(own_layout / "train")
    (shard := tmp_path / "shard" / "data").mkdir(parents=True)
    (shard / "train-00000-of-00002.parquet").symlink_to(parquet / "train-00000-of-00001.parquet")
    (shard / "test-00000-of-00001.parquet").symlink_to(parquet / "test-00000-of-00001.parquet")
    (lone := tmp_path / "lone" / "cifar100").mkdir(parents=True)
    (lone / "train-00000-of-00001.parquet").symlink_to(parquet / "train-00000-of-00001.parquet")
    said(None, "needs --data-dir")
    said(tmp_path / "nowhere", "has no CIFAR-100")
    said(tmp_path, "has no CIFAR-100")
    said(tmp_path / "half", "lacks the file 'test'")
    said(tmp_path / "shard", "has no train-00001-of-00002.parquet")
    said(tmp_path / "lone", "has no test-*.parquet")
    assert "is no folder" in refused(half / "train")


@pytest.mark.parametrize("place", [".", "cifar100", "data", "cifar100/cifar100"])
def test_a_whole_layout_is_found_beside_a_broken_one(parquet: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "cifar-100-python").mkdir()
    (tmp_path / "cifar-100-python" / "train").write_bytes(b"half a download")
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    for file in parquet.glob("*.parquet"):
        (tmp_path / place / file.name).symlink_to(file)
    broken, whole = reading.search(FILES, tmp_path)
    assert (broken.layout, whole.layout) == ("python", "parquet")
    assert broken.missing == f"{tmp_path / 'cifar-100-python'} lacks the file 'test'"
    assert (whole.path, whole.missing) == (tmp_path / place, None)


def test_the_data_folder_itself_may_be_the_layout(trusted: Path) -> None:
    assert [(found.path, found.missing) for found in reading.search(FILES, trusted)] == [(trusted, None)]


def test_shards_are_put_together(small: pa.Table, tmp_path: Path) -> None:
    for number, (start, length) in enumerate([(0, 100), (100, 200)]):
        pq.write_table(small.slice(start, length), tmp_path / f"train-{number:05d}-of-00002.parquet")
    pq.write_table(small, tmp_path / "test-00000-of-00001.parquet")
    splits = cifar_parquet.read_folder(tmp_path, FILES)
    assert all((one == other).all() for one, other in zip(splits["train"], splits["test"], strict=True))
    assert splits["test"][1].tolist() == small.column("fine_label").to_pylist()


@pytest.fixture(scope="module")
def small(parquet: Path) -> pa.Table:
    return pq.read_table(parquet / "test-00000-of-00001.parquet").slice(0, 300)


def with_images(table: pa.Table, images: list[bytes | None]) -> pa.Table:
    column = pa.array([{"bytes": image, "path": None} for image in images])
    return table.set_column(0, "img", column)


def encoded(mode: str, size: tuple[int, int], kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, kind)
    return buffer.getvalue()


def test_faulty_parquet(parquet: Path, small: pa.Table, tmp_path: Path) -> None:
    test = parquet / "test-00000-of-00001.parquet"
    broken = tmp_path / "train-00000-of-00001.parquet"
    (tmp_path / "test-00000-of-00001.parquet").symlink_to(test)
    whole = test.read_bytes()
    pngs = small.column("img").combine_chunks().field("bytes").to_pylist()
    damaged = [*pngs[:7], pngs[7][:-40], *pngs[8:]]
    flipped = [*pngs[:7], pngs[7][:300] + bytes(255 - b for b in pngs[7][300:310]) + pngs[7][310:], *pngs[8:]]
    zeros = bytearray(whole)
    zeros[len(whole) // 3 : len(whole) // 2] = bytes(len(whole) // 2 - len(whole) // 3)
    for content, message in (
        (b"", "truncated or damaged"),
        (whole[: len(whole) // 2], "truncated or damaged"),
        (bytes(len(whole)), "truncated or damaged"),
        (bytes(zeros), "damaged"),
        (small, "has 300 train images, CIFAR-100 has 50000"),
        (small.slice(0, 0), "has no rows"),
        (small.drop_columns("fine_label"), "is not CIFAR-100"),
        (small.rename_columns(["picture", "fine_label", "coarse_label"]), "is not CIFAR-100"),
        (with_images(small, damaged), "damaged image"),
        (with_images(small, flipped), "damaged image"),
        (with_images(small, [*pngs[:7], None, *pngs[8:]]), "without an image"),
        (with_images(small, [encoded("RGB", (33, 32)), *pngs[1:]]), "33x32 pixels in RGB"),
        (with_images(small, [encoded("L", (32, 32)), *pngs[1:]]), "32x32 pixels in L"),
        (with_images(small, [encoded("RGB", (32, 32), "JPEG"), *pngs[1:]]), "damaged image"),
    ):
        if isinstance(content, bytes):
            broken.write_bytes(content)
        else:
            pq.write_table(content, broken)
        text = refused(tmp_path)
        assert message in text
        assert str(broken) in text or str(tmp_path) in text


def test_wrong_counts(cifar: Dataset) -> None:
    images, labels = cifar.test.images.numpy(), cifar.test.labels.numpy().copy()
    reading.checked(FILES, "test", images, labels, Path("here"))
    here = int(np.flatnonzero(labels == 83)[0])
    labels[here] = 84
    with pytest.raises(UserError, match="99 test images of 'sweet_pepper'"):
        reading.checked(FILES, "test", images, labels, Path("here"))
    labels[here] = 100
    with pytest.raises(UserError, match="labels from 0 to 100"):
        reading.checked(FILES, "test", images, labels, Path("here"))


@pytest.fixture
def server(archive: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The archive's folder over HTTP, in the place of the public address."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with served(archive.parent) as address:
        monkeypatch.setattr(FILES, "url", f"{address}/{archive.name}")
        yield address


def test_download(
    trusted: Path, archive: Path, cifar: Dataset, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fetched, checked, read; not fetched again; a truncated archive is fetched anew."""
    monkeypatch.setattr(FILES, "archive_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    folder = tmp_path / "new" / "folder"
    assert load("cifar100", folder, download=True).fingerprint == cifar.fingerprint
    fetched = folder / archive.name
    stamp = fetched.stat().st_mtime_ns
    monkeypatch.setattr(FILES, "url", "http://127.0.0.1:9/nothing-listens-here")
    reading.fetch(FILES, folder)
    assert fetched.stat().st_mtime_ns == stamp
    monkeypatch.setattr(FILES, "url", f"{server}/{archive.name}")
    os.truncate(fetched, 1000)
    reading.fetch(FILES, folder)
    assert fetched.read_bytes() == archive.read_bytes()


def test_failed_download(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for url in (f"{server}/absent.tar.gz", FILES.url, "http://127.0.0.1:9/cifar-100-python.tar.gz"):
        monkeypatch.setattr(FILES, "url", url)
        message = refused(tmp_path / "to", download=True)
        assert f"fetch {url} by hand into {tmp_path / 'to'}" in message
        assert "--dataset digits" in message


HUB = "datasets--uoft-cs--cifar100/snapshots/aadb3af7"


@pytest.mark.parametrize("columns", [("img", "fine_label"), ("image", "label"), ("image", "fine_label")])
@pytest.mark.parametrize(
    ("place", "train"),
    [
        (".", "train.parquet"),
        ("data", "train-00000-of-00001-0123abcd.parquet"),
        (f"{HUB}/cifar100", "train-00000-of-00001.parquet"),
        (f"hub/{HUB}/data", "train.parquet"),
    ],
)
def test_layouts_and_columns_of_the_hub(tmp_path: Path, place: str, train: str, columns: tuple[str, str]) -> None:
    folder = tmp_path / place
    folder.mkdir(parents=True, exist_ok=True)
    image = pa.array([{"bytes": encoded("RGB", (32, 32)), "path": None}] * 3)
    table = pa.table({columns[0]: image, columns[1]: pa.array([4, 5, 6]), "coarse_label": pa.array([0, 1, 2])})
    pq.write_table(table, folder / train)
    (part,) = reading.search(FILES, tmp_path)
    assert part.missing == f"{part.path} has no test-*.parquet and no test.parquet"
    pq.write_table(table, folder / train.replace("train", "test"))
    (whole,) = reading.search(FILES, tmp_path)
    assert (whole.path.resolve(), whole.missing) == (folder.resolve(), None)
    assert whole.read(whole.path, FILES)["train"][1].tolist() == [4, 5, 6]


def test_a_damaged_image_of_a_table_is_told_by_its_file(tmp_path: Path) -> None:
    image = pa.array([{"bytes": b"no image", "path": None}])
    pq.write_table(pa.table({"img": image, "fine_label": pa.array([1])}), tmp_path / "train.parquet")
    with pytest.raises(UserError, match=r"train\.parquet has a damaged image \(cannot identify image file\)"):
        cifar_parquet.read_file(tmp_path / "train.parquet", FILES)

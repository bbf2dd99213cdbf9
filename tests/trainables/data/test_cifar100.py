"""CIFAR-100 in each layout, and every fault of a copy that can be made, on few made-up images of each class."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import struct
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from serving import served
from torchvision.datasets import CIFAR100

from trainables.data import cifar as reading
from trainables.data import cifar_parquet, cifar_python
from trainables.data.cifar_python import Arrays
from trainables.datasets import cifar100, load
from trainables.datasets.cifar100 import FILES
from trainables.errors import UserError

PER_CLASS = {"train": 4, "test": 2}
BLACK = np.zeros((32, 32, 3), np.uint8)


@pytest.fixture(autouse=True)
def few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FILES, "per_class", PER_CLASS)


@pytest.fixture(scope="module")
def splits() -> dict[str, Arrays]:
    draw = np.random.default_rng(0)
    return {
        name: (draw.integers(256, size=(100 * count, 32, 32, 3), dtype=np.uint8), np.arange(100).repeat(count))
        for name, count in PER_CLASS.items()
    }


def encoded(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def parquet(splits: dict[str, Arrays], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images as the hub distributes them."""
    folder = tmp_path_factory.mktemp("parquet")
    for name, (images, labels) in splits.items():
        column = pa.array([{"bytes": encoded(image), "path": None} for image in images])
        table = pa.table({"img": column, "fine_label": labels, "coarse_label": labels // 5})
        pq.write_table(table, folder / f"{name}-00000-of-00001.parquet")
    return folder


@pytest.fixture(scope="module")
def small(parquet: Path) -> pa.Table:
    return pq.read_table(parquet / "test-00000-of-00001.parquet")


def refused(data_dir: Path | None, *, download: bool = False) -> str:
    with pytest.raises(UserError) as error:
        load("cifar100", data_dir, download=download)
    text = str(error.value)
    assert "\n" not in text
    return text


def test_class_names_are_in_the_files_names(ekd_data: Path) -> None:
    """The original files' names (`poppy_s_000553.png`) come from a vocabulary that has most class names."""
    table = pq.read_table(ekd_data / "data" / "cifar100" / "test-00000-of-00001.parquet")
    stems: list[set[str]] = [set() for _ in range(100)]
    paths = table.column("img").combine_chunks().field("path").to_pylist()
    for path, label in zip(paths, table.column("fine_label").to_pylist(), strict=True):
        stems[label].add(path.rpartition("_s_")[0])
    assert list(cifar100.CLASSES) == sorted(set(cifar100.CLASSES))
    named = [name in stem for name, stem in zip(cifar100.CLASSES, stems, strict=True)]
    assert len(named) == 100
    assert sum(named) > 70


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


def write_own_layout(splits: dict[str, Arrays], folder: Path) -> Path:
    """CIFAR-100's own layout, its images in another order."""
    (own := folder / "cifar-100-python").mkdir()
    for name, (images, labels) in splits.items():
        order = np.random.default_rng(3).permutation(len(labels))
        (own / name).write_bytes(python2_pickle(images[order], labels[order]))
    return own


@pytest.fixture(scope="module")
def own_layout(splits: dict[str, Arrays], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_own_layout(splits, tmp_path_factory.mktemp("own"))


def parts_of(own: Path) -> dict[str, dict[str, str]]:
    """The files of an own layout with their sums."""
    return {name: {name: hashlib.md5((own / name).read_bytes()).hexdigest()} for name in ("train", "test")}


@pytest.fixture
def trusted(own_layout: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`own_layout`, with its sums in the place of the published ones (its images are in another order)."""
    monkeypatch.setattr(FILES, "parts", parts_of(own_layout))
    return own_layout


@pytest.fixture(scope="module")
def archive(own_layout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("archive") / "cifar-100-python.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=0) as tar:
        tar.add(own_layout, "cifar-100-python")
    return path


def test_the_published_sums() -> None:
    """torchvision carries them too."""
    assert dict([*CIFAR100.train_list, *CIFAR100.test_list]) == cifar_python.sums(FILES)
    assert (CIFAR100.tgz_md5, CIFAR100.url, CIFAR100.filename) == (
        FILES.archive_md5,
        FILES.url,
        FILES.archive,
    )


def test_each_layout_gives_the_same_data_set(trusted: Path, archive: Path, parquet: Path) -> None:
    """The archive's folder stays as it is: it may be read-only."""
    before = sorted(archive.parent.rglob("*"))
    own, packed, table = (load("cifar100", place) for place in (trusted.parent, archive.parent, parquet))
    assert own.fingerprint == packed.fingerprint == table.fingerprint
    assert own.source == f"CIFAR-100 (python) in {trusted}"
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


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9])
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
    for number, (start, length) in enumerate([(0, 50), (50, 150)]):
        pq.write_table(small.slice(start, length), tmp_path / f"train-{number:05d}-of-00002.parquet")
    pq.write_table(small, tmp_path / "test-00000-of-00001.parquet")
    splits = cifar_parquet.read_folder(tmp_path, FILES)
    assert all((one == other).all() for one, other in zip(splits["train"], splits["test"], strict=True))
    assert splits["test"][1].tolist() == small.column("fine_label").to_pylist()


def with_images(table: pa.Table, images: list[bytes | None]) -> pa.Table:
    column = pa.array([{"bytes": image, "path": None} for image in images])
    return table.set_column(0, "img", column)


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
        (small, "has 200 train images, CIFAR-100 has 400"),
        (small.slice(0, 0), "has no rows"),
        (small.drop_columns("fine_label"), "is not CIFAR-100"),
        (small.rename_columns(["picture", "fine_label", "coarse_label"]), "is not CIFAR-100"),
        (with_images(small, damaged), "damaged image"),
        (with_images(small, flipped), "damaged image"),
        (with_images(small, [*pngs[:7], None, *pngs[8:]]), "without an image"),
        (with_images(small, [encoded(np.zeros((32, 33, 3), np.uint8)), *pngs[1:]]), "33x32 pixels in RGB"),
        (with_images(small, [encoded(np.zeros((32, 32), np.uint8)), *pngs[1:]]), "32x32 pixels in L"),
        (with_images(small, [encoded(BLACK, "JPEG"), *pngs[1:]]), "damaged image"),
    ):
        if isinstance(content, bytes):
            broken.write_bytes(content)
        else:
            pq.write_table(content, broken)
        text = refused(tmp_path)
        assert message in text
        assert str(broken) in text or str(tmp_path) in text


def test_wrong_counts(splits: dict[str, Arrays]) -> None:
    images, labels = splits["test"][0], splits["test"][1].copy()
    reading.check_split(FILES, "test", images, labels, Path("here"))
    here = int(np.flatnonzero(labels == 83)[0])
    labels[here] = 84
    with pytest.raises(UserError, match="1 test images of 'sweet_pepper'"):
        reading.check_split(FILES, "test", images, labels, Path("here"))
    labels[here] = 100
    with pytest.raises(UserError, match="labels from 0 to 100"):
        reading.check_split(FILES, "test", images, labels, Path("here"))


@pytest.fixture
def server(archive: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The archive's folder over HTTP, in the place of the public address."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with served(archive.parent) as address:
        monkeypatch.setattr(FILES, "url", f"{address}/{archive.name}")
        yield address


def test_download(trusted: Path, archive: Path, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fetched, checked, read; not fetched again; a truncated archive is fetched anew."""
    monkeypatch.setattr(FILES, "archive_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    folder = tmp_path / "new" / "folder"
    assert load("cifar100", folder, download=True).fingerprint == load("cifar100", trusted.parent).fingerprint
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
    image = pa.array([{"bytes": encoded(BLACK), "path": None}] * 3)
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


def test_without_pyarrow_the_archive_is_read_and_parquet_files_name_it(
    trusted: Path, parquet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "trainables.data.cifar_parquet")
    monkeypatch.delattr("trainables.data.cifar_parquet")
    assert load("cifar100", trusted).name == "cifar100"
    assert refused(parquet).endswith("train-00000-of-00001.parquet cannot be read without pyarrow: pip install pyarrow")

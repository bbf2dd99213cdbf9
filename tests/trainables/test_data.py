"""Data sets against the real images, an independent reading of them, and every fault of a copy that can be made."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import math
import os
import shutil
import struct
import subprocess
import sys
import tarfile
import threading
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_digits
from torchvision.datasets import CIFAR100
from torchvision.transforms import functional

from trainables.data import cifar100, cifar_python, imagefolder, load, names
from trainables.data.dataset import Dataset, Split, channel_statistics, fingerprint, stratified
from trainables.data.facts import facts, kept
from trainables.errors import UserError

DIGITS = "c" * 64
CIFAR = "971be3f160eca78670a8ae30ac256c796b9c47978f488c78d66cbffe2d46eb90"


@pytest.fixture(scope="module")
def parquet() -> Path:
    root = os.environ.get("EKD_DATA")
    if not root:
        pytest.skip("EKD_DATA is not set: it is the folder of the reference data (data/cifar100)")
    return Path(root) / "data" / "cifar100"


@pytest.fixture(scope="module")
def cifar(parquet: Path) -> Dataset:
    return load("cifar100", parquet)


def one_line(error: pytest.ExceptionInfo[UserError]) -> str:
    text = str(error.value)
    assert text and "\n" not in text
    return text


def refused(name: str, data_dir: Path | None, *, download: bool = False) -> str:
    with pytest.raises(UserError) as error:
        load(name, data_dir, download=download)
    return one_line(error)


# --- every data set -----------------------------------------------------------------------------------------------


def test_unknown_name_says_the_known_ones() -> None:
    assert names() == ("digits", "cifar100", "imagefolder")
    assert all(name in refused("cifar10", None) for name in names())
    with pytest.raises(UserError, match="digits, cifar100, imagefolder"):
        facts("cifar10", None)


@pytest.mark.parametrize("fraction", [0, -0.5, 1.01, math.nan, math.inf])
def test_fraction_outside_its_range(fraction: float) -> None:
    for ask in (load, facts):
        with pytest.raises(UserError, match=r"must be in \(0, 1\]"):
            ask("digits", None, train_fraction=fraction)  # type: ignore[operator]


def test_planning_needs_no_torch() -> None:
    script = """
import sys
from trainables.data import names
from trainables.data.facts import facts
facts('cifar100', None, 0.1)
print({'torch', 'numpy', 'PIL', 'sklearn', 'pyarrow'} & set(sys.modules))"""
    root = Path(__file__).parents[2]
    ran = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
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


@settings(deadline=None)
@given(st.integers(1, 2000), st.integers(1, 100_000))
def test_kept_is_the_exact_ceiling_of_the_written_fraction(count: int, parts: int) -> None:
    fraction = parts / 100_000
    assert kept(count, fraction) == math.ceil(Decimal(str(fraction)) * count)
    assert 1 <= kept(count, fraction) <= count


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.floats(0, 1, exclude_min=True), st.floats(0.01, 1))
def test_stratified_against_a_loop(labels: list[int], fraction: float, share: float) -> None:
    images = torch.arange(len(labels)).byte()[:, None, None, None].expand(-1, 2, 2, 3).contiguous()
    split = Split(images, torch.tensor(labels))
    expected, taken = [], Counter[int]()
    for index, label in enumerate(labels):
        if taken[label] < kept(labels.count(label), fraction):
            expected.append(index)
            taken[label] += 1
    thin = stratified(split, fraction)
    assert thin.images[:, 0, 0, 0].tolist() == expected
    assert thin.labels.tolist() == [labels[i] for i in expected]
    assert thin.images.is_contiguous()
    assert set(thin.labels.tolist()) == set(labels)
    smaller = stratified(split, fraction * share) if fraction * share > 0 else thin
    assert set(smaller.images[:, 0, 0, 0].tolist()) <= set(expected)


@pytest.mark.parametrize("fraction", [1.0, 0.5, 0.07, 1e-6])
def test_facts_are_those_of_the_loaded_digits(fraction: float) -> None:
    data, known = load("digits", None, train_fraction=fraction), facts("digits", None, fraction)
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


# --- CIFAR-100 ----------------------------------------------------------------------------------------------------


def test_cifar100(cifar: Dataset) -> None:
    assert (len(cifar.train), len(cifar.test), cifar.side, cifar.num_classes) == (50_000, 10_000, 32, 100)
    assert set(torch.bincount(cifar.train.labels).tolist()) == {500}
    assert set(torch.bincount(cifar.test.labels).tolist()) == {100}
    mean, std = channel_statistics(cifar.train.images)
    assert cifar.mean == pytest.approx(mean, abs=2e-4)
    assert cifar.std == pytest.approx(std, abs=2e-4)
    assert mean == pytest.approx((0.50707516, 0.48654887, 0.44091784), abs=1e-8)
    assert cifar.fingerprint == CIFAR


def test_cifar100_class_names_are_in_the_files_names(parquet: Path) -> None:
    """The names of the original files (`poppy_s_000553.png`) come from a larger vocabulary that has most class names."""
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


def test_cifar100_fraction(cifar: Dataset, parquet: Path) -> None:
    tenth = load("cifar100", parquet.parent, train_fraction=0.1)
    assert set(torch.bincount(tenth.train.labels).tolist()) == {50}
    first = (cifar.train.labels == 7).nonzero().flatten()[:50]
    assert torch.equal(tenth.train.images[tenth.train.labels == 7], cifar.train.images[first])
    assert torch.equal(tenth.test.images, cifar.test.images)
    assert tenth.fingerprint != cifar.fingerprint
    assert tenth.mean == cifar.mean
    assert "5000 of 50000" in tenth.source
    assert facts("cifar100", None, 0.1).train_size == 5000


def python2_pickle(images: np.ndarray, labels: np.ndarray) -> bytes:
    """The bytes that Python 2 and its NumPy wrote for {'filenames', 'fine_labels', 'data'}: protocol 2, `str` as BINSTRING."""
    data = images.transpose(0, 3, 1, 2).tobytes()
    array = [
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR(K\x01",
        b"J" + struct.pack("<i", len(images)) + b"J" + struct.pack("<i", images[0].size) + b"\x86",
        b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89",
        b"T" + struct.pack("<i", len(data)) + data + b"tb",
    ]
    fine = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"".join(
        [b"\x80\x02}q\x01(U\x09filenames](U\x0aboa_s_1.peU\x0bfine_labels", fine, b"U\x04data", *array, b"u."]
    )


@pytest.fixture(scope="module")
def own_layout(cifar: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real images in CIFAR-100's own layout, in another order than the data set's."""
    folder = tmp_path_factory.mktemp("own") / "cifar-100-python"
    folder.mkdir()
    for name, split in (("train", cifar.train), ("test", cifar.test)):
        order = np.random.default_rng(3).permutation(len(split))
        blob = python2_pickle(split.images.numpy()[order], split.labels.numpy()[order])
        (folder / name).write_bytes(blob)
    return folder


@pytest.fixture
def trusted(own_layout: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`own_layout`, with its sums in the place of the published ones (its images are in another order)."""
    sums = {name: hashlib.md5((own_layout / name).read_bytes()).hexdigest() for name in ("train", "test")}
    monkeypatch.setattr(cifar_python, "MD5", sums)
    return own_layout


@pytest.fixture(scope="module")
def archive(own_layout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("archive") / "cifar-100-python.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        tar.add(own_layout, "cifar-100-python")
    return path


def test_the_published_sums() -> None:
    """torchvision carries them too."""
    assert dict([*CIFAR100.train_list, *CIFAR100.test_list]) == cifar_python.MD5
    assert (CIFAR100.tgz_md5, CIFAR100.url, CIFAR100.filename) == (
        cifar100.ARCHIVE_MD5,
        cifar100.URL,
        cifar100.ARCHIVE,
    )


@pytest.mark.parametrize("above", [0, 1])
def test_own_folder_gives_the_same_data_set(trusted: Path, cifar: Dataset, above: int) -> None:
    data = load("cifar100", (trusted, trusted.parent)[above])
    assert data.fingerprint == cifar.fingerprint
    assert "python" in data.source


def test_archive_gives_the_same_data_set_from_a_read_only_folder(trusted: Path, archive: Path, cifar: Dataset) -> None:
    before = sorted(archive.parent.rglob("*"))
    assert load("cifar100", archive.parent).fingerprint == cifar.fingerprint
    assert sorted(archive.parent.rglob("*")) == before


def test_a_pickle_with_another_sum_is_never_opened(own_layout: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    evil = b"cos\nsystem\n(S'touch %s'\ntR." % str(marker).encode()
    shutil.copy(own_layout / "test", tmp_path / "test")
    (tmp_path / "train").write_bytes(evil)
    assert "MD5" in refused("cifar100", tmp_path)
    assert not marker.exists()


def test_even_a_trusted_pickle_can_only_make_arrays(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    with pytest.raises(Exception, match="no place in CIFAR-100"):
        cifar_python.decode(b"cos\nsystem\n(S'touch %s'\ntR." % str(marker).encode())
    assert not marker.exists()


def test_real_pickles_of_another_release_are_refused(own_layout: Path) -> None:
    message = refused("cifar100", own_layout)
    assert "MD5" in message
    assert "--dataset digits" in message


@pytest.mark.parametrize("part", [0.0, 0.001, 0.5, 0.999])
def test_truncated_archive(trusted: Path, archive: Path, tmp_path: Path, part: float) -> None:
    whole = archive.read_bytes()
    (tmp_path / archive.name).write_bytes(whole[: int(len(whole) * part)])
    message = refused("cifar100", tmp_path)
    assert "truncated or damaged" in message
    assert "--download" in message


def test_archive_without_its_test_part(trusted: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "cifar-100-python.tar.gz", "w:gz", compresslevel=0) as tar:
        tar.add(trusted / "train", "cifar-100-python/train")
    assert "lacks test" in refused("cifar100", tmp_path)


def test_missing_files_are_named_with_the_way_to_get_them(own_layout: Path, parquet: Path, tmp_path: Path) -> None:
    def said(data_dir: Path | None, what: str) -> None:
        message = refused("cifar100", data_dir)
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
    assert "is no folder" in refused("cifar100", half / "train")


def test_a_whole_layout_is_found_beside_a_broken_one(parquet: Path, cifar: Dataset, tmp_path: Path) -> None:
    (tmp_path / "cifar-100-python").mkdir()
    (tmp_path / "cifar-100-python" / "train").write_bytes(b"half a download")
    (tmp_path / "cifar100").symlink_to(parquet)
    assert load("cifar100", tmp_path).fingerprint == cifar.fingerprint


def test_shards_are_put_together(parquet: Path, cifar: Dataset, tmp_path: Path) -> None:
    table = pq.read_table(parquet / "train-00000-of-00001.parquet")
    for number, (start, length) in enumerate([(0, 20_000), (20_000, 30_000)]):
        pq.write_table(table.slice(start, length), tmp_path / f"train-{number:05d}-of-00002.parquet")
    (tmp_path / "test-00000-of-00001.parquet").symlink_to(parquet / "test-00000-of-00001.parquet")
    assert load("cifar100", tmp_path).fingerprint == cifar.fingerprint


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
        (small.rename_columns(["image", "fine_label", "coarse_label"]), "is not CIFAR-100"),
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
        text = refused("cifar100", tmp_path)
        assert message in text
        assert str(broken) in text or str(tmp_path) in text


def test_wrong_counts(cifar: Dataset) -> None:
    images, labels = cifar.test.images.numpy(), cifar.test.labels.numpy().copy()
    cifar100.checked("test", images, labels, Path("here"))
    here = int(np.flatnonzero(labels == 83)[0])
    labels[here] = 84
    with pytest.raises(UserError, match="99 test images of 'sweet_pepper'") as error:
        cifar100.checked("test", images, labels, Path("here"))
    one_line(error)
    labels[here] = 100
    with pytest.raises(UserError, match="labels from 0 to 100"):
        cifar100.checked("test", images, labels, Path("here"))


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(archive: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The archive's folder over HTTP, in the place of the public address."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=archive.parent)
    ) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{running.server_port}"
        monkeypatch.setattr(cifar100, "URL", f"{address}/{archive.name}")
        yield address
        running.shutdown()
        thread.join()


def test_download(
    trusted: Path, archive: Path, cifar: Dataset, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fetched, checked, read; not fetched again; a truncated archive is fetched anew."""
    monkeypatch.setattr(cifar100, "ARCHIVE_MD5", hashlib.md5(archive.read_bytes()).hexdigest())
    folder = tmp_path / "new" / "folder"
    assert load("cifar100", folder, download=True).fingerprint == cifar.fingerprint
    fetched = folder / archive.name
    stamp = fetched.stat().st_mtime_ns
    monkeypatch.setattr(cifar100, "URL", "http://127.0.0.1:9/nothing-listens-here")
    cifar100.fetch(folder)
    assert fetched.stat().st_mtime_ns == stamp
    monkeypatch.setattr(cifar100, "URL", f"{server}/{archive.name}")
    os.truncate(fetched, 1000)
    cifar100.read(folder, download=True)
    assert fetched.read_bytes() == archive.read_bytes()


def test_failed_download(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for url in (f"{server}/absent.tar.gz", cifar100.URL, "http://127.0.0.1:9/cifar-100-python.tar.gz"):
        monkeypatch.setattr(cifar100, "URL", url)
        message = refused("cifar100", tmp_path / "to", download=True)
        assert f"fetch {url} by hand into {tmp_path / 'to'}" in message
        assert "--dataset digits" in message


# --- image folders ------------------------------------------------------------------------------------------------


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
    known = facts("imagefolder", folder, 0.4)
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


@pytest.mark.parametrize("size", [(60, 40), (40, 60), (200, 37), (20, 31)])
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
    with pytest.raises(UserError, match=r"float\.tiff.*8 bits"):
        read(Image.fromarray(ramp.astype(np.float32)), "float.tiff")


def test_faulty_imagefolder(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(what: str, data_dir: Path | None = folder, *, download: bool = False) -> None:
        assert what in refused("imagefolder", data_dir, download=download)

    said("needs --data-dir", None)
    said("is no folder", tmp_path / "nowhere")
    said("has no train/ folder", folder / "train")
    said("nothing to --download", download=True)

    image = folder / "train" / "digit1" / "003.png"
    whole = image.read_bytes()
    for content in (whole[:-30], whole[:20], b"", b"not an image", bytes(len(whole))):
        image.write_bytes(content)
        said(str(image))
    image.write_bytes(whole)

    (folder / "val" / "digit1").rename(folder / "val" / "other")
    said(f"{folder / 'val'} lacks class folders that {folder / 'train'} has (digit1)")
    (folder / "val" / "digit1").mkdir()
    said(f"{folder / 'train'} lacks class folders that {folder / 'val'} has (other)")
    shutil.rmtree(folder / "val" / "other")
    said(f"class folder {folder / 'val' / 'digit1'} has no images")
    with pytest.raises(UserError, match="has no images"):
        facts("imagefolder", folder)
    for split in ("train", "val"):
        shutil.rmtree(folder / split / "digit1")
    monkeypatch.setattr(imagefolder, "MOST_BYTES", 18 * 32 * 32 * 3 - 1)
    said("18 images of 32x32 need")
    for split in ("train", "val"):
        shutil.rmtree(folder / split / "digit2")
    said("two are the least")
    shutil.rmtree(folder / "val")
    said("has no val/ or test/ folder")


def test_images_of_one_colour(folder: Path) -> None:
    for path in folder.glob("train/*/*.png"):
        Image.new("RGB", (16, 16), (9, 9, 9)).save(path)
    assert "one colour" in refused("imagefolder", folder)

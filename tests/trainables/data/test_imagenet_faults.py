"""ImageNet folders with every fault: damaged files, missing and flat folders, workers and parents that die."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import imagenet_like
import numpy as np
import pytest
import torch
from imagenet_like import SIDE, epoch, jpeg, opened, refused

from trainables.data import loader
from trainables.data.decoding import UNREADABLE as UNREADABLE_FILES
from trainables.data.image_files import decoded
from trainables.data.source import UNREADABLE
from trainables.data.subset import count_kept, long_tailed
from trainables.datasets import imagenet
from trainables.errors import UserError

ROOT = Path(__file__).parents[3]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return imagenet_like.make(tmp_path / "imagenet")


# --- images that cannot be decoded ---------------------------------------------------------------------------------


def damage(root: Path) -> list[Path]:
    """Of the first class the images 4, 5 and the last, 12; of the second, 6; of the test split two."""
    damaged = [jpeg(root, "train", 0, 4), jpeg(root, "train", 0, 5), jpeg(root, "train", 0, 12)]
    damaged += [jpeg(root, "train", 1, 6), jpeg(root, "val", 0, 4), jpeg(root, "val", 2, 1)]
    whole = damaged[0].read_bytes()
    contents = (b"", whole[: len(whole) // 2], b"<html>not found</html>", whole[:30], whole[:-40], bytes(500))
    for path, content in zip(damaged, contents, strict=True):
        path.write_bytes(content)
    return damaged


@pytest.mark.parametrize("workers", [0, 2])
def test_damaged_training_images_are_replaced(root: Path, capsys: pytest.CaptureFixture[str], workers: int) -> None:
    before = [next(opened(root).scan("train", 33)), epoch(opened(root))]
    damaged = [str(path) for path in damage(root)]
    source = opened(root, workers=workers)
    assert source.unreadable == {}
    images, labels = next(source.scan("train", 33))
    instead = {4: 6, 5: 6, 12: 0, 13 + 6: 13 + 7}
    assert torch.equal(images, before[0][0][[instead.get(index, index) for index in range(33)]])
    assert torch.equal(labels, before[0][1])
    assert sorted(source.unreadable) == sorted(damaged[:4])
    made = epoch(source)
    assert made.keys() == before[1].keys()
    assert all(torch.equal(made[index], before[1][index]) for index in before[1].keys() - instead.keys())
    list(source.scan("train", 7))
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == 4
    for path in damaged[:4]:
        line = next(line for line in warnings if path in line)
        assert line.startswith(f"warning: cannot read {path} (")
        assert line.endswith("): the next image of its class takes its place")
    assert source.to("cpu").unreadable is source.unreadable


@pytest.mark.medium
def test_replacements_are_the_same_with_workers(root: Path) -> None:
    damage(root)
    one, other = (epoch(opened(root, workers=workers), 3) for workers in (0, 2))
    assert all(torch.equal(one[index], other[index]) for index in one)


def test_damaged_test_images_count_as_wrong(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = damage(root)[4:]
    source = opened(root)
    for size in (12, 5, 1):
        images, labels = (torch.cat(tensors) for tensors in zip(*source.scan("test", size), strict=True))
        assert labels.tolist() == [0, 0, 0, 0, UNREADABLE, 1, 1, 1, 1, 2, UNREADABLE, 2]
        assert not images.isnan().any()
    assert source.test_labels.tolist() == [0] * 5 + [1] * 4 + [2] * 3
    assert sorted(source.unreadable) == sorted(map(str, damaged))
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == 2
    assert all(line.endswith("): it counts as wrong") for line in warnings)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_class_without_a_readable_image(root: Path, workers: int) -> None:
    for number in range(9):
        jpeg(root, "train", 1, number).write_bytes(b"no image")
    source = opened(root, workers=workers)
    with pytest.raises(UserError, match=f"^none of the images in {root / 'train' / 'n01443537'} can be decoded"):
        epoch(source)


def test_only_known_exceptions_from_damaged_files(root: Path) -> None:
    """600 JPEG files with a few bytes changed or cut off: decoded, or refused in a known way, warnings or not."""
    whole = jpeg(root, "train", 0, 5).read_bytes()
    draw = np.random.default_rng(0)
    refusals = 0
    for number in range(600):
        content = bytearray(whole[: draw.integers(len(whole))] if number % 4 == 0 else whole)
        for place in draw.integers(0, max(min(len(content), 700 if number % 2 else len(whole)), 1), 4):
            content[place : place + 1] = bytes([draw.integers(256)])
        try:
            assert decoded(bytes(content), SIDE, draw if number % 3 else None).shape == (SIDE, SIDE, 3)
        except UNREADABLE_FILES:
            refusals += 1
    assert 150 < refusals < 500


# --- folders -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", imagenet.PLACES)
def test_where_it_is_found(root: Path, tmp_path: Path, place: str) -> None:
    assert imagenet.find(tmp_path / "nowhere") is None
    assert imagenet.find(None) is None
    if place != ".":
        (tmp_path / "data" / place).parent.mkdir(parents=True)
        root.rename(tmp_path / "data" / place)
        root = tmp_path / "data"
    assert imagenet.find(root) == root / place
    assert len(imagenet.scan(root / place).train.files) == 33


def test_faulty_folders(root: Path, tmp_path: Path) -> None:
    assert "no --data-dir was given" in refused(None)
    assert f"{tmp_path / 'nowhere'} has no ImageNet: it is train/CLASS/*.JPEG" in refused(tmp_path / "nowhere")
    assert "image-net.org" in refused(root, download=True)
    shutil.move(root / "val" / "n01443537", tmp_path / "n01443537")
    assert f"{root / 'val'} lacks class folders that {root / 'train'} has (n01443537)" in refused(root)
    (root / "val" / "n01443537").mkdir()
    assert f"class folder {root / 'val' / 'n01443537'} has no images" in refused(root)
    shutil.rmtree(root / "val")
    assert f"{root} has no ImageNet" in refused(root)
    (root / "val").mkdir()
    for number in range(1, 4):
        (root / "val" / f"ILSVRC2012_val_{number:08d}.JPEG").write_bytes(b"")
    assert refused(root).startswith(f"{root / 'val'} has 3 images in no class folders")


def test_files_that_are_no_images(root: Path) -> None:
    before = opened(root)
    (root / "train" / "README").write_text("not a class")
    (root / "val" / "n01484850" / "notes.txt").write_text("not an image")
    after = opened(root)
    assert after.source == before.source + "; 2 files that are no images were ignored"
    assert after.fingerprint == before.fingerprint


def test_fingerprint_is_of_names_and_sizes(root: Path, tmp_path: Path) -> None:
    whole = opened(root)
    shutil.copytree(root, tmp_path / "copy")
    assert opened(tmp_path / "copy").fingerprint == whole.fingerprint
    assert opened(root, train_fraction=0.5).fingerprint != whole.fingerprint
    path = jpeg(root, "val", 0, 0)
    path.write_bytes(path.read_bytes() + b"\0")
    longer = opened(root).fingerprint
    path.rename(path.with_name("another.JPEG"))
    assert len({whole.fingerprint, longer, opened(root).fingerprint}) == 3


@pytest.mark.parametrize(("fraction", "imbalance"), [(1.0, 0.5), (0.4, 1.0), (0.07, 1.0), (0.5, 0.3)])
def test_thinned(root: Path, fraction: float, imbalance: float) -> None:
    """By the rule of the other data sets: a long tail first, then a part of each class, in the order of the paths."""
    source = opened(root, train_fraction=fraction, imbalance=imbalance)
    counts = [count_kept(count, fraction) for count in long_tailed((13, 9, 11), imbalance)]
    assert torch.bincount(source.train_labels).tolist() == counts
    paths = [source.train.path(index) for index in range(source.train_size)]
    assert paths == [str(jpeg(root, "train", label, n)) for label, count in enumerate(counts) for n in range(count)]
    assert source.test_size == 12
    assert len(epoch(source)) == sum(counts)


def test_paths_of_any_bytes(root: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(root / "train" / "n01440764") + b"/\xff\xc3.JPEG"))
    jpeg(root, "train", 0, 0).rename(odd)
    source = opened(root)
    assert str(odd) in [source.train.path(index) for index in range(source.train_size)]
    assert len(epoch(source)) == 33


# --- processes -----------------------------------------------------------------------------------------------------


def test_workers_by_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, world, workers in ((1, 1, 1), (2, 1, 1), (8, 1, 7), (8, 2, 3), (128, 1, 16), (128, 8, 15)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: set(range(cores)))
        assert loader.default_workers(world) == workers
        monkeypatch.setattr(loader, "devices_here", world)
        assert loader.default_workers() == workers
        monkeypatch.setattr(loader, "devices_here", 1)


def test_too_little_shared_memory(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = namedtuple("small", ("f_bavail", "f_frsize"))(16384, 4096)
    monkeypatch.setattr(os, "statvfs", lambda _: small)
    assert len(epoch(opened(root, side=32, workers=0))) == 33
    with pytest.raises(UserError, match=r"^8 workers need 220 MB in /dev/shm, 64 MB are free: .*--shm-size"):
        epoch(opened(root, side=224, workers=8))


@pytest.mark.medium
def test_two_at_once_and_one_left_unfinished(root: Path) -> None:
    source, alone = opened(root, workers=1), opened(root)
    stream = source.stream(seed=1, batch_size=5, augmentation="random_resized_crop_flip")
    training = stream.epoch(1)
    first = next(training)
    scanned = torch.cat([images for images, _ in source.scan("test", 5)])
    assert torch.equal(scanned, torch.cat([images for images, _ in alone.scan("test", 5)]))
    rest = list(training)
    expected = epoch(alone)
    for chunk in (first, *rest):
        assert all(torch.equal(p, expected[int(i)]) for i, p in zip(chunk.index, chunk.pixels, strict=True))
    unfinished = stream.epoch(2)
    next(unfinished)
    unfinished.close()
    again, expected = epoch(source, 2), epoch(alone, 2)
    assert again.keys() == expected.keys()
    assert all(torch.equal(again[index], expected[index]) for index in again)


SCRIPT = """
import sys
from pathlib import Path
from trainables.datasets import imagenet

if __name__ == "__main__":
    files = imagenet.read(Path(sys.argv[1]), download=False, side=32, workers=2)
    source = files.assemble("imagenet")
    stream = source.stream(seed=1, batch_size=4, augmentation="random_resized_crop_flip")
    chunks = stream.epoch(1)
    print(len(next(chunks).labels) + len(next(chunks).labels), flush=True)
    sys.stdin.read()
    print(sum(len(chunk.labels) for chunk in chunks))
"""


def start(root: Path, tmp_path: Path) -> subprocess.Popen[str]:
    """A training that has had a batch from each worker, in a session of its own, with warnings as errors."""
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    return subprocess.Popen(
        [sys.executable, "-W", "error", str(script), str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )


def alive(session: int) -> list[int]:
    """The processes of a session that have not ended."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, its = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(its) == session and state != "Z":
            found.append(int(stat.parent.name))
    return found


def ended(session: int) -> bool:
    """Whether all processes of a session end soon."""
    deadline = time.monotonic() + 20
    while alive(session) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not alive(session)


@pytest.mark.medium
def test_workers_end_with_their_parent(root: Path, tmp_path: Path) -> None:
    training = start(root, tmp_path)
    assert training.stdout is not None
    assert training.stdout.readline() == "8\n"
    assert len(alive(training.pid)) >= 4
    training.kill()
    training.communicate(timeout=30)
    assert ended(training.pid)


@pytest.mark.slow
def test_workers_leave_ctrl_c_to_their_parent(root: Path, tmp_path: Path) -> None:
    """Its first Ctrl-C may be no more than a wish to stop later. Then they end in silence, warnings being errors."""
    training = start(root, tmp_path)
    assert training.stdout is not None
    assert training.stdout.readline() == "8\n"
    for process in set(alive(training.pid)) - {training.pid}:
        os.kill(process, signal.SIGINT)
    out, err = training.communicate("", timeout=60)
    assert (out, err, training.returncode) == ("24\n", "", 0)
    assert ended(training.pid)

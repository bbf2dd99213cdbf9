"""ImageNet's files on a disk that fails: one file is passed over and named, a folder or a class ends the training."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import imagenet_like
import pytest
import torch
from few import fast
from imagenet_like import epoch, jpeg, opened, refused

from trainables.data.source import UNREADABLE
from trainables.errors import UserError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return imagenet_like.make(tmp_path / "imagenet")


def missing(path: Path) -> None:
    path.unlink()


def dead_link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.parent / "nowhere")


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def bad_sector(path: Path) -> None:
    """A file that opens; reading its first byte is an input/output error that names no file."""
    path.unlink()
    path.symlink_to("/proc/self/mem")


def forbidden(path: Path) -> None:
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")


FAULTS = {
    missing: "No such file or directory",
    dead_link: "No such file or directory",
    folder_instead: "Is a directory",
    bad_sector: "Input/output error",
    forbidden: "Permission denied",
}


@pytest.mark.parametrize(("fault", "reason"), FAULTS.items())
@pytest.mark.parametrize("workers", fast([0, 1], 0, others="medium"))
def test_one_file_that_cannot_be_read_is_passed_over(
    root: Path, capsys: pytest.CaptureFixture[str], workers: int, fault: Callable[[Path], None], reason: str
) -> None:
    whole = epoch(opened(root))
    source = opened(root, workers=workers)
    paths = [jpeg(root, "train", 2, 3), jpeg(root, "val", 1, 2)]
    for path in paths:
        fault(path)
    made = epoch(source)
    changed = [index for index in whole if not torch.equal(made[index], whole[index])]
    assert changed == [13 + 9 + 3]
    labels = torch.cat([labels for _, labels in source.scan("test", 5)])
    assert [int(label) for label in labels] == [0] * 5 + [1, 1, UNREADABLE, 1] + [2] * 3
    assert source.unreadable == {str(path): reason for path in paths}
    said = [f"warning: cannot read {path} ({reason}): " for path in paths]
    endings = ["the next image of its class takes its place", "it counts as wrong"]
    assert capsys.readouterr().err.splitlines() == [a + b for a, b in zip(said, endings, strict=True)]


@pytest.mark.medium
@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("split", ["train", "val"])
def test_a_folder_that_is_gone_ends_the_training(root: Path, workers: int, split: str) -> None:
    """Otherwise a whole test split would count as wrong, or a class would have one image, whenever a disk is away."""
    source = opened(root, workers=workers)
    folder = root / split / "n01484850"
    folder.rename(root / "away")
    with pytest.raises(UserError, match=rf"^cannot list {folder} any more \(No such file or directory\): look at"):
        epoch(source) if split == "train" else list(source.scan("test", 5))
    (root / "away").rename(folder)
    assert len(epoch(source)) == 33


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_class_of_which_nothing_can_be_read(root: Path, split: str) -> None:
    """Links into a disk that is away: their own folder is still there."""
    source = opened(root)
    folder = root / split / "n01443537"
    for path in list(folder.iterdir()):
        dead_link(path)
    with pytest.raises(UserError, match=rf"^none of the images in {folder} can be read \(No such file"):
        epoch(source) if split == "train" else list(source.scan("test", 5))
    assert refused(root).startswith(f"cannot read any of the images in {folder}, for example n01443537_00.JPEG")


def test_a_link_to_nothing_from_the_beginning(root: Path) -> None:
    before = opened(root).fingerprint
    dead_link(jpeg(root, "train", 2, 3))
    source = opened(root)
    assert source.fingerprint != before
    assert source.fingerprint == opened(root).fingerprint
    assert len(epoch(source)) == 33
    assert list(source.unreadable) == [str(jpeg(root, "train", 2, 3))]

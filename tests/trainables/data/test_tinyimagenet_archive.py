"""TinyImageNet's archive: downloaded, checked, unpacked as a whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import served
from small_tinyimagenet import write

from trainables.data.tinyimagenet_folders import FOLDER
from trainables.datasets import load, tinyimagenet
from trainables.datasets.tinyimagenet import ARCHIVE
from trainables.errors import UserError


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The archive of a small TinyImageNet, at what is its public address."""
    write(tmp_path / "made" / FOLDER)
    path = Path(shutil.make_archive(str(tmp_path / FOLDER), "zip", tmp_path / "made", FOLDER))
    monkeypatch.setattr(tinyimagenet, "ARCHIVE_MD5", hashlib.md5(path.read_bytes()).hexdigest())
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with served(tmp_path) as address:
        monkeypatch.setattr(tinyimagenet, "URL", f"{address}/{path.name}")
        yield path


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as error:
        load("tinyimagenet", folder, download=True)
    text = str(error.value)
    assert "\n" not in text
    assert not (folder / FOLDER / "train").exists()
    assert not (folder / f".{FOLDER}.partial").exists()
    return text


def test_download(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fetched, unpacked, read; what a killed process left is in nobody's way; not fetched again."""
    folder = tmp_path / "new" / "folder"
    (left := folder / f".{FOLDER}.partial" / FOLDER / "train" / "n01443537").mkdir(parents=True)
    (left / "half.JPEG").write_bytes(b"half")
    data = load("tinyimagenet", folder, download=True)
    assert data.fingerprint == load("tinyimagenet", tmp_path / "made").fingerprint
    assert not left.exists()
    monkeypatch.setattr(tinyimagenet, "URL", "http://127.0.0.1:9/nothing-listens-here")
    assert load("tinyimagenet", folder, download=True).fingerprint == data.fingerprint
    shutil.rmtree(folder / FOLDER)
    assert load("tinyimagenet", folder, download=True).fingerprint == data.fingerprint


def test_download_fails(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "to"
    for url in (f"{tinyimagenet.URL}.absent", "http://127.0.0.1:9/tiny-imagenet-200.zip"):
        monkeypatch.setattr(tinyimagenet, "URL", url)
        assert f"fetch {url} by hand into {folder}" in refused(folder)


def test_a_wrong_sum_is_never_unpacked(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tinyimagenet, "ARCHIVE_MD5", "0" * 32)
    assert "cannot download TinyImageNet" in refused(tmp_path / "to")


@pytest.mark.parametrize("name", ["../evil", f"{FOLDER}/../../evil", "/evil", "evil", f"{FOLDER}2/evil", "..\\evil"])
def test_an_archive_that_reaches_out_of_its_folder(archive: Path, tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(archive, "a") as packed:
        packed.writestr(name, b"evil")
    goal = tmp_path / "deep" / "to" / FOLDER
    goal.parent.mkdir(parents=True)
    with pytest.raises(UserError, match=r"outside its folder tiny-imagenet-200: delete it"):
        tinyimagenet.unpack(archive, goal)
    assert not list(goal.parent.iterdir())
    assert not [path for path in tmp_path.rglob("*") if "evil" in path.name]


@pytest.mark.parametrize("part", [0.0, 0.3, 0.99])
def test_a_damaged_archive(archive: Path, tmp_path: Path, part: float) -> None:
    os.truncate(archive, int(archive.stat().st_size * part))
    with pytest.raises(UserError, match=r"cannot unpack .* delete it, then add --download"):
        tinyimagenet.unpack(archive, tmp_path / "to" / FOLDER)
    assert not (tmp_path / "to" / FOLDER).exists()


def test_a_damaged_member(archive: Path, tmp_path: Path) -> None:
    """The images are found whole one by one until the one that is not: nothing of them stays."""
    blob = archive.read_bytes()
    start = blob.index(b"words.txt") + len("words.txt")
    archive.write_bytes(blob[:start] + bytes(255 - byte for byte in blob[start : start + 20]) + blob[start + 20 :])
    with pytest.raises(UserError, match="cannot unpack"):
        tinyimagenet.unpack(archive, tmp_path / "to" / FOLDER)
    assert not list((tmp_path / "to").iterdir())


def test_an_encrypted_archive(archive: Path, tmp_path: Path) -> None:
    blob = bytearray(archive.read_bytes())
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = blob.find(mark)
        while place >= 0:
            blob[place + flags] |= 1
            place = blob.find(mark, place + 1)
    archive.write_bytes(blob)
    with pytest.raises(UserError, match="encrypted"):
        tinyimagenet.unpack(archive, tmp_path / "to" / FOLDER)


def test_something_else_in_the_folders_place(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "to" / FOLDER / "test").mkdir(parents=True)
    assert "is there, but is no TinyImageNet: move or delete it" in refused(tmp_path / "to")
    assert not (tmp_path / "to" / ARCHIVE).exists()
    with pytest.raises(UserError, match="cannot unpack"):
        tinyimagenet.unpack(archive, tmp_path / "to" / FOLDER)

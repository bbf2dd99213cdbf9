"""A disk that fills up, and writers that were killed: one line, and nothing is lost or left behind."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from few import fast
from small_jobs import VANILLA, assert_same, one_line, stop_after, train

from analysis.table.command_line import write
from trainables.errors import UserError, disk_errors_told
from trainables.job import Execution
from trainables.run_names import name_of
from trainables.storage import checkpoints
from trainables.storage.checkpoints import checkpoint_path
from trainables.storage.runs import drop_temporaries, run_dir, weights_path, write_atomically

FULL = OSError(errno.ENOSPC, "No space left on device")


def full_for(names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing more can be written to files whose name begins so."""
    rename = os.replace

    def full(source: Any, target: Any) -> None:
        if Path(target).name.startswith(names):
            raise FULL
        rename(source, target)

    monkeypatch.setattr(os, "replace", full)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("undisturbed")
    train([VANILLA], Execution(results, threads=1))
    return results


@pytest.mark.parametrize("name", fast(["checkpoint.pt", "weights.pt", "result.json"], "checkpoint.pt", others="medium"))
def test_a_full_disk_ends_a_job_in_one_line_and_loses_nothing(
    name: str, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    execution = Execution(tmp_path, threads=1)
    with monkeypatch.context() as patch:
        full_for((name,), patch)
        with pytest.raises(UserError) as error:
            train([VANILLA], execution)
        assert "no space left on device" in one_line(error)
        assert str(execution.results) in one_line(error)
    train([VANILLA], execution)
    assert_same(undisturbed, execution.results, [VANILLA])
    assert sorted(path.name for path in run_dir(execution.results, VANILLA.run_id).iterdir()) == [
        *("lock", "result.json", "spec.json", "weights.pt")
    ]


@pytest.mark.medium
def test_a_checkpoint_that_found_no_room_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, execution = replace(VANILLA, epochs=3), Execution(tmp_path, threads=1)
    stop_after([spec], execution, 1)
    with monkeypatch.context() as patch:
        full_for(("checkpoint.pt",), patch)
        with pytest.raises(UserError, match="no space left"):
            train([spec], execution)
    assert [report.epoch for report in train([spec], execution)] == [0, 2, 3]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.medium
@pytest.mark.parametrize("fails", ["fsync", "replace"])
def test_a_damaged_checkpoint_never_takes_the_place_of_a_good_one(
    fails: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, execution = replace(VANILLA, epochs=3), Execution(tmp_path, threads=1)
    stop_after([spec], execution, 2)
    flip(checkpoint_path(tmp_path, spec.run_id))
    with monkeypatch.context() as patch:
        if fails == "replace":
            full_for(("checkpoint.pt",), patch)
        else:
            begun = os.fsync

            def full(number: int) -> None:
                if Path(os.readlink(f"/proc/self/fd/{number}")).name.startswith(".checkpoint"):
                    raise FULL
                begun(number)

            patch.setattr(os, "fsync", full)
        with pytest.raises(UserError, match="no space left"):
            train([spec], execution)
    assert [report.epoch for report in train([spec], execution)] == [0, 2, 3]


@pytest.mark.parametrize("number", fast([errno.EIO, errno.ESTALE], errno.EIO))
def test_a_checkpoint_that_cannot_be_read_costs_one_epoch(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, execution = replace(VANILLA, epochs=3), Execution(tmp_path, threads=1)
    stop_after([spec], execution, 2)
    broken, read = checkpoint_path(tmp_path, spec.run_id), Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        if path == broken:
            raise OSError(number, os.strerror(number), str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    said, *reports = train([spec], execution)
    why = os.strerror(number).lower()
    what = f"checkpoint.pt of {name_of(spec)} cannot be read ({why})"
    assert said.damaged == (f"{what}: not used; it goes on after epoch 1",)
    assert [report.epoch for report in reports] == [2, 3]


def test_a_checkpoint_of_another_format_is_not_used_and_its_pack_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, other, execution = replace(VANILLA, epochs=3), replace(VANILLA, lr=0.01), Execution(tmp_path, threads=1)
    stop_after([spec], execution, 1)
    monkeypatch.setattr(checkpoints, "FORMAT", checkpoints.FORMAT + 1)
    said, *reports = train([spec, other], execution)
    assert said.damaged == (
        f"checkpoint.pt of {name_of(spec)} is of another run or version: not used; it goes on after epoch 0",
    )
    assert [set(report.metrics) for report in reports] == [{other.run_id, spec.run_id}] * 2 + [{spec.run_id}]


def raised(error: Exception, cause: Exception | None = None) -> None:
    with disk_errors_told(Path("results")):
        raise error from cause


def test_other_errors_pass() -> None:
    for error in (FileNotFoundError(errno.ENOENT, "No such file"), RuntimeError("something else")):
        with pytest.raises(type(error)):
            raised(error)
    with pytest.raises(UserError) as caught:
        raised(UserError("as it was"), FULL)
    assert one_line(caught) == "as it was"


def test_a_full_disk_is_told_where_a_library_made_another_error_of_it() -> None:
    with pytest.raises(UserError, match="cannot write to results: no space left on device"):
        raised(RuntimeError("a trial failed"), FULL)


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS])
def test_a_broken_disk_is_not_told_as_a_full_one(number: int) -> None:
    with pytest.raises(UserError, match=r"cannot read or write results: .* see to that disk"):
        raised(OSError(number, os.strerror(number)))


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    folder = run_dir(tmp_path, VANILLA.run_id)
    folder.mkdir(parents=True)
    for name in (".checkpoint.pt.123", ".weights.pt.4567"):
        (folder / name).write_bytes(b"half")
    train([VANILLA], Execution(tmp_path, threads=1))
    assert not list(folder.glob(".*"))
    assert weights_path(tmp_path, VANILLA.run_id).exists()
    assert not checkpoint_path(tmp_path, VANILLA.run_id).exists()


def test_other_hidden_files_stay(tmp_path: Path) -> None:
    for name in (".DS_Store", ".table5.tex.99", ".a.1", "b.2"):
        (tmp_path / name).touch()
    drop_temporaries(tmp_path, "a")
    assert sorted(os.listdir(tmp_path)) == [".DS_Store", ".table5.tex.99", "b.2"]
    drop_temporaries(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".DS_Store", "b.2"]


def test_a_pipe_is_written_into_and_stays_one(tmp_path: Path) -> None:
    """So does a device: `--csv /dev/stdout`, and `/dev/null` even where the user could replace it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write(pipe, b"content")
    assert os.read(reading, 99) == b"content"
    os.close(reading)
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]
    device = tmp_path / "device"
    device.symlink_to("/dev/full")
    with pytest.raises(UserError, match="no space left"):
        write(device, b"content")
    assert device.is_symlink()


@pytest.mark.parametrize("name", [".", "folder"])
def test_a_folder_is_no_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomically(Path(name), b"content")

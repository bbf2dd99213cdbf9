"""A disk that fills up, and writers that were killed: one line, and nothing is lost or left behind."""

from __future__ import annotations

import errno
import multiprocessing
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_jobs import VANILLA, assert_same, one_line, stop_after, train
from tensorboardX import event_file_writer

from trainables.errors import UserError, disk_errors_told
from trainables.job import Place
from trainables.ray_trial import _Events
from trainables.runs import checkpoint_path, drop_temporaries, run_dir, weights_path

FULL = OSError(errno.ENOSPC, "No space left on device")


def full_for(names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing more can be written to files whose name begins so."""
    rename = os.replace

    def full(source: Any, target: Any) -> None:
        if Path(target).name.startswith(names):
            raise FULL
        rename(source, target)

    monkeypatch.setattr(os, "replace", full)


@pytest.mark.parametrize("name", ["checkpoint.pt", "weights.pt", "result.json"])
def test_a_full_disk_ends_a_job_in_one_line_and_loses_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, place = Place(tmp_path / "alone", threads=1), Place(tmp_path / "full", threads=1)
    train([VANILLA], alone)
    with monkeypatch.context() as patch:
        full_for((name,), patch)
        with pytest.raises(UserError) as error:
            train([VANILLA], place)
        assert "no space left on device" in one_line(error)
        assert str(place.results) in one_line(error)
    train([VANILLA], place)
    assert_same(alone.results, place.results, [VANILLA])
    assert sorted(path.name for path in run_dir(place.results, VANILLA.run_id).iterdir()) == [
        *("lock", "result.json", "spec.json", "weights.pt")
    ]


def test_a_checkpoint_that_found_no_room_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, place = replace(VANILLA, epochs=4), Place(tmp_path, threads=1)
    stop_after([spec], place, 2)
    with monkeypatch.context() as patch:
        full_for(("checkpoint.pt",), patch)
        with pytest.raises(UserError, match="no space left"):
            train([spec], place)
    assert [report.epoch for report in train([spec], place)] == [3, 4]


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


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    folder = run_dir(tmp_path, VANILLA.run_id)
    folder.mkdir(parents=True)
    for name in (".checkpoint.pt.123", ".weights.pt.4567"):
        (folder / name).write_bytes(b"half")
    train([VANILLA], Place(tmp_path, threads=1))
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


def test_curves_on_a_full_disk_are_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a thread that has ended, though there are more numbers than its queue holds."""

    def full(*_: object) -> None:
        raise FULL

    for name in ("write_event", "flush", "close"):
        monkeypatch.setattr(_Events.__base__, name, full)
    queue: Any = multiprocessing.Queue(10)
    events = _Events(str(tmp_path / "events"))
    writing = event_file_writer._EventLoggerThread(queue, events, 120)
    writing.start()
    for number in range(50):
        queue.put(number, timeout=20)
    writing.stop()
    events.flush()
    events.close()
    queue.close()
    events._py_recordio_writer._writer.close()

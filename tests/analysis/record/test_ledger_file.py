"""What can happen to the ledger's file: other files in its place, damage, missing rights, death in the middle."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from some_results import query, result_of, spec_of, write

from analysis.record import ledger_file
from analysis.record.ledger import SCHEMA, Ledger
from trainables.errors import UserError

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


def refused(path: Path, *, readonly: bool | None = None) -> str:
    """The one line with which opening (and reading) is refused, to write and to read alike."""
    messages = set()
    for mode in (False, True) if readonly is None else (readonly,):
        with pytest.raises(UserError) as caught, Ledger.open(path, readonly=mode) as ledger:
            ledger.all()
        messages.add(str(caught.value))
    message = max(messages, key=len)
    assert all("\n" not in text for text in messages)
    return message


def test_no_ledger_to_read(path: Path) -> None:
    assert f"there is no ledger {path}: run a sweep first" in refused(path, readonly=True)
    assert not path.exists()


def test_a_missing_folder(tmp_path: Path) -> None:
    message = refused(tmp_path / "gone" / "ledger.sqlite")
    assert f"folder {tmp_path / 'gone'} of the ledger does not exist" in message
    assert not (tmp_path / "gone").exists()


def test_a_folder_or_a_pipe_in_its_place(tmp_path: Path) -> None:
    assert "is a folder" in refused(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "is no file" in refused(tmp_path / "pipe")
    with Ledger.open(tmp_path / "ledger.sqlite"):
        pass
    (tmp_path / "ledger.sqlite-journal").mkdir()
    assert "ledger.sqlite-journal is no file, and a database needs that name" in refused(tmp_path / "ledger.sqlite")
    (tmp_path / "file").write_text("")
    assert "is no folder" in refused(tmp_path / "file" / "ledger.sqlite")


@pytest.mark.parametrize(
    "content", [b"", b"SQLite", b"run_id,top1\n1,2\n", b"SQLite format 3\0" + bytes(84), bytes(5000)]
)
def test_a_file_that_is_no_ledger_stays_as_it_is(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    message = refused(path)
    assert ("is no ledger" if content else "is empty") in message
    assert path.read_bytes() == content
    assert os.listdir(path.parent) == [path.name]


def test_a_database_of_another_program_stays_as_it_is(path: Path) -> None:
    query(path, "CREATE TABLE runs (run_id)")
    before = path.read_bytes()
    assert "is no ledger of this program" in refused(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("schema", "message"), [(SCHEMA + 1, "newer version .*upgrade"), (0, "damaged"), (-1, "damaged")]
)
def test_a_ledger_of_another_schema_stays_as_it_is(path: Path, schema: int, message: str) -> None:
    write(path, result_of(spec_of()))
    query(path, f"PRAGMA user_version = {schema}")
    before = path.read_bytes()
    with pytest.raises(UserError, match=message):
        Ledger.open(path)
    with pytest.raises(UserError, match=message):
        Ledger.open(path, readonly=True)
    assert path.read_bytes() == before


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.95])
def test_a_truncated_ledger_stays_as_it_is(path: Path, kept: float) -> None:
    write(path, *(result_of(spec_of(seed)) for seed in range(1, 60)))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    before = path.read_bytes()
    assert "is damaged" in refused(path)
    assert path.read_bytes() == before


def test_a_ledger_with_overwritten_pages_is_not_written(path: Path) -> None:
    write(path, *(result_of(spec_of(seed)) for seed in range(1, 60)))
    whole = bytearray(path.read_bytes())
    whole[4096:12288] = b"\xa5" * 8192
    path.write_bytes(whole)
    assert "is damaged" in refused(path)
    with pytest.raises(UserError, match="is damaged"):
        Ledger.open(path)
    assert path.read_bytes() == whole


def test_a_ledger_without_its_tables(path: Path) -> None:
    write(path)
    query(path, "DROP TABLE runs")
    assert "no such table: runs" in refused(path)


@contextmanager
def without_rights(folder: Path) -> Iterator[None]:
    """As someone who may read the folder but not write it."""
    root = os.geteuid() == 0
    folder.chmod(0o555)
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o755)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can reach, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_folder_without_the_right_to_write(open_folder: Path) -> None:
    path = open_folder / "ledger.sqlite"
    with without_rights(open_folder):
        assert "cannot be written" in refused(path, readonly=False)
    assert os.listdir(open_folder) == []
    write(path, result_of(spec_of()))
    for mode in (0o444, 0o666):
        path.chmod(mode)
        with without_rights(open_folder):
            assert "cannot be written" in refused(path, readonly=False)
            with Ledger.open(path, readonly=True) as ledger:
                assert len(ledger.all()) == 1
    path.chmod(0o000)
    with without_rights(open_folder):
        assert "permission denied" in refused(path)


def test_a_reader_cannot_write(path: Path) -> None:
    write(path)
    with Ledger.open(path, readonly=True) as ledger, pytest.raises(UserError, match="cannot be written"):
        ledger.record(result_of(spec_of()))


def test_a_ledger_that_another_process_writes_for_long(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_file, "WAIT_SECONDS", 0.1)
    write(path, result_of(spec_of()))
    with closing(sqlite3.connect(path, isolation_level=None)) as other, Ledger.open(path) as ledger:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UserError, match="being written by another process"):
            ledger.record(result_of(spec_of(2)))
        assert len(ledger.all()) == 1
        other.execute("ROLLBACK")
        assert ledger.record(result_of(spec_of(2)))


def test_the_disk_is_full(path: Path) -> None:
    write(path, result_of(spec_of()))
    with Ledger.open(path) as ledger:
        ledger._connection.execute("PRAGMA max_page_count = 1")  # the pages it has: SQLite's own way to a full disk
        with pytest.raises(UserError, match="the disk is full"):
            all(ledger.record(result_of(spec_of(seed))) for seed in range(2, 60))
        ledger._connection.execute("PRAGMA max_page_count = 100000")
        before = len(ledger.all())
        assert ledger.record(result_of(spec_of(60)))
        assert len(ledger.all()) == before + 1


# Death in the middle

WRITER = """
import sys, time
from pathlib import Path
sys.path[:0] = [{root!r}, {tests!r}]
from some_results import failed, result_of, spec_of
from analysis.record.ledger import Ledger
with Ledger.open(Path({path!r})) as ledger:
    for seed in range({first}, 10**6):
        ledger.record(failed(spec_of(seed)))
        ledger.record(result_of(spec_of(seed)))
        print(seed, flush=True)
        time.sleep({pause})
"""


@pytest.mark.medium
def test_a_killed_writer_leaves_whole_rows(path: Path) -> None:
    """SIGKILL at eight moments; every row that was reported written is there, and every row there is whole."""
    reported = 0
    for attempt in range(8):
        code = WRITER.format(
            root=str(ROOT), tests=str(Path(__file__).parents[1]), path=str(path), first=reported + 1, pause=0
        )
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(0.013 * attempt)
            process.send_signal(signal.SIGKILL)
            lines = [line for line in process.stdout.read().split("\n")[:-1] if line]
        reported = max([reported + 1, *map(int, lines)])
        with Ledger.open(path, readonly=True) as ledger:
            entries = ledger.all()
        done = {entry.spec.seed for entry in entries if entry.done}
        assert set(range(1, reported + 1)) <= done
        assert len(entries) - reported <= 1
    assert query(path, "PRAGMA integrity_check") == [("ok",)]


CRASH = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = [{root!r}, {tests!r}]
from some_results import result_of, spec_of
from analysis.record.entry import entry_of
from analysis.record.ledger import _INSERT, Ledger, _row
with Ledger.open(Path({path!r})) as ledger:
    ledger._connection.execute("PRAGMA cache_size = 1")
    with ledger._transaction():
        for seed in range(2, 400):
            ledger._connection.execute(_INSERT, _row(entry_of(result_of(spec_of(seed)))))
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_half_a_transaction_is_undone_by_the_next_reader(path: Path) -> None:
    """Killed when half of a transaction's pages are in the file: the journal beside it takes them back."""
    write(path, result_of(spec_of()))
    before, size = path.read_bytes(), path.stat().st_size
    code = CRASH.format(root=str(ROOT), tests=str(Path(__file__).parents[1]), path=str(path))
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    assert path.stat().st_size > size
    assert (path.parent / "ledger.sqlite-journal").exists()
    with Ledger.open(path, readonly=True) as ledger:
        assert [entry.spec.seed for entry in ledger.all()] == [1]
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_readers_while_a_writer_writes(path: Path) -> None:
    write(path, result_of(spec_of()))
    code = WRITER.format(root=str(ROOT), tests=str(Path(__file__).parents[1]), path=str(path), first=2, pause=0.02)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            seen = 0
            for _ in range(10):
                with Ledger.open(path, readonly=True) as ledger:
                    now = len(ledger.all())
                assert now >= seen
                seen = now
        finally:
            process.kill()
    assert seen > 1

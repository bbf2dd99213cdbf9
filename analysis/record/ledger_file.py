"""The ledger's file: opened for its writer or beside it, and refused where it is none."""

from __future__ import annotations

import contextlib
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

from analysis.record.beside import connect_beside
from analysis.record.sqlite_errors import WAIT_SECONDS, check_beside, meaning
from trainables.errors import UserError

APPLICATION_ID = 0x454B444C  # "EKDL"
SCHEMA = 3
NO_LEDGER = "is no ledger of this program, or is damaged: it stays as it is; name another file"


def say_missing(path: Path) -> str:
    if not path.parent.is_dir():
        return f"the folder {path.parent} of the ledger does not exist: make it, or name another with --results"
    return f"there is no ledger {path}: run a sweep first, or name another folder with --results"


@contextlib.contextmanager
def translate_errors(path: Path) -> Iterator[None]:
    """SQLite's errors as one line that names the file and the way out."""
    try:
        yield
    except sqlite3.Error as error:
        damaged = "restore it from a copy, or move it away and run the sweep again"
        reason = meaning(error, path, foreign=NO_LEDGER, damaged=damaged)
        raise UserError(f"the ledger {path} {reason}") from error


def connect(path: Path, *, beside: bool) -> sqlite3.Connection:
    """Mode rw even to read: only so can a reader undo the transaction of a writer that was killed in it.

    beside: a sweep that must not wait; then that is left to others.
    """
    if beside:
        connection = connect_beside(path)
    else:
        uri = f"{path.absolute().as_uri()}?mode=rw"
        connection = sqlite3.connect(uri, uri=True, timeout=WAIT_SECONDS, isolation_level=None)
        connection.execute("PRAGMA synchronous = EXTRA")
    connection.text_factory = lambda text: text.decode(errors="replace")
    connection.row_factory = sqlite3.Row
    return connection


def check_file(path: Path) -> None:
    """Refuse what is no readable file, or an empty one, before SQLite touches it."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise UserError(f"{path} is {'a folder' if path.is_dir() else 'no file'}: name the ledger's file")
    check_beside(path)
    with open(path, "rb") as file:
        empty = not file.read(1)
    if empty:
        raise UserError(f"the ledger {path} is empty: restore it from a copy, or delete it to begin a new one")


def check_identity(path: Path, connection: sqlite3.Connection) -> None:
    """Refuse a database of another program or of a newer version."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (schema,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        raise UserError(f"{path} {NO_LEDGER}")
    if schema > SCHEMA:
        raise UserError(f"the ledger {path} was written by a newer version (schema {schema}, not {SCHEMA}): upgrade")
    if schema < 1:
        raise UserError(f"the ledger {path} is damaged (schema {schema}): restore it from a copy")


def check_whole(path: Path, connection: sqlite3.Connection) -> None:
    """Before anything is written: every page is there and fits the others."""
    answer = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if answer != "ok":
        reason = " ".join(str(answer).split())
        raise UserError(f"the ledger {path} is damaged ({reason}): restore it from a copy, or move it away")

"""Databases that another process writes, read without a lock, so that it never waits for a reader."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from trainables.errors import UserError, reason_of

Found = TypeVar("Found")
State = tuple[int, int, int, bytes]

LOOK_SECONDS = 1
"""How long a reader tries to come between two transactions."""
PAUSE = 0.002
_COUNTER = slice(24, 28)
"""Of a SQLite file: a number that every transaction changes."""


def connect_beside(path: Path) -> sqlite3.Connection:
    """It writes nothing and takes no lock: what it reads is to be checked by `read_undisturbed`."""
    uri = f"{path.absolute().as_uri()}?mode=ro&nolock=1"
    return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)


def state_of(path: Path) -> State | None:
    """The file, and another value after every transaction. None where there is no file."""
    try:
        with open(path, "rb") as file:
            about = path.stat()
            return about.st_ino, about.st_mtime_ns, about.st_size, file.read(_COUNTER.stop)[_COUNTER]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"cannot read {path}: {reason_of(error)}") from error


def read_undisturbed(path: Path, read: Callable[[], Found]) -> Found:
    """What `read` finds between two transactions; it reads again where one came between.

    A writer changes the file only while its journal is there. A journal that stays is of a writer that was killed.
    """
    journal = path.with_name(f"{path.name}-journal")
    deadline = time.monotonic() + LOOK_SECONDS
    while True:
        before, quiet = state_of(path), not journal.exists()
        try:
            found = read()
        except Exception:
            if quiet and state_of(path) == before and not journal.exists():
                raise
        else:
            if quiet and state_of(path) == before and not journal.exists():
                return found
        if time.monotonic() > deadline:
            reason = "a process writes it, or was killed while it wrote, which the next sweep mends"
            raise UserError(f"cannot read {path} now: {reason}")
        time.sleep(PAUSE)


def fetch_undisturbed(
    path: Path, connection: sqlite3.Connection, query: str, values: Sequence[str | int] = ()
) -> list[Any]:
    """The rows that a connection of `connect_beside` finds."""

    def fetch() -> list[Any]:
        connection.execute("PRAGMA shrink_memory")  # Forgets the pages of an earlier try.
        return connection.execute(query, values).fetchall()

    return read_undisturbed(path, fetch)

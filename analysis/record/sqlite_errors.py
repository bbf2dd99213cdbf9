"""What an error of SQLite's means, and what helps: of the ledger and of a search's study."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from trainables.error_texts import TABLE_MISSING
from trainables.errors import UserError

WAIT_SECONDS = 30
"""For another process that writes the same file."""
LONGEST = 512 - len("-journal")
"""Bytes of a path that SQLite opens."""
BESIDE = ("", "-journal", "-wal", "-shm")


def check_beside(path: Path) -> None:
    """Refuse what is no file where SQLite has files: all it would say is `disk I/O error`."""
    for name in BESIDE:
        other = Path(f"{path}{name}")
        if other.exists() and not other.is_file():
            raise UserError(f"{other} is no file, and a database needs that name: move it away")


def meaning(error: sqlite3.Error, path: Path, *, foreign: str, damaged: str) -> str:
    """What is said of the file, after its name. foreign: of no database; damaged: what helps a broken one."""
    code = str(getattr(error, "sqlite_errorname", ""))
    length = len(os.fsencode(path.absolute()))
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        held = f"is being written by another process for more than {WAIT_SECONDS} s"
        return f"{held}: when it has ended, run the same command again"
    if code.startswith("SQLITE_CANTOPEN") and length > LONGEST:
        return f"has a path of {length} bytes, and SQLite opens {LONGEST} at most: choose a folder with a shorter path"
    if code.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return "cannot be written: give yourself the right to write the file and its folder"
    if code == "SQLITE_FULL":
        return "cannot grow, for the disk is full: make room, then run the same command again"
    if code == "SQLITE_NOTADB":
        return foreign
    if code.startswith("SQLITE_CORRUPT") or TABLE_MISSING.search(str(error)):
        return f"is damaged ({error}): {damaged}"
    if code.startswith("SQLITE_IOERR"):
        return f"cannot be read or written ({error}): see to its disk, then run the same command again"
    return f"cannot be used: {error}"

"""Locks between processes that the system releases when their holder dies, however it dies."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainables.errors import UserError


@contextmanager
def shared(path: Path) -> Iterator[None]:
    """Hold a lock on `path` together with others who share it. (NFS shares locks only of files open for reading.)"""
    with open(path, "a+") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


@contextmanager
def tried(path: Path) -> Iterator[bool]:
    """An exclusive lock on `path`, if nobody holds it now."""
    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


@contextmanager
def held(path: Path, *, seconds: float) -> Iterator[None]:
    """Hold an exclusive lock on `path`; wait for another holder to end, for at most `seconds` (which may be inf)."""
    deadline = time.monotonic() + seconds
    with open(path, "a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise UserError(f"{path} is still held by another process after {seconds:g} s") from None
                time.sleep(0.05)
        yield

"""Locks between processes that the system releases when their holder dies, however it dies."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainables.errors import UserError


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

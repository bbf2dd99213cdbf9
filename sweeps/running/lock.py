"""One driver a results folder: a lock that the system releases when its holder dies, however it dies."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainables.errors import UserError, disk_errors_told


@contextmanager
def driver_lock(results: Path) -> Iterator[None]:
    """Hold `results`/lock, making the folder if need be; refuse when another driver holds it."""
    path = results / "lock"
    try:
        results.mkdir(parents=True, exist_ok=True)
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115
    except OSError as error:
        raise UserError(f"cannot write to the results folder {results}: {error.strerror}; choose --results") from error
    with disk_errors_told(results), file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise UserError(
                f"another sweep uses {results} ({holder}): wait until it ends, stop it, or choose other --results"
            ) from None
        except OSError as error:
            raise UserError(f"cannot lock {path}: {error.strerror}; choose --results on another disk") from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield

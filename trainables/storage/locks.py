"""Locks between processes, which the system releases when their holder dies, however it dies.

`flock` also holds between machines: on NFS it is a lock of the server. Where a file system has no locks it is an
OSError at once. (A lock that is the presence of a file would outlive a killed holder.)
"""

from __future__ import annotations

import fcntl
import math
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from trainables.errors import UserError, describe_failure, disk_errors_told
from trainables.storage.runs import check_regular

POLL_SECONDS = 0.05


class LockHeldError(UserError):
    """Another process holds the lock."""


@contextmanager
def hold_lock(path: Path, *, seconds: float = math.inf, shared: bool = False) -> Iterator[IO[str]]:
    """Hold a lock on the file `path`, which is made and handed out. Wait at most `seconds` for other holders.

    shared: several may hold the lock together, if all of them share it.
    """
    deadline = time.monotonic() + seconds
    if path.exists():
        check_regular(path)
    # NFS gives exclusive locks to files open for writing, shared ones to files open for reading.
    with open(path, "a+", encoding="utf-8") as file:
        while True:
            try:
                fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise LockHeldError(f"{path} is still held by another process after {seconds:g} s") from None
                time.sleep(POLL_SECONDS)
        yield file


@contextmanager
def hold_driver_lock(results: Path) -> Iterator[None]:
    """Hold `results`/lock, making the folder if need be: one process writes a ledger. Refuse when another holds it."""
    path = results / "lock"
    with disk_errors_told(results), ExitStack() as lock:
        try:
            results.mkdir(parents=True, exist_ok=True)
            file = lock.enter_context(hold_lock(path, seconds=0))
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            file.flush()
        except LockHeldError:
            holder = path.read_text(encoding="utf-8", errors="replace").strip() or "unknown"
            raise UserError(
                f"another sweep uses {results} ({holder}): wait until it ends, stop it, or choose other --results"
            ) from None
        except OSError as error:
            raise UserError(
                f"cannot write to the results folder {results}: {describe_failure(error, path)}; choose --results"
            ) from error
        yield

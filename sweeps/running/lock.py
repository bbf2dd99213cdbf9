"""One driver a results folder."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from trainables.errors import UserError, describe_failure, disk_errors_told
from trainables.storage.locks import LockHeldError, hold_lock


@contextmanager
def hold_driver_lock(results: Path) -> Iterator[None]:
    """Hold `results`/lock, making the folder if need be; refuse when another driver holds it."""
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
            raise UserError(f"cannot write to the results folder {results}: {describe_failure(error, path)}") from error
        yield

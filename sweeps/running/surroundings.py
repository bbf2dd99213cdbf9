"""What Ray needs of this machine and this user: what is missing is told before Ray starts, which would not say it."""

from __future__ import annotations

import os
import resource
import shutil
import sys
from pathlib import Path

from trainables.errors import UserError

LEAST_ROOM = 20 * 10**6
"""Bytes of the temporary folder: the logs of a Ray that does little."""
LEAST_PROCESSES = 300
"""Processes and threads, which the system counts together: those of Ray's servers, the driver and two jobs."""


def check_surroundings(temporary: Path) -> None:
    """Refuse to start a Ray that could not start. temporary: the folder for its logs and sockets."""
    _check_names()
    free = shutil.disk_usage(temporary).free
    if free < LEAST_ROOM:
        raise UserError(
            f"the temporary folder {temporary} has {free // 10**6} MB free, and Ray needs {LEAST_ROOM // 10**6}: "
            "make room there, or have TMPDIR name a folder (by a short path) on another disk"
        )
    left = _processes_left()
    if left is not None and left < LEAST_PROCESSES:
        raise UserError(
            f"this user may start {left} more processes and threads, and Ray needs about {LEAST_PROCESSES}: "
            "raise the limit (ulimit -u), or end other programs"
        )


def _check_names() -> None:
    """Ray keeps the command line and the working directory as UTF-8."""
    for name in (os.getcwd(), *sys.argv):
        try:
            name.encode()
        except UnicodeEncodeError:
            shown = name.encode(errors="backslashreplace").decode()
            raise UserError(f"{shown} is not UTF-8, and Ray takes no such name: rename it, or link to it") from None


def _processes_left() -> int | None:
    """How many processes and threads this user may still start; None where nothing limits them."""
    limit = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    if limit == resource.RLIM_INFINITY or os.geteuid() == 0:
        return None
    return max(0, limit - sum(map(_threads, Path("/proc").glob("[0-9]*"))))


def _threads(process: Path) -> int:
    """Those of a process of this user."""
    try:
        return len(os.listdir(process / "task")) if process.stat().st_uid == os.geteuid() else 0
    except OSError:
        return 0  # It has ended.

"""The one exception that a person at the keyboard is meant to read."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

BAD_INPUT = 2
FULL = (errno.ENOSPC, errno.EDQUOT)
DISK = (*FULL, errno.EROFS, errno.EIO)


class UserError(Exception):
    """Bad input: one line that says what is wrong and how to mend it. Commands end with status 2."""

    def __str__(self) -> str:
        return " ".join(super().__str__().splitlines())


def reason_of(error: OSError) -> str:
    """Why a file could not be read or written: `no such file or directory`."""
    name = error.filename
    if error.errno == errno.ENOENT and name is None and _has_lost_folder():
        return "the folder in which this was started is gone: start it in another"
    if error.errno == errno.EEXIST and name is not None and os.path.islink(name) and not os.path.exists(name):
        return f"it is a link to {os.readlink(name)}, which is not there"
    return (error.strerror or str(error)).lower()


def _has_lost_folder() -> bool:
    """Whether the folder that this process stands in was removed."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


CURES = {
    **dict.fromkeys((errno.EACCES, errno.EPERM), "name another place, or have its owner allow it"),
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOTDIR: "a part of it is a file, not a folder",
    errno.EISDIR: "name a file, or remove it",
    errno.EEXIST: "name another, or remove what is there",
    errno.ELOOP: "it is a link to itself: remove it",
    errno.EROFS: "that disk cannot be written: name a place on another",
    **dict.fromkeys((errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS), "choose a folder on another disk"),
    **dict.fromkeys(FULL, "make room, then run the same command again"),
}


def describe_failure(error: OSError, place: Path | None = None) -> str:
    """What the file system refused, why, and how to mend it. place: what was used, where the error does not say it."""
    name = error.filename2 or error.filename or place
    if name is None:
        return f"{reason_of(error)} (--debug shows where)"
    cure = f": {CURES[error.errno]}" if error.errno in CURES else ""
    return f"cannot use {os.fsdecode(name)}: {reason_of(error)}{cure}"


class NewerError(UserError):
    """What was read comes from a newer version of this program."""


@contextlib.contextmanager
def disk_errors_told(folder: Path) -> Iterator[None]:
    """A full or broken disk below `folder` as one line, also where a library has made another error of it."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        disk = next((each for each in causes(error) if isinstance(each, OSError) and each.errno in DISK), None)
        if disk is None:
            raise
        what, cure = ("write to", "make room") if disk.errno in FULL else ("read or write", "see to that disk")
        raise UserError(
            f"cannot {what} {disk.filename or folder}: {reason_of(disk)}; nothing that was "
            f"finished is lost: {cure}, then run the same command again"
        ) from error


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that led to it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__

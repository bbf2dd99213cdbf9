"""The one exception that a person at the keyboard is meant to read."""

from __future__ import annotations

import contextlib
import errno
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

BAD_INPUT = 2
FULL = (errno.ENOSPC, errno.EDQUOT)
DISK = (*FULL, errno.EROFS, errno.EIO)


class UserError(Exception):
    """Bad input: one line that says what is wrong and how to mend it. Commands end with status 2."""

    def __str__(self) -> str:
        return " ".join(super().__str__().splitlines())


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
        disk = next((each for each in _behind(error) if isinstance(each, OSError) and each.errno in DISK), None)
        if disk is None:
            raise
        what, cure = ("write to", "make room") if disk.errno in FULL else ("read or write", "see to that disk")
        raise UserError(
            f"cannot {what} {disk.filename or folder}: {(disk.strerror or str(disk)).lower()}; nothing that was "
            f"finished is lost: {cure}, then run the same command again"
        ) from error


def _behind(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that led to it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def exit_status(main: Callable[[], int], *, debug: bool) -> int:
    """Run a command's `main`; turn a UserError into one line on standard error and status 2."""
    try:
        return main()
    except UserError as error:
        if debug:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT

"""Standard output and standard error, whatever they are: a terminal of few letters, a full disk, closed, gone.

What cannot be written is lost, and nothing else: no command ends in the middle of its work because of it.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

PLAIN = {
    **dict.fromkeys("─━—–−", "-"),
    **dict.fromkeys("╭╮╰╯", "+"),
    **dict.fromkeys("“”", '"'),
    "│": "|",
    "±": "+-",
    "†": "+",
    "‡": "++",
    "§": "S",
    "·": ".",
    "…": "...",
    "×": "x",
    "’": "'",
    "✓": "y",
    "✗": "n",
}
"""Signs that this program prints, for terminals that have no such letters."""
GONE = (errno.EPIPE, errno.EIO)
"""A reader that has ended, and a terminal that was closed: nobody is there who could be told."""


def make_plain(error: UnicodeError) -> tuple[str | bytes, int]:
    """What stands for letters that a stream has not; for `codecs.register_error`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return "".join(map(_plain, letters)), error.end


def _plain(letter: str) -> str:
    base = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    return PLAIN.get(letter, base or "?")


codecs.register_error("plain", make_plain)


class Tolerant(io.TextIOBase):
    """A stream that loses what cannot be written.

    lost: why the first of it could not.
    log: a file that has a copy of all that is written.
    """

    def __init__(self, stream: TextIO, log: TextIO | None = None) -> None:
        self.stream, self.log = stream, log
        self.lost: OSError | None = None
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="plain")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self.stream.encoding

    def write(self, text: str) -> int:
        if self.log is not None:
            with contextlib.suppress(OSError):
                self.log.write(text)
                self.log.flush()
        with self._losing():
            self.stream.write(text)
        return len(text)

    def write_bytes(self, content: bytes) -> None:
        """Write bytes as they are, whatever the letters of the terminal; as text where a stream takes nothing else."""
        self.flush()
        with self._losing():
            if (buffer := getattr(self.stream, "buffer", None)) is None:
                self.stream.write(content.decode())
            else:
                buffer.write(content)

    def flush(self) -> None:
        with self._losing():
            self.stream.flush()

    def isatty(self) -> bool:
        return self.stream.isatty()

    def fileno(self) -> int:
        return self.stream.fileno()

    @contextlib.contextmanager
    def _losing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.lost = self.lost or error
            # What the stream still holds must not fail again when Python ends.
            with contextlib.suppress(OSError), open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), self.stream.fileno())


@contextlib.contextmanager
def tolerant_streams() -> Iterator[Tolerant]:
    """For a while, standard output and standard error raise nothing. The former."""
    _open_missing()
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        before = sys.stdout, sys.stderr
        out, err = Tolerant(before[0] or nowhere), Tolerant(before[1] or nowhere)
        sys.stdout, sys.stderr = out, err
        try:
            yield out
        finally:
            out.flush()
            err.flush()
            sys.stdout, sys.stderr = before
            if out.log is not None:
                with contextlib.suppress(OSError):
                    out.log.close()


def write_bytes(content: bytes) -> None:
    """Write bytes to standard output."""
    out = sys.stdout if isinstance(sys.stdout, Tolerant) else Tolerant(sys.stdout)
    out.write_bytes(content)


def _open_missing() -> None:
    """Let no file that is opened later take the place of a closed standard stream, and what is printed there."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            with open(os.devnull, "r+b") as nowhere:
                os.dup2(nowhere.fileno(), number)


def keep_log(path: Path, heading: str) -> None:
    """Have a file keep what is printed until the command ends, below a heading. It does without where it cannot."""
    streams = [stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, Tolerant)]
    if not streams:
        return
    with contextlib.suppress(OSError):
        if path.exists() and not path.is_file():
            return
        log = open(path, "a", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
        log.write(f"{heading}\n")
        for stream in streams:
            stream.log = log


@contextlib.contextmanager
def logged(log: TextIO | None) -> Iterator[None]:
    """For a while, what is printed is also in the log, whatever stands in the place of the streams by now."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = Tolerant(before[0], log), Tolerant(before[1], log)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before

"""Whether a folder that machines share will hold a sweep: run this on two of them at the same time.

    ekd check-folder /shared/results

What a sweep relies on is tried between the two: a file is made by one alone, a file that is replaced is seen whole, a
lock is refused while the other holds it, files and their times are seen soon and alike.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from trainables.environment import check_environment

    check_environment(__file__)

from sweeps.request.arguments import whole
from trainables.commands import Parser, parse_path, run_command
from trainables.errors import UserError, describe_failure
from trainables.storage.locks import LockHeldError, hold_lock
from trainables.storage.runs import verify_checksum, with_checksum, write_atomically

NAME = ".ekd-check-folder"
NAMES, WRITES, SIZE = 50, 50, 20_000
POLL_SECONDS = 0.02
PATIENCE = 60.0
"""Seconds for which one waits for what the other has written; a sweep waits as long for a result."""


class FolderError(Exception):
    """The folder does not do what a sweep relies on."""


@dataclass(frozen=True)
class Side:
    """One of the two, which speak by files. first: the one that came first."""

    folder: Path
    host: str
    first: bool

    def say(self, what: str, value: Any = None) -> None:
        write_atomically(self._path(what, self.first), json.dumps(value).encode())

    def hear(self, what: str, seconds: float = PATIENCE) -> Any:
        """What the other one says, as soon as it is seen."""
        path, deadline = self._path(what, not self.first), time.monotonic() + seconds
        while time.monotonic() < deadline:
            # A network file system looks at the server again when a folder is listed.
            if path.name in os.listdir(self.folder):
                return json.loads(path.read_bytes())
            time.sleep(POLL_SECONDS)
        raise FolderError(f"nothing is seen of the other machine's `{what}` for {seconds:.0f} s")

    def meet(self, what: str) -> None:
        self.say(what)
        self.hear(what)

    def _path(self, what: str, first: bool) -> Path:
        return self.folder / f"{'first' if first else 'second'}-{what}"


def make_once(side: Side) -> str:
    """Both try to make the same files."""
    side.meet("make")
    own = []
    for number in range(NAMES):
        with contextlib.suppress(FileExistsError):
            os.close(os.open(side.folder / f"once-{number}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            own.append(number)
    side.say("made", own)
    both = own + side.hear("made")
    if sorted(both) != list(range(NAMES)):
        raise FolderError(f"of {NAMES} files that both tried to make, {len(both) - len({*both})} were made by both")
    return f"each of {NAMES} files was made by one machine"


def read_whole(side: Side, writes: bool) -> str:
    """One replaces a file again and again, the other reads it meanwhile."""
    path, name = side.folder / f"renamed-{writes == side.first}", f"{writes == side.first}"
    if writes:
        for number in range(WRITES):
            write_atomically(path, with_checksum(os.urandom(SIZE)))
            if number == 0:
                side.say(f"begun-{name}")
            time.sleep(POLL_SECONDS / 2)
        side.say(f"replaced-{name}")
        broken, reads = side.hear(f"read-{name}")
    else:
        side.hear(f"begun-{name}")
        broken = reads = 0
        while f"{'second' if side.first else 'first'}-replaced-{name}" not in os.listdir(side.folder):
            reads += 1
            try:
                broken += verify_checksum(path.read_bytes()) is None
            except OSError:
                broken += 1
        side.say(f"read-{name}", (broken, reads))
    if broken:
        raise FolderError(f"{broken} of {reads} reads of a file that was replaced meanwhile were not whole")
    return f"{reads} reads while a file was replaced {WRITES} times, each whole"


def refuse_lock(side: Side, holds: bool) -> str:
    """One holds a lock, the other asks for it; then it is given back."""
    path, name = side.folder / f"lock-{holds == side.first}", f"{holds == side.first}"
    if holds:
        with hold_lock(path):
            side.say(f"held-{name}")
            refused = side.hear(f"asked-{name}")
        side.say(f"given-back-{name}")
        waited = side.hear(f"taken-{name}")
    else:
        side.hear(f"held-{name}")
        refused = False
        try:
            with hold_lock(path, seconds=0):
                pass
        except LockHeldError:
            refused = True
        side.say(f"asked-{name}", refused)
        side.hear(f"given-back-{name}")
        began = time.monotonic()
        with hold_lock(path, seconds=PATIENCE):
            waited = time.monotonic() - began
        side.say(f"taken-{name}", waited)
    if not refused:
        raise FolderError("both machines hold one lock at the same time: mount it with locks (flock) between machines")
    return f"refused while the other held it, given {waited:.2f} s after"


def see_soon(side: Side) -> str:
    """A file is answered by a file."""
    side.meet("see")
    if not side.first:
        side.hear("ping")
        side.say("pong")
        return f"there and back in {side.hear('took'):.2f} s"
    began = time.monotonic()
    side.say("ping")
    side.hear("pong")
    took = time.monotonic() - began
    side.say("took", took)
    return f"there and back in {took:.2f} s"


def compare_times(side: Side) -> str:
    """The time of a file is the same on both."""
    path = side.folder / f"time-{side.first}"
    path.touch()
    side.say("time", (path.stat().st_mtime_ns, time.time()))
    there, clock = side.hear("time")
    here = (side.folder / f"time-{not side.first}").stat().st_mtime_ns
    if there != here:
        raise FolderError(f"the time of one file differs by {abs(there - here) / 1e9:.3f} s between the machines")
    return f"alike; the clocks differ by about {abs(time.time() - clock):.1f} s"


CHECKS: dict[str, Callable[[Side], str]] = {
    "made once (O_EXCL)": make_once,
    "seen whole (rename)": lambda side: read_whole(side, side.first),
    "seen whole, the other way": lambda side: read_whole(side, not side.first),
    "locked (flock)": lambda side: refuse_lock(side, side.first),
    "locked, the other way": lambda side: refuse_lock(side, not side.first),
    "seen soon": see_soon,
    "times (mtime)": compare_times,
}


@contextlib.contextmanager
def join(folder: Path, host: str, seconds: float) -> Iterator[Side]:
    """A side, once the other one is there. The first removes what was written."""
    place = folder / NAME
    try:
        place.mkdir(exist_ok=True)
        first = _claim(place / "first-here")
        if not first and not _claim(place / "second-here"):
            raise UserError(f"{place} is in use, or left behind by a check that was killed: remove it, begin again")
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {describe_failure(error, place)}") from error
    side = Side(place, host, first)
    try:
        side.say("host", host)
        yield side
        side.say("end")
        if first:
            with contextlib.suppress(FolderError):
                side.hear("end", seconds=5)
    finally:
        if first:
            shutil.rmtree(place, ignore_errors=True)


def _claim(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        return False
    return True


def check(folder: Path, host: str, seconds: float, tell: Callable[[str], None] = print) -> bool:
    """Whether all checks hold; says of each what was seen."""
    with join(folder, host, seconds) as side:
        if side.first:
            tell(f"waiting up to {seconds:.0f} s for the same command on another machine")
        try:
            other = side.hear("host", seconds)
        except FolderError:
            raise UserError(f"no other machine is seen in {folder}: start the same command there at once") from None
        where = "the same machine: this says nothing about two" if other == host else other
        tell(f"this is {host}, the other is {where}")
        holds = True
        for name, carry_out in CHECKS.items():
            try:
                tell(f"{name:28}ok: {carry_out(side)}")
            except FolderError as error:
                holds = False
                tell(f"{name:28}FAILED: {error}")
        tell(f"{folder} holds" if holds else f"{folder} does not hold: choose another file system for --results")
    return holds


def main(argv: Sequence[str]) -> int:
    parser = Parser(
        prog="ekd check-folder",
        description="Whether a folder that machines share will hold a sweep: run this on two of them at the same time.",
        epilog="Example: ekd check-folder /shared/results",
    )
    parser.add_argument("folder", type=parse_path, metavar="DIR", help="for --results; it must exist")
    parser.add_argument(
        "--wait", type=whole(1), default=120, metavar="S", help="for the other machine (default: 120 s)"
    )
    options = parser.parse_args(argv)
    if not options.folder.is_dir():
        raise UserError(f"{options.folder} is no folder: make it, or name another")
    return int(not check(options.folder.absolute(), socket.gethostname(), options.wait))


if __name__ == "__main__":
    sys.exit(run_command(main))

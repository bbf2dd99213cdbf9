"""How a sweep ends before its time: the jobs at work may end their epoch, for a while; a second signal ends it now."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from trainables import time_limits
from trainables.storage.stopping import ask_to_stop, forget_stop


@dataclass
class GracefulStop:
    """A sweep that is to end.

    reason: why, in a sentence for the user.
    jobs: keys of those that may end their epoch.
    runs: ids of those that were told to stop.
    """

    results: Path
    reason: str
    jobs: frozenset[str]
    runs: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._deadline = time.monotonic() + time_limits.GRACE
        if self.jobs:
            with contextlib.suppress(OSError):
                line = f"stopping after this epoch (at most {time_limits.GRACE:g} s); Ctrl-C again: now"
                print(line, file=sys.stderr, flush=True)

    def waits(self, running: Iterable[str]) -> bool:
        """Whether any of the jobs still runs, and may."""
        return not self.jobs.isdisjoint(running) and time.monotonic() < self._deadline

    def stop(self, run_ids: Iterable[str]) -> None:
        """Tell the runs to stop after their epoch. One whose folder is not there yet, or cannot be written, is not."""
        for run_id in run_ids:
            with contextlib.suppress(OSError):
                if run_id not in self.runs and ask_to_stop(self.results, run_id):
                    self.runs.add(run_id)


def forget_stops(results: Path, run_ids: Iterable[str]) -> None:
    """Neither the wish that the runs stop nor that they did is left."""
    for run_id in run_ids:
        with contextlib.suppress(OSError):
            forget_stop(results, run_id)


@contextlib.contextmanager
def catch_interrupts() -> Iterator[list[str]]:
    """Collect the name of the first Ctrl-C, SIGTERM or SIGHUP; a second Ctrl-C or SIGTERM raises KeyboardInterrupt.

    A closed terminal sends SIGHUP, and its shell perhaps once more; under `nohup` it is ignored.
    """
    caught: list[str] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return

    def handle(number: int, frame: object) -> None:
        if caught and number != signal.SIGHUP:
            raise KeyboardInterrupt
        caught.append("Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name)

    ends = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        ends.append(signal.SIGHUP)
    before = {number: signal.signal(number, handle) for number in ends}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

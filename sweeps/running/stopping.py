"""How a sweep ends before its time: the jobs at work may end their epoch, for a while; a second signal ends it now."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from trainables.storage.stopping import ask_to_stop, forget_stop

GRACE_SECONDS = 30.0
"""As long as a machine that is taken away usually leaves."""


class Ending:
    """A sweep that is to end: the jobs that it still waits for, until when, the runs that it stops."""

    def __init__(self, results: Path, reason: str, jobs: Iterable[str]) -> None:
        self.reason = reason
        self.runs: set[str] = set()
        self._results = results
        self._jobs = set(jobs)
        self._deadline = time.monotonic() + GRACE_SECONDS
        if self._jobs:
            with contextlib.suppress(OSError):
                line = f"stopping after this epoch (at most {GRACE_SECONDS:g} s); Ctrl-C again: now"
                print(line, file=sys.stderr, flush=True)

    def waits(self, jobs: Iterable[str]) -> bool:
        """Whether any of those jobs that were at work still is, and may be; not those that have begun since."""
        return not self._jobs.isdisjoint(jobs) and time.monotonic() < self._deadline

    def stop(self, run_ids: Iterable[str]) -> None:
        """Tell the runs to stop after their epoch. One whose folder is not there yet, or cannot be written, is not."""
        for run_id in run_ids:
            with contextlib.suppress(OSError):
                if run_id not in self.runs and ask_to_stop(self._results, run_id):
                    self.runs.add(run_id)

    def close(self) -> None:
        forget_stops(self._results, self.runs)


def forget_stops(results: Path, run_ids: Iterable[str]) -> None:
    """Neither the wish that the runs stop nor that they did is left."""
    for run_id in run_ids:
        with contextlib.suppress(OSError):
            forget_stop(results, run_id)


@contextlib.contextmanager
def interrupts() -> Iterator[Mapping[str, str]]:
    """Filled by the first Ctrl-C or SIGTERM; the second one raises KeyboardInterrupt."""
    interrupted: dict[str, str] = {}
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return

    def handle(number: int, frame: object) -> None:
        if interrupted:
            raise KeyboardInterrupt
        interrupted["by"] = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

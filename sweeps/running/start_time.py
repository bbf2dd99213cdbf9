"""How long a sweep takes beside its training: until its first job starts, and from its last run's end on."""

from __future__ import annotations

import time

from sweeps.planning.kept_costs import keep_start
from sweeps.running.events import Event, JobStarted, RunEnded


class StartTime:
    """Of the sweep under way."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._first = self._last = 0.0

    def __call__(self, event: Event) -> None:
        now = time.monotonic()
        if isinstance(event, JobStarted):
            self._first = self._first or now
        elif isinstance(event, RunEnded):
            self._last = now

    def keep(self) -> None:
        """For the next plan on this machine, at the end of a sweep that trained something."""
        if self._first < self._last:
            keep_start(time.monotonic() - self._began - (self._last - self._first))

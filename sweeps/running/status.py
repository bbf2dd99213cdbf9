"""A small file in the results folder that says how far a sweep is, for those who look from elsewhere.

A thread of its own writes it, and seldom: the sweep does not wait for a slow disk, and goes on with a full one.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sweeps.planning.plan import Plan, PlannedJob
from sweeps.running.events import EpochDone, Event, JobStarted, RunEnded
from sweeps.running.progress import RunningJob, State
from sweeps.running.time_left import UNKNOWN, Expected
from trainables.run_names import name_of
from trainables.storage.runs import STATUS_SCHEMA, status_path, write_atomically

SECONDS = 2.0
"""Between two writes at least."""
SHARE = 0.01
"""The most of the time that is spent on them."""
MOST_QUEUED, MOST_TROUBLES = 100, 20
DIGITS = 5


class StatusFile:
    """What it takes of the events is written at the next occasion."""

    def __init__(self, plan: Plan, results: Path, command: str, expected: Expected = UNKNOWN) -> None:
        self.path, self.plan = status_path(results), plan
        self._state = State(plan, expected=expected)
        self._begun: set[str] = set()
        self._where: dict[str, str] = {}
        self._curves: dict[str, list[list[float | None]]] = {}
        self._lock = threading.Lock()
        self._about = {
            "schema": STATUS_SCHEMA,
            "process": os.getpid(),
            "host": socket.gethostname(),
            "command": command,
            "began": _now(),
        }
        self.news = threading.Event()

    def __call__(self, event: Event) -> None:
        with self._lock:
            self._state.take(event)
            match event:
                case JobStarted(job):
                    self._begun.add(job.key)
                case EpochDone(job, report):
                    self._where[job.key] = report.where
                    for run_id, numbers in report.metrics.items():
                        row = (float(report.epoch), numbers.get("train_loss"), numbers.get("top1"))
                        self._curves.setdefault(run_id, []).append([_round(number) for number in row])
                case RunEnded(entry):
                    self._curves.pop(entry.run_id, None)
        self.news.set()

    def write(self, ended: str = "") -> None:
        """ended: when the sweep did, if it did."""
        self.news.clear()
        with self._lock:
            content = json.dumps(self._content() | {"ended": ended}, allow_nan=False)
        with contextlib.suppress(OSError):
            write_atomically(self.path, content.encode())

    def _content(self) -> dict[str, Any]:
        state = self._state
        now = state.clock()
        queue = [job for job in self.plan.jobs if job.key not in self._begun and self._is_open(job)]
        return {
            **self._about,
            "written": _now(),
            "asked": state.already + len(state.specs),
            "done": state.already + len(state.done),
            "failed": len(state.failed),
            "left": state.left,
            "jobs": [self._describe(running, now) for running in state.jobs.values()],
            "queue": [{"key": job.key, "runs": len(job.specs)} for job in queue[:MOST_QUEUED]],
            "queued": len(queue),
            "troubles": state.troubles[-MOST_TROUBLES:],
        }

    def _is_open(self, job: PlannedJob) -> bool:
        return any(self._state.is_open(spec.run_id) for spec in job.specs)

    def _describe(self, running: RunningJob, now: float) -> dict[str, Any]:
        state, job = self._state, running.job
        open_runs = [spec for spec in job.specs if state.is_open(spec.run_id)]
        runs = [
            {
                "id": spec.run_id,
                "name": name_of(spec),
                "epoch": state.trained.get(spec.run_id, 0),
                "epochs": spec.epochs,
                "curve": self._curves.get(spec.run_id, []),
            }
            for spec in open_runs
        ]
        return {
            "key": job.key,
            "where": self._where.get(job.key, ""),
            "epoch": running.epoch,
            "epochs": running.epochs,
            "resumed": running.resumed,
            "pace": running.pace,
            "left": running.left(now),
            "runs": runs,
        }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _round(number: float | None) -> float | None:
    """What JSON can hold, and no more of it than a picture shows."""
    return None if number is None or not math.isfinite(number) else float(f"{number:.{DIGITS}g}")


@contextlib.contextmanager
def keep_status(
    plan: Plan, results: Path, command: str, expected: Expected = UNKNOWN
) -> Iterator[Callable[[Event], None]]:
    """What events should be told to while a sweep runs."""
    status, ended = StatusFile(plan, results, command, expected), threading.Event()

    def keep_writing() -> None:
        while not ended.is_set():
            began = time.monotonic()
            status.write()
            ended.wait(max(SECONDS, (time.monotonic() - began) / SHARE))
            status.news.wait()

    thread = threading.Thread(target=keep_writing, name="status", daemon=True)
    thread.start()
    try:
        yield status
    finally:
        ended.set()
        status.news.set()
        thread.join()
        status.write(_now())

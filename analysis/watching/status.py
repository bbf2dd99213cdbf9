"""How far the sweep in a results folder is, by the file that it keeps there."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from trainables.canonical import Canonical
from trainables.errors import UserError
from trainables.storage.runs import STATUS_SCHEMA, read_file, status_path

Row = tuple[float | None, float | None, float | None]
"""Epoch, training loss, top-1."""


@dataclass(frozen=True)
class RunUnderWay(Canonical):
    """curve: since this sweep began; that of a run which was resumed is whole when it has ended."""

    id: str
    name: str
    epoch: int
    epochs: int
    curve: tuple[Row, ...] = ()


@dataclass(frozen=True)
class JobUnderWay(Canonical):
    """where: its machine and GPUs, once it has told. resumed: from which epoch, if it was. pace: seconds an epoch."""

    key: str
    where: str
    epoch: int
    epochs: int
    resumed: int
    pace: float | None
    left: float | None
    runs: tuple[RunUnderWay, ...]


@dataclass(frozen=True)
class Queued(Canonical):
    key: str
    runs: int


@dataclass(frozen=True)
class Status(Canonical):
    """asked, done, failed: runs. left: seconds. queued: jobs; `queue` has the first. ended: when, if it did."""

    process: int
    host: str
    command: str
    began: str
    written: str
    asked: int
    done: int
    failed: int
    queued: int
    left: float | None = None
    ended: str = ""
    jobs: tuple[JobUnderWay, ...] = ()
    queue: tuple[Queued, ...] = ()
    troubles: tuple[str, ...] = ()

    @property
    def is_alive(self) -> bool:
        """False where the sweep has ended, or was killed on this machine; of another's nothing is known."""
        if self.ended:
            return False
        if self.host != socket.gethostname():
            return True
        try:
            os.kill(self.process, 0)
        except (ProcessLookupError, OverflowError):
            return False
        except PermissionError:
            pass
        return True

    @property
    def running(self) -> dict[str, RunUnderWay]:
        """The runs under way, by id."""
        return {run.id: run for job in self.jobs for run in job.runs} if self.is_alive else {}


def read_status(results: Path) -> Status | None:
    """None where there is none, or none that this version can read."""
    try:
        found = json.loads(read_file(status_path(results)))
        if found["schema"] != STATUS_SCHEMA:
            return None
        jobs = tuple(_read_job(job) for job in found["jobs"])
        queue = tuple(Queued(**job) for job in found["queue"])
        known = {field.name for field in fields(Status)}
        read = {"jobs": jobs, "queue": queue, "troubles": tuple(found["troubles"])}
        return Status(**{name: value for name, value in found.items() if name in known} | read)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, UserError):
        return None


def _read_job(found: Mapping[str, Any]) -> JobUnderWay:
    runs = tuple(RunUnderWay(**{**run, "curve": tuple(map(tuple, run["curve"]))}) for run in found["runs"])
    return JobUnderWay(**{**found, "runs": runs})

"""What the engine tells while a sweep runs. Free of Ray and torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from analysis.record.entry import Entry
from sweeps.planning.plan import PlannedJob

if TYPE_CHECKING:
    from trainables.job import EpochReport


@dataclass(frozen=True)
class JobStarted:
    """A job begins in a process; once more if that process dies and another takes over."""

    job: PlannedJob


@dataclass(frozen=True)
class EpochDone:
    """A job has reported."""

    job: PlannedJob
    report: EpochReport


@dataclass(frozen=True)
class RunEnded:
    """A run ended, well or not, and its row is in the ledger."""

    entry: Entry


@dataclass(frozen=True)
class JobFailed:
    """A job ended by an error; what it had not finished counts as failed for this reason."""

    job: PlannedJob
    reason: str


@dataclass(frozen=True)
class MachineLeftOut:
    """A machine joined the cluster that cannot train; no job is sent there any more."""

    machine: str
    reason: str


@dataclass(frozen=True)
class TrackerLost:
    """A tracker is told nothing any more."""

    name: str
    reason: str


Event = JobStarted | EpochDone | RunEnded | JobFailed | MachineLeftOut | TrackerLost

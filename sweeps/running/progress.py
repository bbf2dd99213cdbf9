"""How far a sweep is: what its events say, and what follows from it. Free of Ray and torch."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from analysis.record.entry import Entry
from sweeps.planning.plan import Plan, PlannedJob
from sweeps.running.events import EpochDone, Event, JobFailed, JobStarted, MachineLeftOut, RunEnded, TrackerLost
from sweeps.running.pace import Pace
from sweeps.running.time_left import UNKNOWN, Expected, TimeLeft
from trainables.commands import command_name, count


@dataclass(frozen=True)
class RunProgress:
    """Where a run under way is."""

    epoch: int
    epochs: int


@dataclass
class RunningJob:
    """A job under way: when it started and where it is. first: the epoch it began with, where it was resumed.

    resumed: the first epoch of its runs that go on.
    """

    job: PlannedJob
    began: float
    epochs: int
    epoch: int = 0
    first: int = 0
    resumed: int = 0
    at: float = 0.0
    ended: set[str] = field(default_factory=set)

    @property
    def pace(self) -> float | None:
        """Seconds an epoch, once one is done."""
        if self.epoch < self.first or self.first == 0:
            return None
        return (self.at - self.began) / (self.epoch - self.first + 1)

    def left(self, now: float) -> float | None:
        """Seconds until its end, once an epoch is done."""
        return None if self.pace is None else max(0.0, (self.epochs - self.epoch) * self.pace - (now - self.at))


class State:
    """What the events say, and what follows from it."""

    def __init__(self, plan: Plan, clock: Callable[[], float] = time.monotonic, expected: Expected = UNKNOWN) -> None:
        self.clock = clock
        self.began = clock()
        self.specs = {spec.run_id: spec for job in plan.jobs for spec in job.specs}
        self.already = len(plan.done - self.specs.keys())
        self.started = False
        self.jobs: dict[str, RunningJob] = {}
        self.done: set[str] = set()
        self.failed: dict[str, str] = {}
        self.stopped: set[str] = set()
        self.troubles: list[str] = []
        self.unreadable: dict[str, str] = {}
        self.trained: dict[str, int] = {}
        self._time_left = TimeLeft(plan, expected)
        self._left: tuple[float, float | None] = (self.began, None)
        self._pace = Pace(1.0, clock)

    def take(self, event: Event) -> None:
        now = self.clock()
        match event:
            case JobStarted(job):
                self.started = True
                epochs = max(spec.epochs for spec in job.specs)
                self.jobs[job.key] = RunningJob(job, began=now, epochs=epochs, at=now)
                self._time_left.started(len(self.jobs))
            case EpochDone(job, report):
                if report.resumed and job.key in self.jobs:
                    self.jobs[job.key].resumed = 1 + min(report.resumed.values())
                self._advance(job, report.epoch, report.metrics, now)
                self.stopped |= set(report.stopped)
                new = {path: why for path, why in report.unreadable.items() if path not in self.unreadable}
                self.unreadable |= new
                self.troubles += [f"damaged  {line}" for line in report.damaged]
                self.troubles += [f"note     {line}" for line in report.notes]
                self.troubles += [f"image    cannot be decoded: {path} ({why})" for path, why in new.items()]
            case RunEnded(entry):
                self._end(entry)
            case MachineLeftOut(machine, reason):
                self.troubles.append(f"left out {machine}: {reason}")
            case TrackerLost(name, reason):
                what = {"mlflow": "--mlflow URI", "wandb": "--wandb"}[name]
                self.troubles.append(f"lost     {name}: {reason}; {command_name('export')} {what} catches up")
            case JobFailed(job, reason):
                self.jobs.pop(job.key, None)
                lost = [spec.run_id for spec in job.specs if self.is_open(spec.run_id)]
                self.failed |= dict.fromkeys(lost, reason)
                self._trouble(f"{job.key} ({count(len(lost), 'run')})", reason)

    def _advance(self, job: PlannedJob, epoch: int, metrics: Mapping[str, Mapping[str, float]], now: float) -> None:
        running = self.jobs.get(job.key)
        for run_id, numbers in metrics.items():
            self.trained[run_id] = epoch
            if run_id in self.specs and "seconds" in numbers:
                self._time_left.note(job, self.specs[run_id], numbers["seconds"])
        if running is not None and epoch > 0:
            running.first = running.first or epoch
            running.epoch, running.at = epoch, now
            if epoch >= running.epochs:
                del self.jobs[job.key]

    def _end(self, entry: Entry) -> None:
        if entry.done:
            self.done.add(entry.run_id)
        else:
            self.failed[entry.run_id] = entry.reason or ""
            self._trouble(entry.name, entry.reason or "")
        for key, running in list(self.jobs.items()):
            if not any(self.is_open(spec.run_id) for spec in running.job.specs):
                del self.jobs[key]

    def is_open(self, run_id: str) -> bool:
        """Whether a run is neither done nor given up."""
        return run_id not in self.done and run_id not in self.failed and run_id not in self.stopped

    def _trouble(self, what: str, reason: str) -> None:
        self.troubles.append(f"failed   {what}: {' '.join(reason.split())}")

    @property
    def running(self) -> dict[str, RunProgress]:
        """The runs under way, by id."""
        return {
            spec.run_id: RunProgress(self.trained.get(spec.run_id, 0), spec.epochs)
            for running in self.jobs.values()
            for spec in running.job.specs
            if self.is_open(spec.run_id)
        }

    @property
    def left(self) -> float | None:
        """Seconds until all is done; None while nothing is known. Worked out once a second at most."""
        if self._left[1] is None or self._pace.due:
            with self._pace.working():
                now = self.clock()
                running = {key: job.left(now) for key, job in self.jobs.items()}
                self._left = now, self._time_left.seconds(self.trained, self.is_open, running)
        at, seconds = self._left
        return None if seconds is None else max(0.0, seconds - (self.clock() - at))

    @property
    def counts(self) -> str:
        ended = self.already + len(self.done)
        words = f"{ended} of {self.already + len(self.specs)} runs done"
        return words + (f", {len(self.failed)} failed" if self.failed else "")

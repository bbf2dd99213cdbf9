"""Which job of a plan may start next, and what has become of every run. Free of Ray."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import ClassVar

from sweeps.planning.plan import JobKind, Plan, PlannedJob


@dataclass(frozen=True)
class Outcome:
    """What has become of all runs that were asked for; the last two with reasons.

    stopped: why the sweep ended before its time, in a sentence for the user; None when it ran to its end. interrupted:
    why it was to end, though by then all was done.
    """

    done: frozenset[str]
    failed: dict[str, str] = field(default_factory=dict)
    not_run: dict[str, str] = field(default_factory=dict)
    stopped: str | None = None
    interrupted: str | None = None

    @property
    def complete(self) -> bool:
        return not self.failed and not self.not_run and self.stopped is None


class JobQueue:
    """Hands out each job once all teachers that it needs are trained; drops those whose teacher failed.

    GIVES_UP: True if the caller may stop runs early; stopped runs are then not reported as missing.
    """

    GIVES_UP: ClassVar[bool] = False

    def __init__(self, plan: Plan) -> None:
        planned = {spec.run_id for job in plan.jobs for spec in job.specs}
        self._names = {run_id: spec.student for run_id, spec in plan.all_runs.items()}
        self._asked = plan.done | plan.failed.keys() | planned
        self._waiting = {job.key: job for job in plan.jobs}
        self._order = {job.key: number for number, job in enumerate(plan.jobs)}
        self._trained = set(plan.done - planned)
        self._failed = dict(plan.failed)
        self._not_run: dict[str, str] = {}
        self._running: dict[str, PlannedJob] = {}
        self._kept = plan.done & planned
        self._stopped: set[str] = set()
        self._unmet = {job.key: set(job.needs - self._trained) for job in plan.jobs}
        self._followers: dict[str, list[str]] = defaultdict(list)
        for key, needs in self._unmet.items():
            for need in needs:
                self._followers[need].append(key)
        self._timed = ""
        self._ready: list[tuple[int, str]] = []
        self._timing: list[tuple[int, str]] = []
        for job in plan.jobs:
            self._make_ready(job)
        self._settle(self._followers)

    @property
    def exhausted(self) -> bool:
        """No job waits. One that is put back waits again."""
        return not self._waiting

    def take(self, fits: Callable[[PlannedJob], bool] = lambda job: True) -> PlannedJob | None:
        """The first job that can start now, or None while it, or all that are left, must wait.

        A timing job runs while nothing else does: whatever trained beside it would be in its numbers. A job that does
        not fit beside what is running is not overtaken, or it might wait for ever.
        """
        if self._timed in self._running:
            return None
        ready = [queue for queue in (self._ready, *([] if self._running else [self._timing])) if queue]
        if not ready:
            return None
        first = min(ready)
        job = self._waiting[first[0][1]]
        if not fits(job):
            return None
        heapq.heappop(first)
        self._running[job.key] = self._waiting.pop(job.key)
        self._timed = job.key if job.kind is JobKind.TIMING else self._timed
        return job

    def _make_ready(self, job: PlannedJob) -> None:
        """Hand a job out as soon as it is its turn, if all that it needs is there."""
        if not self._unmet.get(job.key):
            heapq.heappush(self._timing if job.kind is JobKind.TIMING else self._ready, (self._order[job.key], job.key))

    def has_ended(self, run_id: str) -> bool:
        """Whether the run has ended in this sweep."""
        return run_id in self._trained or run_id in self._failed

    def mark_done(self, run_id: str) -> None:
        self._trained.add(run_id)
        for key in self._followers.pop(run_id, ()):
            self._unmet[key].discard(run_id)
            if key in self._waiting:
                self._make_ready(self._waiting[key])

    def mark_failed(self, run_id: str, reason: str) -> None:
        self._failed[run_id] = reason
        self._settle([run_id])

    def mark_stopped(self, run_id: str) -> None:
        """The run was stopped before its end, as somebody wished."""
        self._stopped.add(run_id)

    def close_job(self, job: PlannedJob, reason: str | None) -> None:
        """The job will not go on. What it left unfinished has failed for `reason`."""
        del self._running[job.key]
        lost = [spec.run_id for spec in job.specs if not self.has_ended(spec.run_id)]
        for run_id in lost:
            if run_id not in self._stopped:
                self._failed[run_id] = reason or "the job ended without a result of this run"
        self._settle(lost)

    def put_back(self, job: PlannedJob) -> None:
        """The job has ended before its time and may start again: it is the next."""
        del self._running[job.key]
        self._waiting[job.key] = job
        self._order[job.key] = min(self._order.values(), default=0) - 1
        self._make_ready(job)

    def outcome(self, stopped: str | None = None) -> Outcome:
        done = (self._trained | self._kept) & self._asked
        not_run = dict.fromkeys(
            self._asked - done - self._stopped, "the sweep was stopped" if stopped else "not started"
        )
        if not self.GIVES_UP:
            not_run |= dict.fromkeys(self._stopped - done, "it was stopped")
        not_run |= self._not_run
        failed = {run_id: reason for run_id, reason in self._failed.items() if run_id not in done}
        return Outcome(
            frozenset(done),
            failed,
            {run_id: reason for run_id, reason in not_run.items() if run_id not in failed},
            stopped,
        )

    def _settle(self, lacking: Iterable[str]) -> None:
        """Give up the jobs whose teacher failed, or that nothing left in the plan can make ready.

        lacking: the runs that may be such a teacher."""
        while any(run_id in self._followers for run_id in lacking):
            jobs = [*self._waiting.values(), *self._running.values()]
            coming = {spec.run_id for job in jobs for spec in job.specs}
            lost = {
                key: need for key, needs in self._unmet.items() for need in sorted(needs) if self._lost(need, coming)
            }
            if not (lost := {key: need for key, need in lost.items() if key in self._waiting}):
                return
            for key, teacher in lost.items():
                job = self._waiting.pop(key)
                why = self._failed.get(teacher) or self._not_run.get(teacher) or "it is not part of the plan"
                words = f"its teacher {self._names.get(teacher, teacher)} is missing: {why}"
                self._not_run |= dict.fromkeys((spec.run_id for spec in job.specs), words)

    def _lost(self, need: str, coming: set[str]) -> bool:
        return need in self._failed or (need not in self._trained and need not in coming)

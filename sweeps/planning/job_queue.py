"""Which job of a plan may start next, and what has become of every run. Free of Ray."""

from __future__ import annotations

from collections.abc import Callable
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
        self._waiting = list(plan.jobs)
        self._trained = set(plan.done - planned)
        self._failed = dict(plan.failed)
        self._not_run: dict[str, str] = {}
        self._running: dict[str, PlannedJob] = {}
        self._kept = plan.done & planned
        self._stopped: set[str] = set()
        self._settle()

    @property
    def exhausted(self) -> bool:
        """No job waits. One that is put back waits again."""
        return not self._waiting

    def take(self, fits: Callable[[PlannedJob], bool] = lambda job: True) -> PlannedJob | None:
        """The first job that can start now, or None while it, or all that are left, must wait.

        A timing job runs while nothing else does: whatever trained beside it would be in its numbers. A job that does
        not fit beside what is running is not overtaken, or it might wait for ever.
        """
        if any(job.kind is JobKind.TIMING for job in self._running.values()):
            return None
        for job in self._waiting:
            if job.kind is JobKind.TIMING and self._running:
                continue
            if job.needs <= self._trained:
                if not fits(job):
                    return None
                self._waiting.remove(job)
                self._running[job.key] = job
                return job
        return None

    def knows(self, run_id: str) -> bool:
        """Whether the run has ended in this sweep."""
        return run_id in self._trained or run_id in self._failed

    def done(self, run_id: str) -> None:
        self._trained.add(run_id)

    def failed(self, run_id: str, reason: str) -> None:
        self._failed[run_id] = reason
        self._settle()

    def stopped(self, run_id: str) -> None:
        """The run was stopped before its end, as somebody wished."""
        self._stopped.add(run_id)

    def ended(self, job: PlannedJob, reason: str | None) -> None:
        """The job will not go on. What it left unfinished has failed for `reason`."""
        del self._running[job.key]
        for spec in job.specs:
            if not self.knows(spec.run_id) and spec.run_id not in self._stopped:
                self._failed[spec.run_id] = reason or "the job ended without a result of this run"
        self._settle()

    def put_back(self, job: PlannedJob) -> None:
        """The job has ended before its time and may start again: it is the next."""
        del self._running[job.key]
        self._waiting.insert(0, job)

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

    def _settle(self) -> None:
        """Give up the jobs whose teacher failed, or that nothing left in the plan can make ready."""
        while True:
            coming = {spec.run_id for job in [*self._waiting, *self._running.values()] for spec in job.specs}
            lost = {job.key: need for job in self._waiting for need in sorted(job.needs) if self._lost(need, coming)}
            if not lost:
                return
            for job in self._waiting:
                if job.key in lost:
                    teacher = lost[job.key]
                    why = self._failed.get(teacher) or self._not_run.get(teacher) or "it is not part of the plan"
                    words = f"its teacher {self._names.get(teacher, teacher)} is missing: {why}"
                    self._not_run |= dict.fromkeys((spec.run_id for spec in job.specs), words)
            self._waiting = [job for job in self._waiting if job.key not in lost]

    def _lost(self, need: str, coming: set[str]) -> bool:
        return need in self._failed or (need not in self._trained and need not in coming)

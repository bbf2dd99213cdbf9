"""What is decided while a sweep runs: which job starts, what becomes of one that ended, when all must end."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from ray.exceptions import RayActorError

from analysis.record.ledger import Ledger
from sweeps.planning.job_queue import JobQueue, Outcome
from sweeps.planning.plan import PlannedJob
from sweeps.planning.resources import Resources
from sweeps.running.cluster import RayMonitor, StoppedError
from sweeps.running.events import EpochDone, Event, JobFailed, JobStarted, MachineLeftOut, RunEnded, TrackerLost
from sweeps.running.machines import find_nodes, name_machine
from sweeps.running.pace import Pace
from sweeps.running.recovery import wait_for_result
from sweeps.running.stopping import GracefulStop, forget_stops
from sweeps.running.trackers import Trackers
from trainables import time_limits
from trainables.error_texts import RAISED
from trainables.errors import UserError
from trainables.job import EpochReport, Execution
from trainables.ray_trial import JobFailedError, MemoryFullError, ProcessDiedError, UnfitMachineError, describe_error
from trainables.storage.runs import run_dir

RESTARTS = 2
INTERRUPTED = (
    "stopped by {}: finished runs are in the ledger, the others go on from their last epoch when the same "
    "command is run again"
)


class ProcessBusyError(Exception):
    """A job could not begin, because the one before it did not leave their process. That process is then given up."""


@dataclass
class RunningSweep:
    """A sweep under way.

    interrupted: the signals that were caught.
    running: the jobs that were handed out, by key.
    started: the keys of those that have a process.
    left_out: ids of Ray nodes to which no job is sent.
    trackers: that are told of the runs; None for TensorBoard's curves.
    """

    queue: JobQueue
    ledger: Ledger
    execution: Execution
    resources: Resources
    monitor: RayMonitor
    interrupted: list[str]
    on_event: Callable[[Event], None]
    running: dict[str, PlannedJob] = field(default_factory=dict)
    started: set[str] = field(default_factory=set)
    left_out: set[str] = field(default_factory=set)
    trackers: Trackers | None = None

    def __post_init__(self) -> None:
        self._stop: GracefulStop | None = None
        self._trackers = self.trackers or Trackers(("tensorboard",), self.execution.results)
        self._begun: set[str] = set()
        self._deaths: Counter[str] = Counter()
        self._furthest: dict[str, int] = {}
        self._busy = self._devices = 0
        self._pace = Pace(time_limits.NODES_LOOK, time.monotonic)

    @property
    def exhausted(self) -> bool:
        """Whether no job will be handed out any more."""
        return self.queue.exhausted and not self.running

    def check(self) -> None:
        """Raise StoppedError when the sweep must end now: Ray is dead, or the epochs that were under way at a Ctrl-C
        have ended, or have taken too long."""
        self.monitor.check()
        self._tell_lost(self._trackers.lost())
        if self.interrupted and self._stop is None:
            reason = INTERRUPTED.format(self.interrupted[0])
            self._stop = GracefulStop(self.execution.results, reason, frozenset(self.started))
        if self._stop is None or (self.exhausted and all(map(self.queue.has_ended, self._stop.runs))):
            return
        if not self._stop.waits(self.running):
            raise StoppedError(self._stop.reason)
        run_ids = [spec.run_id for job in self.running.values() for spec in job.specs]
        self._stop.stop(run_id for run_id in run_ids if not self.queue.has_ended(run_id))

    def next_job(self) -> PlannedJob | None:
        """The next job for which there is room, or None."""
        job = self.queue.take(self._has_room) if self._stop is None else None
        if job is not None:
            self.running[job.key] = job
            self._busy += self.resources.devices(job.specs)
            if job.key not in self._begun:  # One that starts again leaves out the runs that were stopped.
                forget_stops(self.execution.results, [spec.run_id for spec in job.specs])
            self._begun.add(job.key)
        return job

    def _has_room(self, job: PlannedJob) -> bool:
        if self._pace.due:
            with self._pace.working():
                self._devices = self._count_devices()
        return self._busy + self.resources.devices(job.specs) <= self._devices

    def _count_devices(self) -> int:
        nodes = [node["Resources"] for id_, node in find_nodes().items() if id_ not in self.left_out]
        cpus, gpus = (int(sum(node.get(kind, 0) for node in nodes)) for kind in ("CPU", "GPU"))
        return self.resources.devices_at_once(cpus, gpus)

    def start(self, key: str) -> None:
        """A job has a process."""
        self.started.add(key)
        self.on_event(JobStarted(self.running[key]))

    def report(self, key: str, report: EpochReport) -> None:
        """A job has reported."""
        job = self.running[key]
        if self._stop is not None:
            # They go on when the same command is run again: nobody has given them up.
            report = replace(report, stopped=tuple(run for run in report.stopped if run not in self._stop.runs))
        self._trackers.add(job.specs, report)
        for run_id in (*report.finished, *report.failed):
            if not self.queue.has_ended(run_id):
                self._record(run_id)
        for run_id in report.stopped:
            self.queue.mark_stopped(run_id)
        self.on_event(EpochDone(job, report))
        further = [run_id for run_id in report.metrics if report.epoch > self._furthest.get(run_id, 0)]
        self._furthest |= dict.fromkeys(further, report.epoch)
        if further:
            del self._deaths[key]

    def end(self, key: str, error: Exception | None = None) -> None:
        """A job's process has ended it, by an error or not."""
        job = self.running.pop(key)
        self._busy -= self.resources.devices(job.specs)
        self.started.discard(key)
        reason = None if error is None else self._fail(job, error)
        if error is not None and reason is None:
            self.queue.put_back(job)
        elif error is not None or self._stop is None:
            self._record_unreported(job)
            self.queue.close_job(job, reason)
            if reason is not None:
                self.on_event(JobFailed(job, reason))

    def _fail(self, job: PlannedJob, error: Exception) -> str | None:
        """Why a job has failed for good; None where it may start again."""
        if isinstance(error, ProcessBusyError):
            return None
        if isinstance(error, UnfitMachineError) and error.node not in self.left_out:
            self._leave_out(error)
            return None
        if isinstance(error, JobFailedError):
            return error.reason + (f" (on {name_machine(error.node)})" if self.resources.address else "")
        if not isinstance(error, MemoryFullError | ProcessDiedError | UnfitMachineError | RayActorError):
            return describe_error(error)
        self._deaths[job.key] += 1
        if self._deaths[job.key] <= RESTARTS:
            return None
        if isinstance(error, MemoryFullError):
            return f"the GPU's memory was full {RESTARTS + 1} times, with no epoch between: {error.reason}"
        if isinstance(error, UnfitMachineError):
            return error.reason
        if isinstance(error, RayActorError) and (raised := RAISED.findall(str(error))):
            return f"its process could not work: {raised[-1]}"
        return f"its process died {RESTARTS + 1} times, with no epoch between (killed, or out of memory?)"

    def _leave_out(self, error: UnfitMachineError) -> None:
        """Send no job to a machine any more."""
        self.left_out.add(error.node)
        self._devices = self._count_devices()
        machine = name_machine(error.node)
        self.on_event(MachineLeftOut(machine, error.reason))
        if not find_nodes("GPU" if self.resources.gpus else "CPU").keys() - self.left_out:
            raise StoppedError(f"no machine of the cluster can train this: {machine}: {error.reason}")

    def _record_unreported(self, job: PlannedJob) -> None:
        """Record the runs that ended before their process could report it."""
        for spec in job.specs:
            path = run_dir(self.execution.results, spec.run_id) / "result.json"
            if not self.queue.has_ended(spec.run_id) and path.exists():
                self._record(spec.run_id)

    def _record(self, run_id: str) -> None:
        """Record the result of a run that has ended."""
        seconds = time_limits.RESULT_SHOWN if self.resources.address is not None else 0
        try:
            result = wait_for_result(self.execution.results, run_id, seconds, self.check)
        except UserError as error:
            self.queue.mark_failed(run_id, str(error))
            return
        self.ledger.record(result)
        entry = self.ledger.get(run_id)
        if entry is None:
            raise RuntimeError(f"run {run_id} is not in the ledger after it was recorded")
        if entry.status == "done":
            self.queue.mark_done(run_id)
        else:
            self.queue.mark_failed(run_id, entry.reason or "no reason recorded")
        self._trackers.end(entry)
        self.on_event(RunEnded(entry))

    def _tell_lost(self, lost: Iterable[tuple[str, str]]) -> None:
        for name, reason in lost:
            self.on_event(TrackerLost(name, reason))

    def outcome(self) -> Outcome:
        return replace(self.queue.outcome(), interrupted=self._stop.reason if self._stop is not None else None)

    def close(self) -> None:
        """Leave nothing in the results folder that was for this sweep alone."""
        self._tell_lost(self._trackers.close())
        if self._stop is not None:
            forget_stops(self.execution.results, self._stop.runs)

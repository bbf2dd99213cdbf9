"""The engine: Ray Tune runs the jobs of a plan, one trial each; this process alone writes the ledger."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.search import Searcher

from analysis.record.ledger import Ledger
from sweeps.planning.job_queue import Feed, Outcome
from sweeps.planning.plan import Plan, PlannedJob
from sweeps.planning.resources import Resources, check_resources
from sweeps.running.cluster import StoppedError, Watch, cluster, environment
from sweeps.running.events import EpochDone, Event, JobFailed, JobStarted, RunEnded
from sweeps.running.machines import Machines, name
from sweeps.running.recovery import forget_end, ingest, usable
from sweeps.running.stopping import Ending, forget_stops, interrupts
from trainables.errors import UserError
from trainables.job import EpochReport, check_precision, run
from trainables.ray_trial import Curves, MemoryFullError, ProcessDiedError, Train, reserved, trial
from trainables.storage.job_file import Execution, job_json
from trainables.storage.runs import read_result, run_dir, write_atomically

__all__ = [
    "EpochDone",
    "Event",
    "JobFailed",
    "JobStarted",
    "Outcome",
    "Resources",
    "RunEnded",
    "check_resources",
    "execute",
    "ingest",
]

RESTARTS = 2
LOOK_SECONDS, SEEN_SECONDS = 0.5, 75.0
"""Longer than the clients of a network file system remember that a file was not there."""
NEVER = str(10**9)
INTERRUPTED = (
    "stopped by {}: finished runs are in the ledger, the others go on from their last epoch when the same "
    "command is run again"
)


def execute(
    plan: Plan,
    ledger: Ledger,
    execution: Execution,
    resources: Resources,
    on_event: Callable[[Event], None],
    *,
    debug: bool = False,
    train: Train = run,
    feed: Feed | None = None,
) -> Outcome:
    """Train the plan's jobs, or those that another `feed` hands out; a failing one never stops the others.

    The device and threads of `execution` are set from `resources`. Ctrl-C, SIGTERM, a machine that joins and is unfit
    (all after the epochs under way, for a while) and the death of Ray (at once) end the sweep early, with the reason in
    `Outcome.stopped`; a second Ctrl-C raises KeyboardInterrupt.
    """
    check_resources(resources)
    feed = feed or Feed(plan)
    if feed.exhausted:
        return feed.outcome()
    execution = replace(
        execution,
        results=execution.results.absolute(),
        data_dir=execution.data_dir and execution.data_dir.absolute(),
        teachers=tuple((digest, os.path.abspath(path)) for digest, path in execution.teachers),
        device="cuda" if resources.gpus else "cpu",
        threads=resources.cpus_per_job,
    )
    for precision in {spec.precision for job in plan.jobs for spec in job.specs} if resources.address is None else ():
        check_precision(precision, execution)
    for job in plan.jobs:
        for spec in job.specs:
            forget_end(execution.results, spec.run_id)
    _forget_experiments(execution.results / "tune")
    _write_jobs(execution, plan)
    try:
        with interrupts() as interrupted, cluster(resources, debug=debug) as (watch, at_once):
            machines = Machines(execution, plan, resources) if resources.address is not None else None
            sweep = _Sweep(feed, ledger, execution, on_event, at_once, watch, interrupted, resources, machines)
            if machines is not None:
                machines.check_all(sweep.check)
            with environment(_tune_settings(at_once())), contextlib.closing(sweep):
                _tuner(sweep, feed.most_jobs, resources, trial(execution, train), debug).fit()
                sweep.check()
                return replace(feed.outcome(), interrupted=sweep.ending)
    except StoppedError as stop:
        if debug:
            traceback.print_exc()
        return feed.outcome(str(stop))
    except _CarriedError as carried:
        raise carried.error from None


def _tune_settings(at_once: int) -> dict[str, str]:
    """Tune takes these from the environment only. Nobody restores an experiment: its state is not saved on the way."""
    return {
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "TUNE_GLOBAL_CHECKPOINT_S": NEVER,
        "TUNE_MAX_PENDING_TRIALS_PG": str(at_once),
        "TUNE_RESULT_BUFFER_LENGTH": "1",
    }


def _tuner(
    sweep: _Sweep, jobs: int, resources: Resources, function: Callable[[dict[str, Any]], None], debug: bool
) -> tune.Tuner:
    folder = sweep.execution.results / "tune"
    return tune.Tuner(
        tune.with_resources(function, lambda config: reserved(resources.per_job(config["devices"]))),
        tune_config=tune.TuneConfig(
            search_alg=_Jobs(sweep),
            num_samples=jobs,
            reuse_actors=True,
            trial_name_creator=_key,
            trial_dirname_creator=_key,
        ),
        run_config=tune.RunConfig(
            name=datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ"),
            storage_path=str(folder),
            failure_config=tune.FailureConfig(max_failures=RESTARTS),
            callbacks=[_Reports(sweep), Curves(folder / "curves")],
            verbose=1 if debug else 0,
        ),
    )


def _key(trial: Any) -> str:
    key: str = trial.config["job"]
    return key


class _CarriedError(BaseException):
    """Carries an error of ours out of Tune, which would make it a text of its own."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class _Sweep:
    """What a sweep knows while Tune runs it: a trial's job, and the way of every result into the ledger."""

    def __init__(
        self,
        feed: Feed,
        ledger: Ledger,
        execution: Execution,
        on_event: Callable[[Event], None],
        at_once: Callable[[], int],
        watch: Watch,
        interrupted: Mapping[str, str],
        resources: Resources,
        machines: Machines | None,
    ) -> None:
        self.feed = feed
        self.execution = execution
        self.jobs: dict[str, PlannedJob] = {}
        self._started: set[str] = set()
        self._furthest: dict[str, int] = {}
        self._ending: Ending | None = None
        self._machines = machines
        self._ledger = ledger
        self._listener = on_event
        self._at_once = at_once
        self._watch = watch
        self._interrupted = interrupted
        self._resources = resources
        self._errors: dict[str, str] = {}

    def check(self) -> None:
        """Leave Tune's loop if Ray is dead; if the user or a bad machine asks for it, when the epochs under way have
        ended, or have taken too long."""
        self._watch.check()
        reason = INTERRUPTED.format(self._interrupted["by"]) if self._interrupted else None
        if reason is None and self._machines is not None:
            reason = self._machines.refused()
        if self._ending is None and reason is not None:
            self._ending = Ending(self.execution.results, reason, self._started & self.jobs.keys())
        if self._ending is None or self._complete:
            return
        if not self._ending.waits(self.jobs):
            raise StoppedError(self._ending.reason)
        specs = [spec for job in self.jobs.values() for spec in job.specs]
        self._ending.stop(spec.run_id for spec in specs if not self.feed.knows(spec.run_id))

    @property
    def ending(self) -> str | None:
        """Why the sweep was to end, if it was."""
        return self._ending.reason if self._ending is not None else None

    @property
    def _complete(self) -> bool:
        cut = self._ending.runs if self._ending is not None else ()
        return not self.jobs and self.feed.exhausted and all(map(self.feed.knows, cut))

    def close(self) -> None:
        """Leave nothing in the results folder that was for this sweep alone."""
        if self._ending is not None:
            self._ending.close()
        if self._machines is not None:
            self._machines.close()

    def next_job(self, trial_id: str) -> PlannedJob | None:
        if self._ending is not None:
            return None
        free = self._at_once() - sum(self.devices(job) for job in self.jobs.values())
        job = self.feed.take(lambda job: self.devices(job) <= free)
        if job is not None:
            self.jobs[trial_id] = job
            forget_stops(self.execution.results, [spec.run_id for spec in job.specs])
        return job

    def devices(self, job: PlannedJob) -> int:
        return self._resources.devices(job.specs)

    def started(self, trial_id: str) -> None:
        self._started.add(trial_id)
        self._on_event(JobStarted(self.jobs[trial_id]))

    def reported(self, trial_id: str, report: EpochReport) -> bool:
        """Whether a run has come further than ever before."""
        job = self.jobs[trial_id]
        for run_id in (*report.finished, *report.failed):
            if not self.feed.knows(run_id):
                self._record(run_id)
        if self._ending is not None:
            # They go on when the same command is run again: nobody has given them up.
            report = replace(report, stopped=tuple(run for run in report.stopped if run not in self._ending.runs))
        for run_id in report.stopped:
            self.feed.stopped(run_id)
        self._on_event(EpochDone(job, report))
        further = [run_id for run_id in report.metrics if report.epoch > self._furthest.get(run_id, 0)]
        self._furthest |= dict.fromkeys(further, report.epoch)
        return bool(further)

    def raised(self, trial_id: str, reason: str, machine: str) -> bool:
        """A job has failed; whether for good: not while a machine is asked whether it is fit to train."""
        if self._machines is not None and not self._machines.settled():
            return False
        joined = self._resources.address is not None
        self._errors[trial_id] = f"{reason} (on {machine})" if joined else reason
        return True

    def ended(self, trial_id: str, reason: str | None = None) -> None:
        """The trial will not go on; after an error, with the reason that it gave or else this one."""
        job = self.jobs.pop(trial_id)
        reason = self._errors.pop(trial_id, reason)
        if reason is None and self._ending is not None:
            return
        self.feed.ended(job, reason)
        if reason is not None:
            self._on_event(JobFailed(job, reason))

    def _on_event(self, event: Event) -> None:
        try:
            self._listener(event)
        except Exception as error:
            raise _CarriedError(error) from error

    def _record(self, run_id: str) -> None:
        try:
            result = self._result(run_id)
        except UserError as error:
            self.feed.failed(run_id, str(error))
            return
        try:
            self._ledger.record(result)
            entry = self._ledger.get(run_id)
        except UserError as error:
            raise _CarriedError(error) from error
        if entry is None:
            raise RuntimeError(f"run {run_id} is not in the ledger after it was recorded")
        if entry.status == "done":
            self.feed.done(run_id)
        else:
            self.feed.failed(run_id, entry.reason or "no reason recorded")
        self._on_event(RunEnded(entry))

    def _result(self, run_id: str) -> dict[str, Any]:
        """What a run that has ended wrote: on another machine perhaps, so that this one sees it a while later."""
        where = self.execution.results
        deadline = time.monotonic() + (SEEN_SECONDS if self._machines is not None else 0)
        while (result := read_result(where, run_id)) is None:
            if time.monotonic() >= deadline or self._ending is not None:
                raise UserError(f"its result is not in {where}: --results must be shared by all machines")
            self._watch.check()
            time.sleep(LOOK_SECONDS)
            for folder in (where / "runs", run_dir(where, run_id)):
                with contextlib.suppress(OSError):
                    os.listdir(folder)
        usable(where, result)
        return result


class _Jobs(Searcher):
    """Gives Tune the next job that can start; none while all that are left wait for a teacher."""

    def __init__(self, sweep: _Sweep) -> None:
        super().__init__()
        self._sweep = sweep

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def suggest(self, trial_id: str) -> Any:
        self._sweep.check()
        job = self._sweep.next_job(trial_id)
        if job is None:
            return Searcher.FINISHED if self._sweep.feed.exhausted else None
        runs = [spec.canonical() for spec in job.specs]
        return {"job": job.key, "runs": runs, "devices": self._sweep.devices(job)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if not error:
            self._sweep.ended(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the runs' own checkpoints and the ledger are the state of a sweep."""

    def restore(self, checkpoint_path: str) -> None:
        raise RuntimeError("a sweep is not restored from Tune's files: run the same command again")


class _Reports(tune.Callback):
    """Passes on what Tune hears of its trials."""

    def __init__(self, sweep: _Sweep) -> None:
        self._sweep = sweep

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self._sweep.check()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._sweep.started(trial.trial_id)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """An error of the job is not tried again; the death of a process and a full GPU are, RESTARTS times with no
        epoch between."""
        deaths = trial.run_metadata
        if "error" in result:
            final = self._sweep.raised(trial.trial_id, result["error"], name(result["node_ip"], result["hostname"]))
            trial.max_failures = 0 if final else max(RESTARTS, deaths.num_failures + 1)
        elif "report" in result and self._sweep.reported(trial.trial_id, result["report"]):
            deaths.num_failures = 0

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._sweep.ended(trial.trial_id, _why_dead(Path(trial.error_file).read_text()))


def _why_dead(account: str) -> str:
    """Ray's account of why a trial's processes ended, in one line."""
    errors = re.findall(r"^\s*([\w.]+(?:Error|Exception): .*)", account, re.MULTILINE)
    _, full, why = errors[-1].partition(f"{MemoryFullError.__name__}: ") if errors else ("", "", "")
    if full:
        return f"the GPU's memory was full {RESTARTS + 1} times, with no epoch between: {why}"
    if errors and ProcessDiedError.__name__ not in errors[-1]:
        return f"its process could not work: {errors[-1]}"
    return f"its process died {RESTARTS + 1} times, with no epoch between (killed, or out of memory?)"


def _forget_experiments(folder: Path) -> None:
    """What Tune kept of earlier sweeps, which nobody restores; the curves stay."""
    for experiment in [*folder.glob("*T*Z"), *folder.glob("train/*")]:
        shutil.rmtree(experiment, ignore_errors=True)


def _write_jobs(execution: Execution, plan: Plan) -> None:
    """Each job as a file that `python trainables/job.py` trains without Ray: to profile it, or elsewhere."""
    folder = execution.results / "jobs"
    folder.mkdir(parents=True, exist_ok=True)
    for job in plan.jobs:
        write_atomically(folder / f"{job.key}.json", job_json(job.specs, execution).encode())

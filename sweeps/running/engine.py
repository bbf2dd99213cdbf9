"""The engine: trains the jobs of a plan on Ray; this process alone writes the ledger."""

from __future__ import annotations

import contextlib
import os
import traceback
from collections.abc import Callable
from dataclasses import replace

from analysis.record.ledger import Ledger
from sweeps.planning.job_queue import JobQueue, Outcome
from sweeps.planning.plan import Plan
from sweeps.planning.resources import Resources, check_resources
from sweeps.running.cluster import StoppedError, start_ray
from sweeps.running.events import Event
from sweeps.running.machines import check_machines
from sweeps.running.recovery import forget_end
from sweeps.running.status import keep_status
from sweeps.running.stopping import catch_interrupts
from sweeps.running.sweep import RunningSweep
from sweeps.running.time_left import UNKNOWN, Expected
from sweeps.running.trackers import Trackers
from sweeps.running.tune_adapter import run_jobs
from trainables.job import Execution, check_precision, run
from trainables.ray_trial import Train, make_trial
from trainables.storage.job_file import job_json


def execute(
    plan: Plan,
    ledger: Ledger,
    execution: Execution,
    resources: Resources,
    on_event: Callable[[Event], None],
    *,
    debug: bool = False,
    train: Train = run,
    queue: JobQueue | None = None,
    trackers: Trackers | None = None,
    expected: Expected = UNKNOWN,
) -> Outcome:
    """Train the plan's jobs, or those that another queue hands out; a failing one never stops the others.

    expected: how long they take, as far as that is known.

    The device and threads of `execution` are set from `resources`. Ctrl-C, SIGTERM and SIGHUP (after the epochs under
    way, for a while) and the death of Ray (at once) end the sweep early, with the reason in `Outcome.stopped`; a
    second Ctrl-C raises KeyboardInterrupt.
    """
    check_resources(resources)
    queue = queue or JobQueue(plan)
    if queue.exhausted:
        return queue.outcome()
    joins = resources.address is not None
    execution = replace(
        execution,
        results=execution.results.absolute(),
        data_dir=execution.data_dir and execution.data_dir.absolute(),
        teachers=tuple((digest, os.path.abspath(path)) for digest, path in execution.teachers),
        device="cuda" if resources.gpus else "cpu",
        threads=resources.cpus_per_job,
    )
    planned = [spec for job in plan.jobs for spec in job.specs]
    for precision in {spec.precision for spec in planned if not joins}:
        check_precision(precision, execution)
    for spec in planned:
        forget_end(execution.results, spec.run_id)
    write_jobs(execution, plan)
    try:
        with contextlib.ExitStack() as stack:
            interrupted = stack.enter_context(catch_interrupts())
            monitor = stack.enter_context(start_ray(resources, debug=debug))
            status = stack.enter_context(keep_status(plan, execution.results, execution.command, expected))

            def tell(event: Event) -> None:
                status(event)
                on_event(event)

            sweep = RunningSweep(queue, ledger, execution, resources, monitor, interrupted, tell, trackers=trackers)
            stack.enter_context(contextlib.closing(sweep))
            machines = None
            if joins:
                specs, resource = planned or list(plan.all_runs.values()), "GPU" if resources.gpus else "CPU"
                machines = stack.enter_context(check_machines(execution, specs, resource, sweep.check))
            run_jobs(sweep, make_trial(execution, train, machines), debug=debug)
            sweep.check()
            return sweep.outcome()
    except StoppedError as stop:
        if debug:
            traceback.print_exc()
        return queue.outcome(str(stop))


def write_jobs(execution: Execution, plan: Plan) -> None:
    """Write each job as a file that `python trainables/job.py` trains without Ray: to profile it, or elsewhere. Not
    flushed to the disk, which takes seconds for thousands: the next sweep writes them again."""
    folder = execution.results / "jobs"
    folder.mkdir(parents=True, exist_ok=True)
    for job in plan.jobs:
        (folder / f"{job.key}.json").write_text(job_json(job.specs, execution), encoding="utf-8")

"""Rebuild tables of the paper: train what is missing, then draw them from the ledger.

python sweeps/run.py table5 --gpus 8
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from analysis.record.entry import Entry
from analysis.record.ledger import Ledger
from analysis.table.layout import Table
from sweeps.planning.job_queue import Feed, Outcome
from sweeps.planning.plan import Plan, asked_runs, make_plan
from sweeps.planning.resources import Resources, check_fit, check_resources, check_sizes, cpus_here, gpus_here
from sweeps.request.arguments import Options, parse
from sweeps.request.request import ALL, Request, list_datasets, make_request, named
from sweeps.running.lock import hold_driver_lock
from sweeps.running.recovery import ingest, known
from trainables import datasets
from trainables.commands import FAILED, count, run_command
from trainables.data.counts import ImageCounts
from trainables.errors import UserError
from trainables.spec import RunSpec
from trainables.storage.job_file import Execution
from trainables.storage.runs import has_weights

if TYPE_CHECKING:
    from sweeps.planning.estimate import CostEstimate
    from sweeps.planning.teacher_caches import TeacherCaches
    from sweeps.running.events import Event
MOST_REASONS = 12


def main(argv: Sequence[str]) -> int:
    with resumable("run.py", argv):
        options = parse(argv)
        if options.list:
            return list_names(options)
        request = make_request(options)
        if options.plan:
            return show_plan(options, request)
        return sweep(options, request, typed("run.py", argv))


def typed(script: str, argv: Sequence[str]) -> str:
    """The command that was given, as it is recorded: wherever the checkout lies."""
    return shlex.join(["python", f"sweeps/{script}", *argv])


def resuming(command: str) -> str:
    """The command to be given again from the same folder: with the script as it was called."""
    called = Path(sys.argv[0])
    return command.replace(f"sweeps/{called.name}", str(called), 1)


def list_names(options: Options) -> int:
    from sweeps.display.listing import listing
    from trainables.models import names

    tables = [table for name in options.tables or [ALL] for table in named(name)]
    print(listing(tables, names(), options.data_dir, options.results))
    return 0


def show_plan(options: Options, request: Request) -> int:
    """Print what a sweep would do. Reads the results folder if there is one and writes nothing."""
    from sweeps.display import forecast
    from sweeps.planning.estimate import NOTHING
    from sweeps.planning.teacher_caches import find_teacher_caches

    entries = known(options.results, asked_runs(request.tables, request.settings))
    plan = plan_of(options, request, entries)
    resources, cost, at_once = planned_resources(options), NOTHING, 1
    facts_of = facts_in(options.data_dir)
    check_facts(plan, facts_of)
    caches = find_teacher_caches(plan.jobs, facts_of, options.teacher_cache * 10**9)
    if not options.json:
        forecast.show(plan, request, entries)
    if plan.jobs:
        at_once = max(1, resources.devices_at_once(cpus_here()))
        cost = estimated(plan, facts_of, resources, at_once, caches)
    if options.json:
        print(forecast.forecast_json(plan, request, cost, caches))
    elif plan.jobs:
        jobs = min(at_once, len(plan.jobs))
        beside = f"with {count(jobs, 'job')} at a time"
        where = f"on {resources.gpus} of them" if resources.gpus else beside
        forecast.show_cost(cost, where, caches, options.teacher_cache)
    return 0


def planned_resources(options: Options) -> Resources:
    """What a sweep would use, here or on a machine that has as many GPUs as were asked for."""
    gpus = len(gpus_here()) if options.gpus is None else options.gpus
    resources = Resources(gpus, options.gpus_per_job, options.cpus_per_job)
    check_sizes(resources)
    check_fit(resources, max(1, cpus_here()))
    return resources


def estimated(
    plan: Plan, facts_of: Callable[[RunSpec], ImageCounts], resources: Resources, at_once: int, caches: TeacherCaches
) -> CostEstimate:
    """The cost of a plan, measured on a GPU where the sweep would use one and there is one here."""
    from sweeps.planning.estimate import estimate

    here = len(gpus_here()) > 0
    cost = estimate(
        plan,
        facts_of,
        resources,
        device="cuda" if resources.gpus and here else "cpu",
        at_once=at_once,
        caches=caches,
        tell=lambda line: print(line, file=sys.stderr, flush=True),
    )
    if resources.gpus and not here:
        return replace(cost, how=f"{cost.how}; on this machine's CPU, for it has no GPU: on GPUs it is another time")
    return cost


def facts_in(data_dir: Path) -> Callable[[RunSpec], ImageCounts]:
    """The facts of a run's data set, each looked up once."""

    @cache
    def look_up(dataset: str, train_fraction: float, imbalance: float, holdout: float) -> ImageCounts:
        return datasets.count_images(dataset, data_dir, train_fraction, imbalance, holdout)

    return lambda spec: look_up(spec.dataset, spec.train_fraction, spec.imbalance, spec.holdout)


def check_facts(plan: Plan, facts_of: Callable[[RunSpec], ImageCounts]) -> dict[str, int]:
    """Refuse training sets that cannot be made, or that are too small for what a run sets apart. Returns the number of
    classes of each data set."""
    for spec in plan.all_runs.values():
        images, ends = facts_of(spec).train_size, spec.end
        if ends is not None and int(images * ends) < 1:
            raise UserError(f"{spec.name}: {100 * ends:.3g} % of {images} training images is less than one: use more")
    return {spec.dataset: facts_of(spec).num_classes for spec in plan.all_runs.values()}


def sweep(options: Options, request: Request, command: str) -> int:
    """Check everything, then train what is missing, then draw the tables. Nothing is written before all is checked."""
    check_writable(options.results)
    with contextlib.ExitStack() as stack:
        if options.results.is_dir():
            stack.enter_context(hold_driver_lock(options.results))
        run_ids = asked_runs(request.tables, request.settings)
        before = plan_of(options, request, known(options.results, run_ids))
        resources = check_all(options, request, before) if before.jobs else None
        if not options.results.is_dir():
            stack.enter_context(hold_driver_lock(options.results))
        ledger = stack.enter_context(Ledger.open(options.results / "ledger.sqlite"))
        ingest(options.results, ledger, run_ids)
        entries = ledger.entries(run_ids)
        plan = plan_of(options, request, entries)
        outcome = Feed(plan).outcome()
        if resources is not None and plan.jobs:
            outcome = train(options, request, plan, ledger, entries, resources, command)
        else:
            remember(ledger, request, command)
            print_plan(plan, request)
        show_results(options, request, ledger.entries(run_ids))
    return report(outcome, command)


def plan_of(options: Options, request: Request, entries: dict[str, Entry]) -> Plan:
    return make_plan(
        request.tables,
        request.settings,
        entries,
        pack=options.pack,
        retry=options.retry,
        has_weights=partial(has_weights, options.results),
        apart=partial(takes_one_device, options),
    )


def takes_one_device(options: Options, spec: RunSpec) -> bool:
    """Whether a run takes one device where others of its data set take several."""
    if options.gpus_per_job <= 1 or not datasets.find(spec.dataset).streamed:
        return False
    from trainables.methods import whole_batches

    return whole_batches(spec)


def check_writable(results: Path) -> None:
    """Refuse a results folder that cannot be made or written, without making it yet."""
    there = next(folder for folder in (results, *results.parents) if folder.exists())
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        reason = "is not writable" if there.is_dir() else "is a file"
        raise UserError(f"cannot write to the results folder {results}: {there} {reason}; choose --results")


def check_all(options: Options, request: Request, plan: Plan) -> Resources:
    """What costs seconds to check and must be known before training: devices, data, the fit of given teachers."""
    resources = find_resources(options)
    classes = check_facts(plan, facts_in(options.data_dir))
    from sweeps.request import teacher_weights

    teacher_weights.check(request.given, classes)
    for name in [name for name in classes if name not in dict(request.images)]:
        try:
            datasets.load(name, options.data_dir, download=options.download and datasets.find(name).downloadable)
        except UserError as error:
            others = [table.key for table in request.tables if name not in list_datasets([table], request.settings)]
            hint = f" (without it: {' '.join(others)})" if others else ""
            raise UserError(f"{error}{hint}") from error
    return resources


def find_resources(options: Options) -> Resources:
    """What the sweep may use: all GPUs of this machine unless told otherwise; never the CPU by accident."""
    gpus = options.gpus
    if gpus is None and options.address is not None:
        raise UserError("--address: say how many of the cluster's GPUs to use with --gpus N (0: its CPUs)")
    if gpus is None:
        gpus = len(gpus_here())
        if not gpus:
            raise UserError("found no GPU that PyTorch can use: --gpus 0 trains on the CPU (--plan says how long)")
    resources = Resources(gpus, options.gpus_per_job, options.cpus_per_job, options.address)
    check_resources(resources)
    return resources


def train(
    options: Options,
    request: Request,
    plan: Plan,
    ledger: Ledger,
    entries: dict[str, Entry],
    resources: Resources,
    command: str,
) -> Outcome:
    from sweeps.display.progress import follow
    from sweeps.running.engine import execute

    print_plan(plan, request)
    remembered = False
    with follow(plan, request.tables, request.settings, entries) as show:

        def on_event(event: Event) -> None:
            nonlocal remembered
            if not remembered:
                remember(ledger, request, command)
                remembered = True
            show(event)

        return execute(plan, ledger, execution_of(options, request, command), resources, on_event, debug=options.debug)


def remember(ledger: Ledger, request: Request, command: str) -> None:
    """Tables are drawn by the latest sweep's settings: only one that could start counts."""
    ledger.remember([table.key for table in request.tables], request.settings, command)


def execution_of(options: Options, request: Request, command: str) -> Execution:
    return Execution(
        results=options.results,
        data_dir=options.data_dir,
        teachers=tuple((teacher.sha256, str(teacher.path)) for teacher in request.given),
        command=command,
        teacher_cache_gb=options.teacher_cache,
        cuda_graphs=options.cuda_graphs,
    )


def print_plan(plan: Plan, request: Request) -> None:
    from sweeps.display.forecast import images, one_line, outdated

    print("\n".join([one_line(plan, request), *outdated(plan), *images(request)]), flush=True)


def show_results(options: Options, request: Request, entries: dict[str, Entry]) -> None:
    """The tables on the screen and as files, and the figures as files."""
    from analysis.table.grid import make_grid
    from analysis.table.render import text
    from analysis.table.resolved import resolve
    from analysis.table.sheet import make_sheet
    from analysis.tables import write_all

    width = shutil.get_terminal_size((120, 40)).columns
    folder = options.results / "tables"
    for table in request.tables:
        paths = write_all(table, request.settings, entries, folder)
        if paths:
            print(f"\n{text(make_sheet(make_grid(resolve(table, request.settings), entries)), width)}")
        paths += draw(options, request, table) if table.kind.needs_weights else []
        if paths:
            names = dict.fromkeys(path.stem for path in paths)
            endings = [",".join(path.suffix[1:] for path in paths if path.stem == name) for name in names]
            for name, ending in zip(names, endings, strict=True):
                print(f"written: {folder}{os.sep}{name}.{{{ending}}}")
    print(flush=True)


def draw(options: Options, request: Request, table: Table) -> list[Path]:
    """A figure of weights and images; says what it lacks where it cannot be drawn yet."""
    from analysis.figure.from_weights import write_figure_from_runs
    from analysis.table.resolved import resolve

    resolved = resolve(table, request.settings)
    given = [(teacher.sha256, str(teacher.path)) for teacher in request.given]
    folder = options.results / "tables"
    try:
        return write_figure_from_runs(resolved, options.results, options.data_dir, given, folder)
    except UserError as error:
        print(f"\nnot drawn: {table.title}: {error}")
        return []


def report(outcome: Outcome, command: str) -> int:
    """How the sweep ended, in a few lines, and the exit status; where it was stopped, the command that resumes it."""
    for word, runs in (("failed", outcome.failed), ("not run", outcome.not_run)):
        reasons = Counter(" ".join(reason.split()) for reason in runs.values())
        for reason, times in reasons.most_common(MOST_REASONS):
            print(f"{word}: {count(times, 'run')}: {reason}")
        if len(reasons) > MOST_REASONS:
            print(f"{word}: {len(reasons) - MOST_REASONS} more reasons, see the ledger")
    if outcome.failed:
        print("the same command with --retry trains again what has failed")
    print(f"{len(outcome.done)} done, {len(outcome.failed)} failed, {len(outcome.not_run)} not run", flush=True)
    if outcome.stopped:
        print(f"{outcome.stopped}\nto resume: {resuming(command)}", file=sys.stderr)
    return 0 if outcome.complete else FAILED


@contextlib.contextmanager
def resumable(script: str, argv: Sequence[str]) -> Iterator[None]:
    """On Ctrl-C, say by which command what was stopped goes on."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"\nstopped now: what is finished is kept\nto resume: {resuming(typed(script, argv))}", file=sys.stderr)
        raise


if __name__ == "__main__":
    sys.exit(run_command(main))

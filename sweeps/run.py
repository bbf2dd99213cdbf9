"""Rebuild tables of the paper: train what is missing, then draw them from the ledger.

python sweeps/run.py table5 --gpus 8
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from trainables.environment import check_environment

    check_environment(__file__)

from analysis.record.entry import Entry
from analysis.record.ledger import Ledger
from analysis.table.asked import asked_by
from analysis.table.costs import counts_of, with_costs
from analysis.table.resolved import ResolvedTable
from sweeps.display.outcome import LOG, heading, report, resumable, typed
from sweeps.display.page import show_page
from sweeps.planning.job_queue import Outcome
from sweeps.planning.plan import Plan, make_plan
from sweeps.planning.resources import Resources, gpus_here
from sweeps.request.arguments import ALL, DATA_DIR, Options, Where, parse
from sweeps.request.checks import check_all, check_folder, check_images, check_models, check_writable, planned_resources
from sweeps.request.request import Request, find_tables, make_request
from sweeps.running.recovery import ingest, load_entries
from sweeps.running.start_time import StartTime
from trainables import datasets
from trainables.commands import command_name, count, run_command
from trainables.console import keep_log
from trainables.cores import cores_here
from trainables.errors import UserError
from trainables.own_code import hash_program
from trainables.spec import RunSpec
from trainables.storage.locks import hold_driver_lock
from trainables.storage.runs import has_weights

MANY_RUNS = 1000
"""More of varied fields are trained only with --yes."""

if TYPE_CHECKING:
    from sweeps.planning.estimate import CostEstimate
    from sweeps.planning.past_runs import PastRuns
    from sweeps.planning.teacher_caches import TeacherCaches
    from sweeps.running.events import Event
    from sweeps.running.time_left import Expected


def main(argv: Sequence[str]) -> int:
    with resumable("run.py", argv):
        options = parse(argv)
        if options.list:
            return list_names(options)
        if options.from_mdistiller and options.save:
            return translate(options.from_mdistiller, options.save)
        request = requested(options)
        for table in request.resolved if options.columns else ():
            counts_of(table)
        if options.save:
            return save(options.save, request)
        if options.plan:
            return show_plan(options, request)
        return sweep(options, request, typed("run.py", argv))


def requested(options: Options) -> Request:
    """The request; an error in an experiment's file names the line."""
    if options.experiment is None:
        return make_request(options)
    try:
        request = make_request(options)
    except UserError as error:
        raise options.experiment.explain(error, options.beside) from error
    options.experiment.check(request.settings)
    return request


def save(path: Path, request: Request) -> int:
    """Write what is asked for as an experiment's file."""
    from analysis.table.command_line import write
    from sweeps.request.experiment_file import write_experiment

    write(
        path,
        write_experiment([table.key for table in request.tables], request.settings, path.absolute().parent).encode(),
    )
    print(f"written: {path}; {command_name('run')} {shlex.quote(str(path))} trains it")
    return 0


def translate(config: Path, path: Path) -> int:
    """Write the experiment of a configuration file of mdistiller, and say what has no counterpart."""
    from analysis.table.command_line import write
    from sweeps.request.experiment_file import write_experiment
    from sweeps.request.mdistiller import read_config

    found = read_config(config, path.stem)
    write(path, write_experiment([path.stem], found.settings).encode())
    for line in found.told:
        print(f"not translated: {line}")
    requested(parse([str(path)]))
    print(f"written: {path}; {command_name('run')} {shlex.quote(str(path))} trains it")
    return 0


def list_names(options: Options) -> int:
    from sweeps.display.listing import listing
    from trainables.models import names

    tables = [table for name in options.tables or [ALL] for table in find_tables(name, options.settings)]
    print(listing(tables, names(), options.where.data_dir, options.where.results, options.settings.dataset))
    return 0


def show_plan(options: Options, request: Request) -> int:
    """Print what a sweep would do. Reads the results folder if there is one and writes nothing."""
    from sweeps.display import forecast
    from sweeps.planning.budget import Budget
    from sweeps.planning.estimate import NOTHING
    from sweeps.planning.teacher_caches import find_teacher_caches

    where = options.where
    check_folder(where.results)
    entries = load_entries(where.results, request.run_ids)
    plan = plan_of(where, request, entries)
    resources, cost, at_once = planned_resources(where), NOTHING, 1
    check_images(where.data_dir, plan.all_runs.values())
    caches = find_teacher_caches(plan.jobs, where.data_dir, where.teacher_cache * 10**9)
    if plan.jobs:
        check_models(where.data_dir, request, plan.all_runs.values())
    if not options.json:
        forecast.show(plan, request, entries, where.data_dir)
    if plan.jobs:
        at_once = max(1, resources.devices_at_once(cores_here()))
        cost = estimated(plan, where, resources, at_once, caches)
    budget = None
    if options.budget is not None:
        std = forecast.spread_of(request, entries).difference
        trained = tuple(table for table in request.resolved if table.table.kind.trains)
        budget = Budget(plan, trained, cost.price, options.budget * 3600, std)
    if options.json:
        print(forecast.forecast_json(plan, request, cost, caches, price=options.price, budget=budget))
    elif plan.jobs:
        jobs = min(at_once, len(plan.jobs))
        on = f"on {resources.gpus} of them" if resources.gpus else f"with {count(jobs, 'job')} at a time"
        forecast.show_cost(cost, on, caches, where.teacher_cache, price=options.price)
        if budget is not None:
            elsewhere = " of this machine's CPU (a GPU's are fewer)" if resources.gpus and not gpus_here() else ""
            forecast.show_budget(budget, options.price, elsewhere)
    return 0


def estimated(plan: Plan, where: Where, resources: Resources, at_once: int, caches: TeacherCaches) -> CostEstimate:
    """The cost of a plan, from past runs, else measured: on a GPU where the sweep would use one that is here."""
    from sweeps.planning.estimate import estimate

    here = bool(gpus_here())
    elsewhere = "; measured on this machine's CPU because it has no GPU; GPU times will differ"
    return estimate(
        plan,
        where.data_dir,
        resources,
        device="cuda" if resources.gpus and here else "cpu",
        at_once=at_once,
        caches=caches,
        past=past_runs(where, resources),
        remark=elsewhere if resources.gpus and not here else "",
        tell=lambda line: print(line, file=sys.stderr, flush=True),
    )


def expect(plan: Plan, where: Where, resources: Resources) -> Expected:
    """What past runs and kept measurements tell of a plan."""
    from sweeps.planning.estimate import known_seconds
    from sweeps.planning.kept_costs import read_start
    from sweeps.planning.teacher_caches import find_teacher_caches
    from sweeps.running.time_left import Expected

    at_once = 0 if resources.is_elastic else resources.devices_at_once(cores_here())
    seconds = known_seconds(
        plan,
        where.data_dir,
        resources,
        device="cuda" if resources.gpus and gpus_here() else "cpu",
        at_once=at_once,
        caches=find_teacher_caches(plan.jobs, where.data_dir, where.teacher_cache * 10**9),
        past=past_runs(where, resources),
    )
    return Expected(seconds, resources, at_once, read_start())


def past_runs(where: Where, resources: Resources) -> PastRuns:
    """What the ledger knows of the device that a sweep would use; nothing where jobs share one, for it does not say
    which did."""
    from sweeps.planning.past_runs import NO_RUNS, read_past_runs

    if resources.gpus_per_job < 1 and resources.gpus:
        return NO_RUNS
    if resources.gpus:
        return read_past_runs(where.results, next(iter(gpus_here()), None), None, graphs=where.cuda_graphs)
    from trainables.storage.provenance import processor

    return read_past_runs(where.results, processor(), min(resources.cpus_per_job, cores_here()))


def sweep(options: Options, request: Request, command: str) -> int:
    """Check everything, then train what is missing, then draw the tables. Nothing is written before all is checked."""
    where, start = options.where, StartTime()
    check_writable(where.results)
    with contextlib.ExitStack() as stack:
        is_new = not where.results.is_dir()
        if not is_new:
            stack.enter_context(hold_driver_lock(where.results))
        entries = load_entries(where.results, request.run_ids)
        plan = plan_of(where, request, entries)
        if request.settings.vary and not options.yes:
            check_size(plan, where)
        resources = check_all(where, request, plan.all_runs.values()) if plan.jobs else None
        if is_new:
            stack.enter_context(hold_driver_lock(where.results))
        ledger = stack.enter_context(Ledger.open(where.results / "ledger.sqlite"))
        ingest(where.results, ledger, request.run_ids)
        keep_log(where.results / LOG, heading(command))
        stack.enter_context(show_page(where.results, where.watch))
        print_plan(plan, request, where.data_dir)
        if resources is not None:
            outcome = train(where, request, plan, ledger, entries, resources, command, start)
        else:
            outcome = Outcome(plan.done, dict(plan.failed))
            remember(ledger, where, request, command)
        show_results(where, request, ledger.entries(request.run_ids), options.columns)
    if outcome.complete:
        start.keep()
    return report(outcome, command)


def check_size(plan: Plan, where: Where) -> None:
    """Refuse very many runs of varied fields, which may be an accident, and say what they would cost."""
    from sweeps.display import forecast
    from sweeps.planning.teacher_caches import find_teacher_caches

    runs = sum(len(job.specs) for job in plan.jobs)
    if runs <= MANY_RUNS:
        return
    resources = planned_resources(where)
    caches = find_teacher_caches(plan.jobs, where.data_dir, where.teacher_cache * 10**9)
    cost = estimated(plan, where, resources, max(1, resources.devices_at_once(cores_here())), caches)
    hours = forecast.hours_words(cost.device_hours)
    raise UserError(f"--vary asks for {runs:,} runs, about {hours} on one device: add --yes to train them")


def plan_of(where: Where, request: Request, entries: dict[str, Entry]) -> Plan:
    return make_plan(
        request.resolved,
        entries,
        pack=where.pack,
        retry=where.retry,
        has_weights=partial(has_weights, where.results),
        apart=partial(takes_one_device, where),
        sources=hash_program(),
    )


def takes_one_device(where: Where, spec: RunSpec) -> bool:
    """Whether a run takes one device where others of its data set take several."""
    if where.gpus_per_job <= 1 or not datasets.find(spec.dataset).streamed:
        return False
    from trainables.methods import whole_batches

    return whole_batches(spec)


def train(
    where: Where,
    request: Request,
    plan: Plan,
    ledger: Ledger,
    entries: dict[str, Entry],
    resources: Resources,
    command: str,
    start: StartTime,
) -> Outcome:
    from sweeps.display.progress import follow
    from sweeps.planning.durations import longest_first
    from sweeps.running.engine import execute
    from sweeps.running.trackers import Trackers

    remembered = False
    expected = expect(plan, where, resources)
    if expected.seconds.keys() == {job.key for job in plan.jobs}:
        plan = replace(plan, jobs=longest_first(plan.jobs, expected.seconds))
    with follow(plan, request.resolved, entries, results=where.results, expected=expected) as show:

        def on_event(event: Event) -> None:
            nonlocal remembered
            if not remembered:
                remember(ledger, where, request, command)
                remembered = True
            start(event)
            show(event)

        asked, name = asked_by(request.resolved), where.results.name
        trackers = Trackers(where.log, where.results, lambda spec: {"sweep": name, **asked.tags(spec)})
        execution = where.execution(request.files, command)
        return execute(
            plan, ledger, execution, resources, on_event, debug=where.debug, trackers=trackers, expected=expected
        )


def remember(ledger: Ledger, where: Where, request: Request, command: str) -> None:
    """Tables are drawn by the latest sweep's settings: only one that could start counts."""
    data_dir = "" if where.data_dir == DATA_DIR.absolute() else str(where.data_dir)
    teachers = str(where.weights or "")
    ledger.remember([table.key for table in request.tables], request.settings, command, data_dir, teachers)


def print_plan(plan: Plan, request: Request, data_dir: Path) -> None:
    from sweeps.display.forecast import of_other_code, one_line, remarks

    print("\n".join([one_line(plan, request), *of_other_code(plan), *remarks(plan, request, data_dir)]), flush=True)


def show_results(where: Where, request: Request, entries: dict[str, Entry], columns: Sequence[str]) -> None:
    """The tables on the screen and as files, and the figures as files. columns: see `with_costs`."""
    from analysis.table.grid import make_grid
    from analysis.table.kept_files import keep_earlier
    from analysis.table.render import text
    from analysis.table.sheet import make_sheet
    from analysis.tables import write_all

    width = shutil.get_terminal_size((120, 40)).columns
    folder = where.results / "tables"
    for table in request.resolved:
        grid, paths = make_grid(table, entries), []
        kept = keep_earlier(folder, table) if grid.values or table.table.kind.needs_weights else []
        if grid.values:
            sheet = make_sheet(grid)
            sheet = with_costs(sheet, grid, columns) if columns else sheet
            paths += write_all(grid, sheet, folder)
            print(f"\n{text(sheet, width)}")
        if table.table.kind.needs_weights:
            paths += draw(where, request, table)
        for name in dict.fromkeys(path.stem for path in paths):
            endings = ",".join(path.suffix[1:] for path in paths if path.stem == name)
            print(f"written: {folder}{os.sep}{name}.{{{endings}}}")
        for line in kept:
            print(line)
    print(flush=True)


def draw(where: Where, request: Request, table: ResolvedTable) -> list[Path]:
    """A figure of weights and images; says what it lacks where it cannot be drawn yet."""
    from analysis.figure.from_weights import write_figure_from_runs

    folder = where.results / "tables"
    try:
        return write_figure_from_runs(table, where.results, where.data_dir, request.files, folder)
    except UserError as error:
        print(f"\nnot drawn: {table.title}: {error}")
        return []


if __name__ == "__main__":
    sys.exit(run_command(main))

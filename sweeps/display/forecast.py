"""A plan as it is shown before anything runs: what, by which protocol, for how long; for people or as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.text import Text

from analysis.claim.power import Spread, sensitivity, spread, spread_of_runs
from analysis.record.entry import Entry
from analysis.record.specs import teacher_spec
from analysis.table import names
from analysis.table.grid import make_grid
from analysis.table.protocol import protocol
from analysis.table.resolved import ResolvedTable
from analysis.table.verdicts import SEED_STD
from sweeps.display.budget_lines import BudgetLines, budget_json
from sweeps.display.rich_table import make_table
from sweeps.display.words import hours_words, money_words, size_words
from sweeps.planning.budget import Budget
from sweeps.planning.estimate import CostEstimate
from sweeps.planning.images import count_images
from sweeps.planning.plan import JobKind, Plan
from sweeps.planning.teacher_caches import TeacherCaches
from sweeps.request.request import Request, teachers
from sweeps.request.teacher_weights import TeacherWeights
from trainables import datasets
from trainables.commands import count
from trainables.spec import RunSpec

LEAST_WIDTH = 120
SHOWN = 3
"""Jobs of a critical path that are named."""
ASSUMED = f"assumed from {SEED_STD} points of a run: the ledger has too few of these runs"


def forecast_json(
    plan: Plan,
    request: Request,
    estimate: CostEstimate,
    caches: TeacherCaches,
    *,
    price: float | None = None,
    budget: Budget | None = None,
) -> str:
    """One object: cells; runs by kind, done or not, each once; how many more the tables would train one by one
    (shared_runs); runs done; runs that an earlier revision trained (outdated); runs done by other sources of the
    program (other_code); jobs left; what they cost.
    """
    cell_count, shared = count_cells(request)
    return json.dumps(
        {
            "cells": cell_count,
            "runs": {kind: len(runs) for kind, runs in plan.runs.items()},
            "unique_runs": len(plan.all_runs),
            "shared_runs": shared,
            "done": len(plan.done),
            "failed": len(plan.failed),
            "outdated": len(plan.outdated),
            "other_code": len(plan.other_code),
            "jobs": len(plan.jobs),
            "device_hours": round(estimate.device_hours, 4),
            "hours": round(estimate.hours, 4),
            **({} if price is None else {"price": round(price * estimate.device_hours, 2)}),
            **({} if budget is None else {"budget": budget_json(budget)}),
            "busy": round(estimate.schedule.busy, 4),
            "critical_path": [job.key for job in estimate.schedule.path],
            "disk_bytes": estimate.disk_bytes,
            "teacher_caches": caches.count,
            "teacher_cache_bytes": caches.bytes,
            "device": estimate.device,
            "estimated": estimate.how,
            "sources": {words: round(hours, 4) for words, hours in estimate.sources.items()},
        }
    )


def count_cells(request: Request) -> tuple[int, int]:
    """Cells, each once however many tables show it; and the students that the tables, each trained by itself, would
    train more than once."""
    found: set[tuple[RunSpec, ...]] = set()
    students: Counter[str] = Counter()
    for table in (table for table in request.resolved if table.table.kind.trains):
        found |= {*table.cells.values()}
        students.update({spec.run_id for specs in (*table.cells.values(), *table.untaught.values()) for spec in specs})
    return len(found), students.total() - len(students)


def show(plan: Plan, request: Request, entries: Mapping[str, Entry], data_dir: Path | None) -> None:
    """The plan on standard output. entries: what is known of its runs."""
    parts: list[RenderableType] = []
    for table in request.resolved:
        parts += _protocol(table)
    _print([*parts, _runs(plan), *map(Text, [*_lines(plan, request, data_dir), *_visible(request, entries)])])


def _visible(request: Request, entries: Mapping[str, Entry]) -> list[str]:
    """Which differences of accuracy so many seeds can tell; nothing where no table compares accuracies."""
    if not any(table.table.kind.compares_accuracies for table in request.resolved):
        return []
    return [sensitivity(request.settings.seeds, spread_of(request, entries))]


def spread_of(request: Request, entries: Mapping[str, Entry]) -> Spread:
    """How much runs vary between seeds: those of the ledger, else as is assumed."""
    compared = [table for table in request.resolved if table.table.kind.compares_accuracies]
    found = spread((make_grid(table, entries) for table in compared), "from the ledger")
    return found or spread_of_runs(SEED_STD, ASSUMED)


def show_cost(
    estimate: CostEstimate, where: str, caches: TeacherCaches, most: float, *, price: float | None = None
) -> None:
    """What the plan costs, on standard output. where: on what the sweep runs, in words. price: of an hour."""
    lines = (
        f"about {hours_words(estimate.device_hours)} on one device like this ({estimate.device}); "
        f"from start to end {hours_words(estimate.hours)} {where}",
        *(
            f"  {f'{hours_words(hours)} of it ' if len(estimate.sources) > 1 else ''}{words}"
            for words, hours in estimate.sources.items()
        ),
        *(
            []
            if price is None
            else [f"about {money_words(price * estimate.device_hours)} at {price:g} per device-hour"]
        ),
        *_schedule(estimate),
        f"about {size_words(estimate.disk_bytes)} on disk",
        *teacher_cache_lines(caches, most),
    )
    _print([*map(Text, lines)])


def show_budget(budget: Budget, price: float | None, remark: str) -> None:
    """What fits into a budget, on standard output. price: of an hour. remark: whose hours they are."""
    _print(BudgetLines(budget, price, remark).lines())


def _schedule(estimate: CostEstimate) -> list[str]:
    """How busy the devices are, where several jobs follow each other."""
    found = estimate.schedule
    if len(estimate.seconds) < 2:
        return []
    path = " > ".join(job.key for job in (found.path if len(found.path) <= SHOWN else (found.path[0], found.path[-1])))
    between = f"{len(found.path)} jobs from the first to the last: " if len(found.path) > SHOWN else ""
    return [
        f"  simulated, the longest first: devices busy {found.busy:.0%} of the time, in the last "
        f"{hours_words(found.idle / 3600)} not all of them; critical path: {between}{path}"
    ]


def teacher_cache_lines(caches: TeacherCaches, most: float) -> list[str]:
    """What the teacher caches take. most: gigabytes that they may."""
    lines = []
    if caches.count:
        kept = (
            f", of which at most {most:g} GB are kept (--teacher-cache)"
            if caches.bytes > most * 10**9
            else " (--teacher-cache)"
        )
        lines.append(
            f"and {size_words(caches.bytes)} for the logits of teachers in {count(caches.count, 'cache')}{kept}"
        )
    if caches.too_large:
        what, size = caches.too_large
        lines.append(
            f"the logits of {what} would take {size_words(size)}, more than --teacher-cache {most:g}: they are not "
            "cached, and the teacher runs in every epoch"
        )
    if caches.streamed:
        lines.append(
            f"the logits of {caches.streamed} are not cached, since its images are decoded while it trains: "
            "the teacher runs in every epoch"
        )
    return lines


def _print(parts: list[RenderableType]) -> None:
    console = Console()
    if console.width < LEAST_WIDTH and not console.is_terminal:
        console = Console(width=LEAST_WIDTH)
    console.print(Group(*parts), soft_wrap=False)


def remarks(plan: Plan, request: Request, data_dir: Path | None) -> list[str]:
    """What the images are that are not the published ones, the combinations of varied fields that are left out, and
    runs that take one step in an epoch."""
    left_out = dict.fromkeys(line for table in request.resolved for part in table.parts for line in part.left_out)
    missing = (spec for job in plan.jobs for spec in job.specs)
    sizes = dict.fromkeys((count_images(spec, data_dir).train_size, spec.batch_size) for spec in missing)
    return [
        *(f"data: {source}" for _, source in request.images),
        *(f"left out: {line}" for line in left_out),
        *(
            f"one step per epoch: {images} training images in batches of {batch}; a smaller --batch-size makes more"
            for images, batch in sizes
            if images <= batch + 1
        ),
    ]


def one_line(plan: Plan, request: Request) -> str:
    """What a sweep is about to do."""
    left = len({spec.run_id for job in plan.jobs for spec in job.specs})
    jobs = f"{left} to train in {count(len(plan.jobs), 'job')}" if left else "nothing left to train"
    failed = f", {len(plan.failed)} failed earlier (--retry trains them again)" if plan.failed else ""
    cells_shown = count(count_cells(request)[0], "cell")
    return f"{cells_shown}: {count(len(plan.all_runs), 'run')}, {len(plan.done)} done{failed}, {jobs}"


def of_other_code(plan: Plan) -> list[str]:
    """What the ledger has of an earlier revision alone, and what other sources of the program trained."""
    lines = []
    if plan.outdated:
        lines.append(
            f"{count(len(plan.outdated), 'run')} to train again: an earlier version trained them when the same "
            "settings meant something else; the ledger keeps those results (see docs/protocol.md)"
        )
    if plan.other_code:
        lines.append(
            f"{count(len(plan.other_code), 'run')} done by other code than this: sources of the program have changed "
            "since; their numbers are kept (another --results trains them again)"
        )
    return lines


def _protocol(resolved: ResolvedTable) -> list[RenderableType]:
    found, settings = protocol(resolved), resolved.settings
    title = f"{_title(resolved)}, {count(settings.seeds, 'seed')}"
    grid = make_table(found.heads, found.rows, overflow="fold")
    below = [Text(f"all rows: {found.common}"), *map(Text, found.notes), Text("")]
    return [Text(title, "bold"), grid, *below]


def _title(resolved: ResolvedTable) -> str:
    """The table's title with the data set of this plan, once."""
    title = resolved.title
    named = any(names.dataset(name) in title for name in datasets.names())
    return title if named else f"{title}, on {names.dataset(resolved.settings.dataset)}"


def _runs(plan: Plan) -> RenderableType:
    left = {spec.run_id for job in plan.jobs for spec in job.specs}
    rows = [
        (KINDS[kind], *(str(len(runs.keys() & some)) for some in (runs.keys(), plan.done, plan.failed.keys(), left)))
        for kind, runs in plan.runs.items()
    ]
    return make_table(("runs", "asked for", "done", "failed earlier", "to train"), rows, justify="right")


KINDS = {
    JobKind.DISTILLED: "distilled students",
    JobKind.VANILLA: "students without a teacher",
    JobKind.TEACHER: "teachers and assistants",
}


def _lines(plan: Plan, request: Request, data_dir: Path | None) -> list[str]:
    cell_count, saved = count_cells(request)
    shared = f"; {count(saved, 'run')} saved by sharing" if saved else ""
    lines = [f"{count(cell_count, 'cell')} in {count(len(request.tables), 'table')}{shared}"]
    lines += [*remarks(plan, request, data_dir), *_teachers(plan, request)]
    if plan.failed:
        lines.append(f"{count(len(plan.failed), 'run')} failed earlier and will not be tried again without --retry")
    lines += of_other_code(plan)
    if not plan.jobs:
        return [*lines, "nothing is left to train"]
    kinds = Counter(job.kind for job in plan.jobs)
    largest = max(len(job.specs) for job in plan.jobs)
    lines.append(
        f"{count(len(plan.jobs), 'job')}: {', '.join(f'{number} {kind}' for kind, number in kinds.items())}; "
        f"the largest trains {count(largest, 'student')} at once"
    )
    return lines


def _teachers(plan: Plan, request: Request) -> list[str]:
    given = {(teacher.dataset, teacher.network): teacher for teacher in request.given}
    trained = {spec.run_id for job in plan.jobs if job.kind is JobKind.TEACHER for spec in job.specs}
    asked = teachers(request.tables, request.settings)
    words = []
    for dataset, networks in asked.items():
        for network in networks:
            spec = teacher_spec(request.settings.on(dataset), network)
            found = given.get((dataset, network))
            seen = spec.dataset if found is None else dataset
            place = f" on {names.dataset(seen)}" if len(asked) > 1 or seen != dataset else ""
            if found is not None:
                words.append(_describe_given(found, place))
            elif spec.run_id in trained:
                words.append(f"{network}{place} will be trained first{_HINTS.get(dataset, '')}")
            else:
                words.append(f"{network}{place} is trained")
    return [f"teacher {line}" for line in dict.fromkeys(words)]


_HINTS = {"imagenet": " (--download fetches torchvision's published weights instead)"}


def _describe_given(teacher: TeacherWeights, place: str) -> str:
    return f"{teacher.network}{place} is given: {teacher.path} (sha256 {teacher.sha256[:12]})"

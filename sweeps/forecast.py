"""A plan as it is shown before anything runs: what, by which protocol, for how long; for people or as JSON."""

from __future__ import annotations

import json
from collections import Counter

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from analysis import names
from analysis.layout import Table, settings_for
from analysis.protocol import protocol
from analysis.settings import Settings
from sweeps.estimate import Estimate, hours_words, size_words
from sweeps.givens import Given
from sweeps.plan import Plan
from sweeps.request import Request, teachers

LEAST_WIDTH = 120


def forecast_json(plan: Plan, estimate: Estimate) -> str:
    """One object: cells; runs by kind, done or not, each once; how many more the tables would train one by one
    (shared_runs); runs done; jobs left; what they cost.
    """
    return json.dumps(
        {
            "cells": plan.cells,
            "runs": {kind: len(runs) for kind, runs in plan.runs.items()},
            "unique_runs": len(plan.all_runs),
            "shared_runs": plan.shared,
            "done": len(plan.done),
            "failed": len(plan.failed),
            "jobs": len(plan.jobs),
            "device_hours": round(estimate.device_hours, 4),
            "disk_bytes": estimate.disk_bytes,
            "device": estimate.device,
            "estimated": estimate.how,
        }
    )


def show(plan: Plan, request: Request, estimate: Estimate, at_once: int) -> None:
    """The plan on standard output."""
    console = Console()
    if console.width < LEAST_WIDTH and not console.is_terminal:
        console = Console(width=LEAST_WIDTH)
    parts: list[RenderableType] = []
    for table in request.tables:
        parts += _protocol(table, request.settings)
    parts += [_runs(plan), *_lines(plan, request, estimate, at_once)]
    console.print(Group(*parts), soft_wrap=False)


def one_line(plan: Plan) -> str:
    """What a sweep is about to do."""
    left = len({spec.run_id for job in plan.jobs for spec in job.specs})
    jobs = f"{left} to train in {_count(len(plan.jobs), 'job')}" if left else "nothing left to train"
    failed = f", {len(plan.failed)} failed earlier (--retry trains them again)" if plan.failed else ""
    return f"{_count(plan.cells, 'cell')}: {_count(len(plan.all_runs), 'run')}, {len(plan.done)} done{failed}, {jobs}"


def _protocol(table: Table, settings: Settings) -> list[RenderableType]:
    found = protocol(table, settings)
    settings = settings_for(table, settings)
    title = f"{table.title}, on {names.dataset(settings.dataset)}, {_count(settings.seeds, 'seed')}"
    grid = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for head in found.heads:
        grid.add_column(Text(head), overflow="fold")
    for row in found.rows:
        grid.add_row(*map(Text, row))
    below = [Text(f"all rows: {found.common}"), *map(Text, found.notes), Text("")]
    return [Text(title, "bold"), grid, *below]


def _runs(plan: Plan) -> RenderableType:
    left = {spec.run_id for job in plan.jobs for spec in job.specs}
    grid = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for head in ("runs", "asked for", "done", "failed earlier", "to train"):
        grid.add_column(head, justify="left" if head == "runs" else "right")
    for kind, runs in plan.runs.items():
        counts = (
            len(runs),
            len(runs.keys() & plan.done),
            len(runs.keys() & plan.failed.keys()),
            len(runs.keys() & left),
        )
        grid.add_row(KINDS[kind], *map(str, counts))
    return grid


KINDS = {
    "distilled": "distilled students",
    "vanilla": "students without a teacher",
    "teacher": "teachers and assistants",
}


def _lines(plan: Plan, request: Request, estimate: Estimate, at_once: int) -> list[RenderableType]:
    shared = f"; {_count(plan.shared, 'run')} saved by sharing" if plan.shared else ""
    lines = [f"{_count(plan.cells, 'cell')} in {_count(len(request.tables), 'table')}{shared}"]
    lines += _teachers(plan, request)
    if plan.failed:
        lines.append(f"{_count(len(plan.failed), 'run')} failed earlier and will not be tried again without --retry")
    if not plan.jobs:
        return [Text(line) for line in [*lines, "nothing is left to train"]]
    kinds = Counter(job.kind for job in plan.jobs)
    largest = max(len(job.specs) for job in plan.jobs)
    lines.append(
        f"{_count(len(plan.jobs), 'job')}: {', '.join(f'{count} {kind}' for kind, count in kinds.items())}; "
        f"the largest trains {_count(largest, 'student')} at once"
    )
    wall = f", {hours_words(estimate.device_hours / at_once)} with {at_once} jobs at a time" if at_once > 1 else ""
    lines.append(f"about {hours_words(estimate.device_hours)} on one device like this ({estimate.device}){wall}")
    lines.append(f"  measured {estimate.how}")
    lines.append(f"about {size_words(estimate.disk_bytes)} on disk")
    return [Text(line) for line in lines]


def _teachers(plan: Plan, request: Request) -> list[str]:
    given = {(teacher.dataset, teacher.network): teacher for teacher in request.given}
    trained = {(spec.dataset, spec.student) for job in plan.jobs if job.kind == "teacher" for spec in job.specs}
    asked = teachers(request.tables, request.settings)
    words = []
    for dataset, networks in asked.items():
        place = f" on {names.dataset(dataset)}" if len(asked) > 1 else ""
        for network in networks:
            if (dataset, network) in given:
                words.append(_given(given[dataset, network], place))
            elif (dataset, network) in trained:
                words.append(f"{network}{place} will be trained first{_HINTS.get(dataset, '')}")
            else:
                words.append(f"{network}{place} is trained")
    return [f"teacher {line}" for line in words]


_HINTS = {"imagenet": " (--download fetches torchvision's published weights instead)"}


def _given(teacher: Given, place: str) -> str:
    return f"{teacher.network}{place} is given: {teacher.path} (sha256 {teacher.sha256[:12]})"


def _count(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"

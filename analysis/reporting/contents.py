"""What a report is made of: the ledger's runs and sweeps, and each table that a sweep asked for with its verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis import paper
from analysis.record.entry import Entry
from analysis.record.ledger import Sweep
from analysis.reporting.comparison import judge
from analysis.table.grid import Grid, make_grid
from analysis.table.layout import Table
from analysis.table.value import Value
from analysis.table.verdicts import Verdict
from trainables.errors import UserError


@dataclass(frozen=True)
class Chapter:
    """A table and the latest sweep that named it. grid: None where it cannot be made, and `reason` says why."""

    table: Table
    sweep: Sweep
    grid: Grid | None
    judged: tuple[tuple[Value, Verdict], ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Knowledge:
    """All that a report knows. results: the folder, as it was named. metric: `best` or `last` test epoch."""

    results: Path
    runs: Mapping[str, Entry]
    sweeps: Sequence[Sweep]
    metric: str = "best"


def chapters(known: Knowledge) -> list[Chapter]:
    """Every table that any sweep asked for, by the latest sweep that named it."""
    latest = {name: sweep for sweep in known.sweeps for name in sweep.tables}
    return [_chapter(table, latest[table.key], known) for table in tables() if table.key in latest]


def tables() -> list[Table]:
    """Tables, figures, and what the paper does not have, in this order."""
    order = ("table", "figure")
    known = paper.tables().values()
    return sorted(known, key=lambda table: next((i for i, word in enumerate(order) if table.key.startswith(word)), 2))


def _chapter(table: Table, sweep: Sweep, known: Knowledge) -> Chapter:
    try:
        grid = make_grid(table, sweep.settings, known.runs, known.metric)
        return Chapter(table, sweep, grid, tuple(judge(grid)))
    except UserError as error:
        return Chapter(table, sweep, None, reason=str(error))


def runs(count: int) -> str:
    return f"{count} run{'' if count == 1 else 's'}"


def cells(count: int) -> str:
    return f"{count} cell{'' if count == 1 else 's'}"

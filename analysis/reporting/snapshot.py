"""What a report is made of: a ledger's runs and sweeps, and each table that a sweep asked for with its verdicts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from analysis import paper
from analysis.record.entry import Entry
from analysis.record.ledger import Ledger, Sweep
from analysis.record.settings import Settings
from analysis.reporting.comparison import judge
from analysis.table.command_line import ledger_path
from analysis.table.grid import Grid, make_grid
from analysis.table.layout import Table
from analysis.table.resolved import ResolvedTable, resolve
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

    @property
    def title(self) -> str:
        return self.table.title if self.grid is None else self.grid.resolved.title


@dataclass(frozen=True)
class Snapshot:
    """A ledger as it was read.

    results: the folder, as it was named.
    runs: by their ids.
    sweeps: in the order in which they were asked for.
    metric: `best` or `last` test epoch.
    make: a chapter of a table and the sweep that named it.
    """

    results: Path
    runs: Mapping[str, Entry]
    sweeps: Sequence[Sweep]
    metric: str = "best"
    make: Callable[[Table, Sweep, Snapshot], Chapter] = field(default=lambda *parts: make_chapter(*parts), repr=False)

    @cached_property
    def chapters(self) -> list[Chapter]:
        """Every table that any sweep asked for, by the latest sweep that named it."""
        latest = {name: sweep for sweep in self.sweeps for name in sweep.tables}
        known = [table for table in tables() if table.key in latest]
        for name in latest.keys() - {table.key for table in known}:
            with contextlib.suppress(UserError):  # A table that is gone.
                known.append(paper.find(name, latest[name].settings))
        return [self.make(table, latest[table.key], self) for table in known]


def read_snapshot(results: Path, metric: str = "best") -> Snapshot:
    """Everything in a results folder's ledger."""
    with Ledger.open(ledger_path(results), readonly=True) as ledger:
        return Snapshot(results, {entry.run_id: entry for entry in ledger.all()}, ledger.sweeps(), metric)


def tables() -> list[Table]:
    """Tables, figures, and what the paper does not have, in this order."""
    order = ("table", "figure")
    known = paper.tables().values()
    return sorted(known, key=lambda table: next((i for i, word in enumerate(order) if table.key.startswith(word)), 2))


def make_chapter(
    table: Table, sweep: Sweep, snapshot: Snapshot, resolve: Callable[[Table, Settings], ResolvedTable] = resolve
) -> Chapter:
    """A table with its numbers, and their verdicts."""
    try:
        grid = make_grid(resolve(table, sweep.settings), snapshot.runs, snapshot.metric)
        return Chapter(table, sweep, grid, tuple(judge(grid)) if table.of_paper else ())
    except UserError as error:
        return Chapter(table, sweep, None, reason=str(error))

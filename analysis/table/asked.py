"""Which rows of the tables the runs of a ledger were trained for, by the sweeps that it remembers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from analysis.record.entry import Entry
from analysis.record.ledger import Sweep
from analysis.record.settings import Settings
from analysis.table.layout import Table
from analysis.table.resolved import ResolvedTable, resolve
from trainables.errors import UserError
from trainables.spec import RunSpec


@dataclass(frozen=True)
class Asked:
    """rows, tables: the keys of row and table, by run. alone: the students without a teacher that stand above the
    rows."""

    rows: Mapping[str, str] = field(default_factory=dict)
    alone: frozenset[str] = frozenset()
    tables: Mapping[str, str] = field(default_factory=dict)

    def tags(self, spec: RunSpec) -> dict[str, str]:
        """Table and row of a run, as far as it has them."""
        found = {"table": self.tables.get(spec.run_id), "row": self.rows.get(spec.run_id)}
        return {name: key for name, key in found.items() if key is not None}


def asked_for(sweeps: Iterable[Sweep], find: Callable[[str, Settings], Table]) -> Asked:
    """find: the table of a name; one that is gone, or its row or data set, names no runs."""
    found = []
    for key, settings in dict.fromkeys((key, sweep.settings) for sweep in sweeps for key in sweep.tables):
        with contextlib.suppress(UserError):
            found.append(resolve(find(key, settings), settings))
    return asked_by(found)


def asked_by(tables: Iterable[ResolvedTable]) -> Asked:
    """Of runs that several tables have, the last one's key and row."""
    rows: dict[str, str] = {}
    alone: set[str] = set()
    keys: dict[str, str] = {}
    for table in tables:
        if not table.table.kind.trains:
            continue
        cells = {spec: row for (_, row, _), specs in table.cells.items() for spec in specs}
        found = {one.run_id: row for spec, row in cells.items() for one in (spec, *spec.earlier)}
        beside = {spec.run_id for specs in table.untaught.values() for spec in specs}
        rows |= found
        alone |= beside
        keys |= dict.fromkeys([*found, *beside], table.table.key)
    return Asked(rows, frozenset(alone), keys)


def kinds(entries: Iterable[Entry], asked: Asked) -> dict[str, str]:
    """What each run is: a `trial` of a search, `distilled`, an `assistant` between a teacher and its students, a
    `teacher`, a student `alone`, or a network that is both, `teacher and alone`."""
    specs = {entry.run_id: entry.spec for entry in entries}
    teach = {spec.teacher_run for spec in specs.values()}
    found = {}
    for run_id, spec in specs.items():
        if spec.holdout:
            found[run_id] = "trial"
        elif spec.method != "vanilla":
            found[run_id] = "assistant" if run_id in teach and run_id not in asked.rows else "distilled"
        elif run_id in teach:
            found[run_id] = "teacher and alone" if run_id in asked.alone else "teacher"
        else:
            found[run_id] = "alone"
    return found

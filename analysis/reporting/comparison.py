"""Each entry of a table with its verdict; where it cannot be compared with the paper's, why."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from analysis.record.settings import Settings
from analysis.table import names
from analysis.table.grid import Grid
from analysis.table.layout import Table
from analysis.table.resolved import CellKey, ResolvedTable, resolve
from analysis.table.value import Value
from analysis.table.verdicts import Verdict, verdict
from trainables.spec import RunSpec, flatten

COMPARED = ("teacher", "student", "row")
PRECISION = Settings().precision
COST = "seconds depend on the machine, which is not the paper's"
_ANOTHER = ("seed", "precision", "data", "teacher_source")
"""Fields in which a run may differ from the paper's and still be compared."""


def judge(grid: Grid) -> list[tuple[Value, Verdict]]:
    """Every entry that is measured by itself (not the derived ones), and a cost table's increases."""
    different = unlike(grid)
    precisions = {key: spec.precision for key, spec in _specs(grid.resolved).items()}
    kinds = ("row", "increase") if grid.table.kind.timed else COMPARED
    judged = []
    for key, value in grid.cells.items():
        if value.kind in kinds:
            found = verdict(value, different[key])
            precision = precisions.get(key, PRECISION)
            if found.noise is not None and precision != PRECISION:
                found = replace(found, why=f"{found.why} ({precision}; the paper: {PRECISION})".strip())
            judged.append((value, found))
    return judged


def paper_settings(table: Table, settings: Settings) -> Settings:
    """The paper's data and schedule for a table, with the teachers and the images that were given."""
    resolved = settings.on(table.dataset)
    paper = Settings(dataset=table.dataset)
    if resolved.dataset == table.dataset:
        paper = replace(paper, data=resolved.data, teachers=resolved.teachers)
    return resolve(table, paper).settings


def unlike(grid: Grid) -> dict[CellKey, str]:
    """Why each entry cannot be compared with the paper's; empty where it can."""
    table, settings = grid.table, grid.settings
    if table.kind.timed:
        return dict.fromkeys(grid.cells, COST)
    if not grid.comparable:
        trained = f"trained on {names.dataset(settings.dataset)}, not on {names.dataset(table.dataset)}"
        return dict.fromkeys(grid.cells, trained)
    if settings.tail_teachers and settings.recipe.whole:
        return dict.fromkeys(grid.cells, "its teachers were trained on the long tail")
    ours = _specs(grid.resolved)
    asked = replace(paper_settings(table, settings), pairs=settings.pairs, rows=settings.rows)
    paper = _specs(resolve(table, asked))
    return {key: _list_differences(ours[key], paper[key]) if key in ours and key in paper else "" for key in grid.cells}


def _specs(resolved: ResolvedTable) -> dict[CellKey, RunSpec]:
    """What one run of each entry is trained by."""
    found = {key: specs[0] for key, specs in resolved.cells.items()}
    for part in resolved.parts:
        for pair in part.pairs if part.part.accuracies else ():
            found[part.key, "student", pair] = resolved.untaught[pair][0]
            if teacher := resolved.teacher_of(pair):
                found[part.key, "teacher", pair] = teacher
    return found


def _list_differences(ours: RunSpec, paper: RunSpec) -> str:
    """The fields in which two runs differ: `epochs 18 instead of 240`."""
    if ours == paper:
        return ""
    mine, theirs = flatten(ours), flatten(paper)
    fields = [name for name in {**mine, **theirs} if name not in _ANOTHER and mine.get(name) != theirs.get(name)]
    return ", ".join(f"{name} {_word(mine.get(name))} instead of {_word(theirs.get(name))}" for name in fields)


def _word(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_word, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)

"""Checks of what a sweep varies (--vary), before any run is made and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from analysis.record.settings import STUDENT, Settings, parse_pair, short_name, word_of
from analysis.table.layout import Table
from analysis.table.resolved import resolve
from analysis.table.varied import in_words
from trainables.commands import count
from trainables.errors import UserError
from trainables.spec import RunSpec, flatten

HIDDEN = {"dataset", "data", "seed", "method", "teacher", "teacher_source", "timing", "holdout", "code", "revision"}
"""Fields of a run that cannot be set."""


def check_vary(tables: Sequence[Table], settings: Settings, overrides: Mapping[str, str], most: int) -> None:
    """Refuse a field that is named twice, a table that is not of accuracies, and more than `most` runs."""
    paths = [path for path, _ in settings.vary]
    for path in paths:
        if paths.count(path) > 1:
            raise UserError(f"--vary names {short_name(path)} twice")
        if path in overrides:
            raise UserError(f"{short_name(path)} is in --set and in --vary: leave out one")
    if other := [table.key for table in tables if not table.kind.compares_accuracies]:
        raise UserError(f"--vary: {other[0]} is no table of accuracies; ablation takes rows of all of them")
    rows = len(settings.rows) or sum(len(part.rows) for table in tables for part in table.parts)
    points = prod(len(values) for _, values in settings.vary)
    if (runs := points * rows * settings.seeds) > most:
        combined = f"{points:,} combinations of {count(rows, 'row')} with {count(settings.seeds, 'seed')}"
        raise UserError(f"--vary: {combined} are up to {runs:,} runs: more than {most:,} cannot be planned")


def check_combinations(tables: Sequence[Table], settings: Settings) -> None:
    """Refuse a field that no run has, and combinations of which no run can have any."""
    for table in tables:
        resolved = resolve(table, settings)
        varied = {path for row in resolved.rows for path, _ in row.varied} | {STUDENT}
        left_out = [line for part in resolved.parts for line in part.left_out]
        if left_out and not varied - {STUDENT}:
            raise UserError(f"--vary: no combination can be trained: {left_out[0]}")
        for path, values in settings.vary:
            if path not in varied:
                known = _fields([specs[0] for specs in resolved.cells.values()])
                one = in_words([(path, values[0])])
                raise UserError(f"--vary: no run of {table.key} has {one}; its runs have {', '.join(known)}")


def _fields(specs: Sequence[RunSpec]) -> list[str]:
    """The fields of some runs that can be varied, by the paper's names."""
    found = {path: None for spec in specs for path, value in flatten(spec).items() if value is not None}
    return [short_name(path) for path in found if path not in HIDDEN and path != "temperature.values"]


def students_of(settings: Settings) -> list[str]:
    """The student networks that are varied."""
    return [parse_pair(f"teacher/{word_of(value)}").student for value in dict(settings.vary).get(STUDENT, ())]

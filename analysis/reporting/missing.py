"""What the ledger lacks: of what was asked for, and of the paper; with the commands that would run it."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from analysis.record.ledger import Sweep
from analysis.record.settings import Settings
from analysis.reporting.comparison import paper_settings
from analysis.table.layout import Table
from analysis.table.resolved import resolve
from analysis.table.value import Value
from trainables.commands import as_called, command_name
from trainables.recipes import Pair


@dataclass(frozen=True)
class RunCounts:
    """Of an entry's runs."""

    done: int
    failed: int
    asked: int


@dataclass(frozen=True)
class Gap:
    """Rows (by their keys) and pairs that lack the same."""

    rows: tuple[str, ...]
    pairs: tuple[Pair, ...]
    state: RunCounts


@dataclass(frozen=True)
class Coverage:
    """How many of the paper's cells of a table are complete by the paper's own settings, and what is not."""

    table: Table
    cells: int
    complete: int
    gaps: tuple[Gap, ...]


def unfinished(values: Iterable[Value]) -> list[Gap]:
    """The entries that were asked for and lack runs."""
    return _grouped(
        (value.row, value.pair, RunCounts(value.n, value.failed, value.asked))
        for value in values
        if value.runs and value.n < value.asked
    )


def coverage(table: Table, settings: Settings, done: Collection[str]) -> Coverage:
    """The paper's cells of a table against the runs that are done; settings: with which teachers."""
    wanted = resolve(table, paper_settings(table, settings)).cells
    counts = {
        key: RunCounts(sum(spec.run_id in done for spec in specs), 0, len(specs)) for key, specs in wanted.items()
    }
    lacking = {key: count for key, count in counts.items() if count.done < count.asked}
    gaps = _grouped((row, pair, count) for (_, row, pair), count in lacking.items())
    return Coverage(table, len(wanted), len(wanted) - len(lacking), tuple(gaps))


def _grouped(lacking: Iterable[tuple[str, Pair, RunCounts]]) -> list[Gap]:
    """Pairs that lack the same of one row together; then rows that lack the same of the same pairs."""
    by_row: dict[tuple[str, RunCounts], dict[Pair, None]] = {}
    for row, pair, state in lacking:
        by_row.setdefault((row, state), {})[pair] = None
    by_pairs: dict[tuple[tuple[Pair, ...], RunCounts], list[str]] = {}
    for (row, state), pairs in by_row.items():
        by_pairs.setdefault((tuple(pairs), state), []).append(row)
    return [Gap(tuple(rows), pairs, state) for (pairs, state), rows in by_pairs.items()]


def resume_command(command: str, results: str, *, retry: bool) -> str:
    """The command of a sweep, to go on with it in another results folder; retry: also what failed."""
    try:
        words = shlex.split(as_called(command))
    except ValueError:
        return command
    kept = [word for before, word in zip(["", *words], words, strict=False) if "--results" not in (before, word)]
    kept = [word for word in kept if not word.startswith("--results=") and word != "--retry"]
    return shlex.join([*kept, "--results", results, *(["--retry"] if retry else [])])


def sweep_options(table: Table, sweep: Sweep) -> tuple[str, ...]:
    """The options that name the images and the teachers of a sweep, as far as the paper's table uses them."""
    paper = paper_settings(table, sweep.settings)
    if sweep.settings.on(table.dataset).dataset != paper.dataset:
        return ()
    taught = {pair.teacher for part in resolve(table, paper).parts for pair in part.pairs}
    teachers = sweep.teachers if taught & {*dict(paper.teachers)} else ""
    folders = {"--data-dir": sweep.data_dir, "--teachers": teachers}
    return tuple(word for name, path in folders.items() if path for word in (name, path))


def full_command(tables: Iterable[str], options: Iterable[str], results: str) -> str:
    """The command that runs all of some of the paper's tables."""
    return f"{command_name('run')} {shlex.join([*tables, *options, '--results', results])}"

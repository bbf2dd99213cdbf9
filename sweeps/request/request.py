"""What was asked for, checked as far as it can be without torch: tables, settings, given teachers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING

from analysis import paper
from analysis.record.settings import Settings, parse_pair
from analysis.table.layout import Table
from analysis.table.resolved import ResolvedTable, check_rows, resolve
from sweeps.request.arguments import ALL, Options, Where
from sweeps.request.teacher_weights import TeacherWeights, find_each, published
from sweeps.request.vary import check_combinations, check_vary, students_of
from trainables import datasets
from trainables.commands import count, did_you_mean
from trainables.errors import UserError
from trainables.recipes import Pair
from trainables.spec import RunSpec, flatten

if TYPE_CHECKING:
    from trainables.data.source import Source

TORCHVISION = "torchvision-weights"
MOST_RUNS = 50_000
"""Whose fields and ids are worked out in half a minute."""
OPTIONS = {
    "epochs": "--epochs",
    "batch_size": "--batch-size",
    "precision": "--precision",
    "train_fraction": "--train-fraction",
}


@dataclass(frozen=True)
class Request:
    """Tables and the settings that they are trained by.

    given: the teachers' weights that were given.
    images: the data sets whose images are not the published ones, each with a line that says what they are.
    """

    tables: tuple[Table, ...]
    settings: Settings
    given: tuple[TeacherWeights, ...]
    images: tuple[tuple[str, str], ...] = ()

    @cached_property
    def resolved(self) -> tuple[ResolvedTable, ...]:
        """The tables under these settings."""
        return tuple(resolve(table, self.settings) for table in self.tables)

    @cached_property
    def run_ids(self) -> list[str]:
        """The ids of all runs that the tables could need, and those that the runs had in earlier revisions."""
        return list(dict.fromkeys(run_id for table in self.resolved for run_id in table.run_ids))

    @property
    def files(self) -> tuple[tuple[str, str], ...]:
        """SHA-256 and path of each given file of weights."""
        return tuple((teacher.sha256, str(teacher.path)) for teacher in self.given)


def make_request(options: Options) -> Request:
    """The request of a command line; refuses what does not exist or contradicts itself."""
    asked = options.settings
    tables = tuple({table.key: table for name in options.tables for table in find_tables(name, asked)}.values())
    if asked.dataset:
        _check_dataset(asked.dataset)
    if asked.recipe_of:
        _check_dataset(asked.recipe_of)
    _check_pairs(asked.pairs)
    _check_networks([asked.assistant] if asked.assistant else [], "--assistant")
    own = {table.dataset for table in tables}
    settings = replace(
        asked,
        dataset=asked.dataset or (own.pop() if len(own) == 1 else ""),
        pairs=tuple(dict.fromkeys(asked.pairs)),
        rows=tuple(dict.fromkeys(asked.rows)),
    )
    if tables == (paper.ablation(),) and not settings.rows:
        raise UserError(f"{paper.ABLATION} has the rows of all tables: name some, for example --rows kd energy_kd")
    _check_rows(tables, settings)
    if settings.vary:
        _check_networks(students_of(settings), "--vary student")
        check_vary(tables, settings, dict(options.overrides), MOST_RUNS)
    _check_size(tables, settings)
    mixed = not settings.dataset
    found = {
        name: _open_own(options.where, settings, name)
        for name in list_datasets(tables, settings)
        if datasets.needs_fingerprint(name, options.where.data_dir)
    }
    given = _find_given(options.where, teachers(tables, settings))
    settings = replace(
        settings,
        data=_data(found, mixed=mixed),
        teachers=tuple((teacher.key(mixed), teacher.sha256) for teacher in given),
    )
    if settings.tail_teachers and _specs(tables, settings) == _specs(tables, replace(settings, tail_teachers=False)):
        raise UserError(f"--tail-teachers: no run of {' '.join(table.key for table in tables)} would change")
    if settings.own_table:
        _check_own_rows(tables[0], settings)
    if settings.vary:
        check_combinations(tables, settings)
        check_methods(_specs(tables, settings))
    if options.overrides:
        settings = _override(tables, settings, options.overrides)
    return Request(tables, settings, given, tuple((name, source.source) for name, source in found.items()))


def find_tables(name: str, settings: Settings | None = None) -> Sequence[Table]:
    """The table of that name, also of the settings' own one, or all of the program's."""
    tables = paper.tables()
    if name.lower() == ALL:
        return list(tables.values())
    own = settings is not None and settings.own_table
    if name.lower() not in (*tables, paper.ABLATION) and not own:
        usual = f": use one of {', '.join(tables)}, {paper.ABLATION} or {ALL}"
        hint = ": the file of an experiment ends in .toml" if "/" in name or "." in name else usual
        hint = closest(name, tables) or hint
        raise UserError(f"unknown table {name!r}{hint} (--list shows all)")
    return [paper.find(name, settings)]


def list_datasets(tables: Iterable[Table], settings: Settings) -> list[str]:
    """The data sets that these tables train on."""
    trained = [table for table in tables if table.kind.trains]
    return list(dict.fromkeys(resolve(table, settings).settings.dataset for table in trained))


def teachers(tables: Iterable[Table], settings: Settings) -> dict[str, list[str]]:
    """The networks that teach in these tables, by data set."""
    found: dict[str, list[str]] = {}
    for table in (table for table in tables if table.kind.trains):
        resolved = resolve(table, settings)
        networks = [pair.teacher for part in resolved.parts for pair in part.pairs]
        dataset = resolved.settings.dataset
        found[dataset] = list(dict.fromkeys([*found.get(dataset, []), *networks]))
    return {dataset: networks for dataset, networks in found.items() if networks}


def _find_given(where: Where, asked: Mapping[str, Sequence[str]]) -> tuple[TeacherWeights, ...]:
    """The teachers' weights that were given, and torchvision's where they are there. asked: networks by data set."""
    given = find_each(where.weights, asked) if where.weights and asked else ()
    have = {teacher.network for teacher in given if teacher.dataset == "imagenet"}
    networks = [network for network in asked.get("imagenet", []) if network not in have]
    folder = where.data_dir / TORCHVISION
    return (*given, *(published(folder, networks, download=where.download) if networks else ()))


def closest(name: str, known: Iterable[str]) -> str:
    """`: did you mean X?` where something is near, else nothing."""
    near = did_you_mean(name, known := [*known], most=3)
    if "," in name and {*name.split(",")} <= {*known}:
        near = f"write {name.replace(',', ' ')}, with spaces"
    return f": {near}" if near else ""


def _check_dataset(name: str) -> None:
    try:
        datasets.find(name)
    except UserError as error:
        hint = "" if name in datasets.names() else closest(name, datasets.names())
        raise UserError(f"unknown data set {name!r}{hint} (--list shows all)" if hint else str(error)) from error


def _check_pairs(pairs: Sequence[str]) -> None:
    """Networks that no recipe names are looked up among all, which needs torch."""
    asked = [network for text in pairs for pair in [parse_pair(text)] for network in (pair.teacher, pair.student)]
    _check_networks(asked, "--pairs")


def _check_networks(asked: Sequence[str], option: str) -> None:
    recipes = [datasets.find(name).recipe for name in datasets.names()]
    usual = {name for each in recipes for pair in each.pairs for name in (pair.teacher, pair.student)}
    if all(network in usual for network in asked):
        return
    from trainables.models import check_name

    for network in asked:
        check_name(network, option)


def _check_rows(tables: Sequence[Table], settings: Settings) -> None:
    parts = [part for table in tables for part in table.parts]
    known = {row.key for part in parts for row in part.rows}
    for row in settings.rows:
        if not any(part.has(row) for part in parts) and (hint := closest(row, known)):
            raise UserError(f"unknown row {row!r}{hint} (--list shows all rows)")
    check_rows(list(tables), settings)


def _check_size(tables: Sequence[Table], settings: Settings) -> None:
    """Refuse more runs than can be planned, before any of them is made."""
    parts = [part for table in tables if table.kind.trains for part in resolve(table, settings).parts]
    most = settings.seeds * sum((len(part.rows) + part.part.accuracies) * len(part.pairs) for part in parts)
    if most > MOST_RUNS:
        how = f"more than {MOST_RUNS:,} cannot be planned; ask for less"
        raise UserError(f"that is up to {most:,} runs ({count(settings.seeds, 'seed')}): {how}")


def _data(found: Mapping[str, Source], *, mixed: bool) -> str:
    """What names, in a run's identity, images that are not the published ones; by data set where there are several."""
    prints = {name: source.fingerprint[:16] for name, source in found.items()}
    return " ".join(f"{name}={value}" for name, value in prints.items()) if mixed else "".join(prints.values())


def _open_own(where: Where, settings: Settings, name: str) -> Source:
    """A data set whose images are not the published ones; its folder stays as it is."""
    definition = datasets.find(name)
    return datasets.load(
        name,
        where.data_dir,
        train_fraction=settings.train_fraction,
        imbalance=definition.recipe.imbalance if settings.imbalance is None else settings.imbalance,
        download=where.download and not definition.streamed,
        convert=False,
    )


def _override(tables: Sequence[Table], settings: Settings, overrides: Sequence[tuple[str, str]]) -> Settings:
    """The settings with --set; refuses one that the runs cannot have, that reaches none of them, or that makes two rows
    of a table the same."""
    said = " ".join(f"{path}={value}" for path, value in overrides)
    for path, _ in overrides:
        if path in OPTIONS:
            raise UserError(f"--set {path}: use {OPTIONS[path]}, which also holds for the teachers")
    try:
        changed = replace(settings, overrides=tuple(overrides))
        specs = _specs(tables, changed)
        check_methods(specs)
    except UserError as error:
        many = len(settings.rows) != 1
        hint = (
            "; --rows can leave out rows without such a rule" if many and "temperature.rule" in dict(overrides) else ""
        )
        raise UserError(f"--set {said}: {error}{hint}") from error
    flat = [flatten(spec) for spec in specs]
    for path, value in overrides:
        if not any(path in fields and fields[path] == json.loads(value) for fields in flat):
            others = tuple(pair for pair in overrides if pair != (path, value))
            if {*specs} == {*_specs(tables, replace(settings, overrides=others))}:
                names = " ".join(table.key for table in tables)
                raise UserError(f"--set {path}={value}: no run of {names} would change")
    for table in tables:
        before, after = _find_same_rows(table, settings), _find_same_rows(table, changed)
        if same := sorted(after - before):
            one, two = same[0]
            raise UserError(f"--set {said} makes the rows {one} and {two} of {table.key} the same: choose with --rows")
    return changed


def _find_same_rows(table: Table, settings: Settings) -> set[tuple[str, str]]:
    """Pairs of rows that train the same runs in some column."""
    rows: dict[tuple[str, Pair, tuple[RunSpec, ...]], set[str]] = {}
    for (part, row, pair), specs in resolve(table, settings).cells.items() if table.kind.trains else ():
        rows.setdefault((part, pair, specs), set()).add(row)
    return {two for found in rows.values() for two in combinations(sorted(found), 2)}


def _check_own_rows(table: Table, settings: Settings) -> None:
    """Refuse what the runs of a user's own table cannot be, with the row."""
    resolved = resolve(table, settings)
    for (_, row, _), specs in resolved.cells.items():
        try:
            check_methods(specs[:1])
        except UserError as error:
            raise UserError(f"row {row}: {error}") from error
    _check_networks([spec.student for spec in resolved.teachers], "assistant")


def check_methods(specs: Iterable[RunSpec]) -> None:
    """Refuse numbers that a method or a rule does not take, and peers that are no network."""
    from trainables.methods import make
    from trainables.rules import rule_of

    specs = list(specs)
    for method, params in dict.fromkeys((spec.method, spec.params) for spec in specs):
        make(method, params)
    for spec in {spec.temperature: spec for spec in specs if spec.teacher is not None}.values():
        rule_of(spec)
    _check_networks([spec.peer for spec in specs if spec.peer is not None], "peer")


def _specs(tables: Sequence[Table], settings: Settings) -> list[RunSpec]:
    """All runs of the tables, each once."""
    return list(dict.fromkeys(spec for table in tables for spec in resolve(table, settings).runs))

"""What was asked for, checked as far as it can be without torch: tables, settings, given teachers."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from analysis import paper
from analysis.layout import Table, check_rows, chosen_pairs, settings_for, taught_parts
from analysis.settings import Settings, parse_pair
from sweeps.arguments import Options
from sweeps.givens import Given, find
from sweeps.plan import make_plan
from trainables.data.facts import check_name
from trainables.errors import UserError
from trainables.recipes import RECIPES
from trainables.spec import RunSpec, flatten

OPTIONS = {
    "epochs": "--epochs",
    "batch_size": "--batch-size",
    "precision": "--precision",
    "train_fraction": "--train-fraction",
}


@dataclass(frozen=True)
class Request:
    """Tables and the settings that they are trained by. given: the teachers that were given."""

    tables: tuple[Table, ...]
    settings: Settings
    given: tuple[Given, ...]


def make_request(options: Options) -> Request:
    """The request of a command line; refuses what does not exist or contradicts itself."""
    tables = tuple({table.key: table for table in map(paper.find, options.tables)}.values())
    _check_dataset(options.dataset)
    _check_pairs(options.pairs)
    settings = Settings(
        dataset=options.dataset,
        pairs=tuple(dict.fromkeys(options.pairs)),
        rows=tuple(dict.fromkeys(options.rows)),
        seeds=options.seeds,
        epochs=options.epochs,
        train_fraction=options.train_fraction,
        batch_size=options.batch_size,
        precision=options.precision,
    )
    _check_rows(tables, settings)
    if options.dataset == "imagefolder":
        settings = replace(settings, data=_fingerprint(options))
    given = find(options.teachers, teachers(tables, settings)) if options.teachers else ()
    settings = replace(settings, teachers=tuple((teacher.network, teacher.sha256) for teacher in given))
    _specs(tables, settings)
    if options.overrides:
        settings = _overridden(tables, settings, options.overrides)
    return Request(tables, settings, given)


def teachers(tables: Iterable[Table], settings: Settings) -> list[str]:
    """The networks that teach in these tables."""
    pairs = [
        pair
        for table in tables
        for part in taught_parts(table, settings)
        for pair in chosen_pairs(part, settings_for(table, settings))
    ]
    return list(dict.fromkeys(pair.teacher for pair in pairs))


def closest(name: str, known: Iterable[str]) -> str:
    """`: did you mean X?` where something is near, else nothing."""
    by_lower = {word.lower(): word for word in known}
    near = difflib.get_close_matches(name.lower(), by_lower, 3)
    return f": did you mean {' or '.join(by_lower[word] for word in near)}?" if near else ""


def _check_dataset(name: str) -> None:
    try:
        check_name(name)
    except UserError as error:
        hint = closest(name, (*RECIPES, "imagefolder"))
        raise UserError(f"unknown data set {name!r}{hint} (--list shows all)" if hint else str(error)) from error


def _check_pairs(pairs: Sequence[str]) -> None:
    """Networks that no recipe names are looked up among all, which needs torch."""
    asked = [network for text in pairs for pair in [parse_pair(text)] for network in (pair.teacher, pair.student)]
    usual = {name for recipe in RECIPES.values() for pair in recipe.pairs for name in (pair.teacher, pair.student)}
    if all(network in usual for network in asked):
        return
    from trainables.models import names

    for network in asked:
        if network not in names():
            hint = closest(network, names()) or f": use one of {', '.join(names())}"
            raise UserError(f"unknown network {network!r} in --pairs{hint}")


def _check_rows(tables: Sequence[Table], settings: Settings) -> None:
    known = {row.key for table in tables for part in table.parts for row in part.rows}
    for row in settings.rows:
        if row not in known and (hint := closest(row, known)):
            raise UserError(f"unknown row {row!r}{hint} (--list shows all rows)")
    check_rows(list(tables), settings)


def _fingerprint(options: Options) -> str:
    """What names a user's own images in a run's identity."""
    from trainables.data import load

    dataset = load(options.dataset, options.data_dir, train_fraction=options.train_fraction, download=options.download)
    return dataset.fingerprint[:16]


def _overridden(tables: Sequence[Table], settings: Settings, overrides: Sequence[tuple[str, str]]) -> Settings:
    """The settings with --set; refuses one that the runs cannot have or that reaches none of them."""
    said = " ".join(f"{path}={value}" for path, value in overrides)
    for path, _ in overrides:
        if path in OPTIONS:
            raise UserError(f"--set {path}: use {OPTIONS[path]}, which also holds for the teachers")
    try:
        settings = replace(settings, overrides=tuple(overrides))
        specs = _specs(tables, settings)
    except UserError as error:
        hint = "; --rows can leave out rows without such a rule" if "temperature.rule" in dict(overrides) else ""
        raise UserError(f"--set {said}: {error}{hint}") from error
    flat = [flatten(spec) for spec in specs]
    for path, value in overrides:
        if not any(path in fields and fields[path] == json.loads(value) for fields in flat):
            raise UserError(f"--set {path}={value}: no run of {' '.join(table.key for table in tables)} would change")
    return settings


def _specs(tables: Sequence[Table], settings: Settings) -> list[RunSpec]:
    return list(make_plan(tables, settings, {}, pack=None).all_runs.values())

"""Draw a table or figure of the paper: `python analysis/figures.py table5`.

With --weights, a table of accuracies shows what the rules of its rows give to each training image.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from trainables.environment import check_environment

    check_environment(__file__)


from analysis.figure import from_weights
from analysis.figure.charts import form_of, write_figure
from analysis.figure.observations import Folders, digest, given
from analysis.figure.style import render_figure
from analysis.record.ledger import Ledger
from analysis.record.settings import Settings
from analysis.table.command_line import ledger_path, parse_override, settings_of_sweep, write
from analysis.table.layout import Table
from analysis.table.resolved import ResolvedTable, check_rows, resolve
from analysis.tables import add_table, find_table, load_chosen
from trainables import datasets
from trainables.commands import Parser, command_name, parse_path, run_command
from trainables.errors import UserError
from trainables.recipes import Pair
from trainables.spec import Temperature

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_OF_RULES = {"student": "student", "student-network": "student_network", "rows": "rows", "set": "overrides"}


def _add_arguments_of_weights(parser: argparse.ArgumentParser) -> None:
    """What the figures of weights and images need."""
    add = parser.add_argument_group("pictures of weights and images (figure4 to figure8; rules)").add_argument
    add("--data-dir", type=parse_path, metavar="DIR", help="folder of the images")
    add("--teachers", type=parse_path, metavar="DIR|FILE", help="weights of teachers that were given to the sweep")
    add("--dataset", metavar="NAME", help="without a sweep: the data set (default: the one of the paper's figure)")
    add("--weights", type=parse_path, metavar="FILE", help="show these weights as the teacher; needs no sweep")
    add("--network", metavar="NAME", help="with --weights: their network (default: the paper's first teacher)")
    add = parser.add_argument_group(
        "rules of a table's rows (any table of accuracies, for example temperatures, with --weights)",
        "what each rule gives to each training image: temperatures and factor over the energy, as picture and CSV",
    ).add_argument
    add("--student", type=parse_path, metavar="FILE", help="weights of a student, which some rules need")
    add("--student-network", metavar="NAME", help="its network (default: that of the first pair)")
    add("--rows", nargs="+", default=[], metavar="ROW", help="only these rows")
    add(
        "--set",
        dest="overrides",
        nargs="+",
        action="extend",
        type=parse_override,
        default=[],
        metavar="FIELD=VALUE",
        help="other numbers of the rules: T=2, temperature.tau=3",
    )


def _command(arguments: Sequence[str]) -> int:
    parser = Parser(
        prog=command_name("figures"),
        description="Draw a table or figure of the paper: from the ledger alone, or from weights and images.",
    )
    add_table(parser, "write this .png, .pdf or .svg (default: tables/TABLE.png and .pdf in the results)", parse_path)
    _add_arguments_of_weights(parser)
    options = parser.parse_args(arguments)
    table = find_table(options.table, options.results) if options.table else None
    if (table is None or table.kind.needs_weights or not options.weights) and (
        given_too := [f"--{name}" for name in _OF_RULES if vars(options)[_OF_RULES[name]]]
    ):
        raise UserError(f"{given_too[0]} is for rules: name a table of accuracies and a teacher's weights by --weights")
    if table is not None and table.kind.needs_weights:
        return _command_of_weights(table, options)
    if table is not None and options.weights:
        return _command_of_rules(table, options)
    grid = load_chosen(options)
    for path in _paths(options, grid.table.key):
        print(write_figure(grid, path))
    return 0


def _paths(options: argparse.Namespace, name: str) -> list[Path]:
    return [options.out] if options.out else [options.results / "tables" / f"{name}.{form}" for form in ("png", "pdf")]


def _command_of_weights(table: Table, options: argparse.Namespace) -> int:
    if options.out:
        form_of(options.out)
    figures = _figures_of_weights(table, options)
    if options.out and len(figures) > 1:
        raise UserError(f"--out {options.out}: there are {len(figures)} pictures, one a pair; leave it out")
    for name, figure in figures.items():
        for path in _paths(options, name):
            write(path, render_figure(figure, form_of(path), table.key))
            print(path)
    return 0


def _figures_of_weights(table: Table, options: argparse.Namespace) -> dict[str, Figure]:
    """The figures that the arguments ask for."""
    known = ledger_path(options.results).exists()
    file = options.weights or (None if known else options.teachers)
    if file is None and not known:
        raise UserError(
            f"there is no sweep in {options.results}: run {command_name('run')} {table.key} first, or name a teacher's "
            "weights with --weights FILE (figures 4, 5 and 8)"
        )
    if file is not None:
        return _of_file(table, file, options)
    with Ledger.open(ledger_path(options.results), readonly=True) as ledger:
        resolved = resolve(table, settings_of_sweep(ledger, table, options.sweep, options.results))
    settings = resolved.settings
    if options.dataset not in (None, settings.dataset):
        raise UserError(
            f"--dataset {options.dataset}: the sweep in {options.results} is on {settings.dataset}; choose another "
            "with --sweep, or other --results"
        )
    teachers = _by_content(options.teachers, {sha256 for _, sha256 in settings.teachers})
    found = from_weights.figures(resolved, Folders(options.results, options.data_dir, teachers))
    if not found:
        raise UserError(f"no row of {table.key} was asked for in that sweep: choose another by --sweep")
    return found


def _of_file(table: Table, file: Path, options: argparse.Namespace) -> dict[str, Figure]:
    """One figure of weights that no run here has trained."""
    if any(part.rows for part in table.parts):
        raise UserError(f"{table.key} shows students, which a sweep must train: {command_name('run')} {table.key}")
    resolved = resolve(table, _settings_of_images(table, options))
    network = options.network or resolved.parts[0].pairs[0].teacher
    return from_weights.figures(resolved, Folders(options.results, options.data_dir, teacher=given(network, file)))


def _settings_of_images(table: Table, options: argparse.Namespace) -> Settings:
    dataset = options.dataset or table.dataset
    datasets.find(dataset)
    settings = Settings(dataset=dataset)
    if datasets.needs_fingerprint(dataset, options.data_dir):
        settings = replace(settings, data=datasets.load(dataset, options.data_dir).fingerprint[:16])
    return settings


def _command_of_rules(table: Table, options: argparse.Namespace) -> int:
    if options.out:
        form_of(options.out)
    if not table.kind.compares_accuracies:
        raise UserError(f"{table.key} is no table of accuracies: --weights shows the rules of such a table")
    settings = _settings_of_images(table, options)
    first = table.parts[0].pairs(settings.recipe)[0]
    pair = Pair(options.network or first.teacher, options.student_network or first.student)
    usual = replace(settings, pairs=(pair.key,), rows=tuple(options.rows), seeds=1)
    check_rows([table], usual)
    resolved = resolve(table, replace(usual, overrides=tuple(options.overrides)))
    if options.overrides and _list_shown(resolved) == _list_shown(resolve(table, usual)):
        said = " ".join(f"{path}={value}" for path, value in options.overrides)
        raise UserError(f"--set {said}: no rule of {', '.join(options.rows) or table.key} would change")
    student = given(pair.student, options.student) if options.student else None
    figure, numbers, lacking = from_weights.rules(
        resolved, given(pair.teacher, options.weights), student, Folders(options.results, options.data_dir)
    )
    if lacking:
        print(f"left out, as all of it depends on the student (--student FILE): {', '.join(lacking)}", file=sys.stderr)
    paths = _paths(options, f"{table.key}-rules")
    for path in paths:
        write(path, render_figure(figure, form_of(path), table.key))
        print(path)
    path = paths[0].with_suffix(".csv")
    write(path, numbers.encode())
    print(path)
    return 0


def _list_shown(resolved: ResolvedTable) -> set[tuple[Temperature | None, str, str]]:
    """What a picture of rules shows of the runs."""
    return {(run.temperature, run.membership, run.augmentation) for runs in resolved.cells.values() for run in runs}


def _by_content(place: Path | None, wanted: set[str]) -> tuple[tuple[str, str], ...]:
    """The files, among those in a folder or the one given, whose SHA-256 a sweep has noted."""
    if place is None or not wanted:
        return ()
    files = sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]
    found = {sha256: str(path) for path in files if (sha256 := digest(path)) in wanted}
    return tuple(found.items())


def main(arguments: Sequence[str] | None = None) -> int:
    return run_command(_command, arguments)


if __name__ == "__main__":
    sys.exit(main())

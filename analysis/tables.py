"""Draw a table from the ledger alone: `python analysis/tables.py table5 --format latex`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from trainables.environment import check_environment

    check_environment(__file__)

from analysis import paper
from analysis.record.ledger import Ledger
from analysis.table.command_line import add_arguments, ledger_path, parse_text_path, settings_of_sweep, write
from analysis.table.costs import COLUMNS, OF_NETWORKS, with_costs
from analysis.table.grid import Grid, make_grid
from analysis.table.latex import CAPTIONS, SPREADS, LatexStyle
from analysis.table.layout import Table
from analysis.table.render import FORMATS, TIDY, render
from analysis.table.resolved import resolve
from analysis.table.sheet import Sheet, make_sheet
from trainables.commands import Parser, as_called, command_name, run_command
from trainables.errors import UserError

EXTENSIONS = {"latex": "tex", "markdown": "md", "csv": "csv", "html": "html"}


def find_table(name: str, results: Path) -> Table:
    """The table of that name; a user's own as the latest sweep that asked for it defined it."""
    if name.lower() in (*paper.tables(), paper.ABLATION) or not ledger_path(results).exists():
        return paper.find(name)
    with Ledger.open(ledger_path(results), readonly=True) as ledger:
        return paper.find(name, ledger.settings_of(name))


def load_grid(name: str, results: Path, *, sweep: int | None = None, metric: str = "best", alike: bool = False) -> Grid:
    """A table's numbers from a results folder, by the settings of its latest sweep or of the `sweep`-th (from 1).
    alike: see `make_grid`."""
    table = find_table(name, results)
    with Ledger.open(ledger_path(results), readonly=True) as ledger:
        settings = settings_of_sweep(ledger, table, sweep, results)
        table = paper.find(name, settings)
        if not any(part.rows for part in table.parts):
            raise UserError(f"{table.key} has no numbers: {command_name('figures')} {table.key} draws it")
        resolved = resolve(table, settings)
        if not resolved.rows:
            raise UserError(
                f"that sweep asked for no row of {table.key}, only for {', '.join(settings.rows)}: see --list"
            )
        return make_grid(resolved, ledger.entries(resolved.run_ids), metric, alike=alike)


def write_all(grid: Grid, sheet: Sheet, folder: Path) -> list[Path]:
    """The table as LaTeX, Markdown, CSV, HTML, and its picture as PNG and PDF. The paths of the files.

    A picture of weights and images is not drawn here: `from_weights.write_figure_from_runs` draws it.
    """
    from analysis.figure.charts import write_figure

    table, paths = grid.resolved.table, []
    for form, extension in EXTENSIONS.items():
        path = folder / f"{table.key}.{extension}"
        write(path, render(grid, form, sheet).encode())
        paths.append(path)
    pictures = ("png", "pdf") if table.kind.trains else ()
    if table.kind.needs_weights:
        return paths
    return paths + [write_figure(grid, folder / f"{table.key}.{extension}") for extension in pictures]


def _list(results: Path) -> str:
    """The tables there are, and the sweeps that the ledger knows."""
    lines = [f"{key:<12} {table.title}" for key, table in paper.tables().items()]
    if ledger_path(results).exists():
        with Ledger.open(ledger_path(results), readonly=True) as ledger:
            # Of a command that was given again, the latest: both show the same.
            latest = {(sweep.tables, sweep.settings, sweep.command): n for n, sweep in enumerate(ledger.sweeps(), 1)}
            lines += [
                f"sweep {number}  {sweep.asked[:19]}  {' '.join(sweep.tables)}  {as_called(sweep.command)}"
                for number, sweep in enumerate(ledger.sweeps(), 1)
                if number in latest.values()
            ]
    return "\n".join(lines) + "\n"


def add_table(parser: argparse.ArgumentParser, out: str, path: Callable[[str], Path]) -> None:
    """What tables.py and figures.py have in common. out, path: words and type of --out."""
    parser.add_argument("table", nargs="?", help=f"one of {', '.join(paper.tables())}")
    add_arguments(parser)
    parser.add_argument("--out", type=path, help=out)


def load_chosen(options: argparse.Namespace, *, alike: bool = False) -> Grid:
    """The grid that these arguments name; refuses one without entries. alike: see `make_grid`."""
    if options.table is None:
        raise UserError(f"name a table: one of {', '.join(paper.tables())}")
    grid = load_grid(options.table, options.results, sweep=options.sweep, metric=options.metric, alike=alike)
    if not grid.values:
        raise UserError(f"no row of {options.table} was asked for in that sweep: choose another by --sweep")
    return grid


def _command(arguments: Sequence[str]) -> int:
    parser = Parser(prog=command_name("tables"), description="Draw a table of the paper from the ledger alone.")
    parser.add_argument(
        "--format", default="text", choices=FORMATS, metavar="FORMAT", help=f"{', '.join(FORMATS)} (default: text)"
    )
    parser.add_argument("--columns", nargs="+", default=(), choices=COLUMNS, metavar="NUMBER", help=OF_NETWORKS)
    parser.add_argument(
        "--alike", action="store_true", help="mark also what a paired t-test does not tell from the best"
    )
    style = parser.add_argument_group("with --format latex")
    style.add_argument("--caption", choices=CAPTIONS, help="short (default; the rest as comments) or long")
    style.add_argument("--spread", choices=SPREADS, help="the standard deviation: pm (±; default), subscript or off")
    style.add_argument("--second", action="store_true", default=None, help="underline the second best")
    style.add_argument("--siunitx", action="store_true", default=None, help="numbers in S columns of siunitx")
    parser.add_argument("--list", action="store_true", help="list the tables and the sweeps of the ledger")
    add_table(parser, "write this file (default: print)", parse_text_path)
    options = parser.parse_args(arguments)
    if options.list:
        sys.stdout.write(_list(options.results))
        return 0
    if options.format in TIDY and (given := [name for name in ("columns", "alike") if getattr(options, name)]):
        raise UserError(f"--{given[0]}: {options.format} has a line for each number; use another --format")
    chosen = {field.name: value for field in fields(LatexStyle) if (value := getattr(options, field.name)) is not None}
    if chosen and options.format != "latex":
        raise UserError(f"--{next(iter(chosen))} is of LaTeX: add --format latex")
    grid = load_chosen(options, alike=options.alike)
    sheet = with_costs(make_sheet(grid), grid, options.columns) if options.columns else None
    content = render(grid, options.format, sheet, LatexStyle(**chosen))
    if options.out is None:
        sys.stdout.write(content)
    else:
        write(options.out, content.encode())
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    return run_command(_command, arguments)


if __name__ == "__main__":
    sys.exit(main())

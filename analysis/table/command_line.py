"""What the commands have in common: arguments, the ledger of a results folder, the settings of a sweep, files."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from analysis.record.ledger import Ledger
from analysis.record.settings import LISTS, SHORT, Settings, parse_value, split_field
from analysis.table.grid import METRICS
from analysis.table.layout import Table
from trainables.commands import command_name, parse_path
from trainables.console import write_bytes
from trainables.errors import UserError, reason_of
from trainables.storage.runs import write_atomically

STANDARD_OUTPUT = Path("-")
NO_TEXT = (".bz2", ".gz", ".parquet", ".pdf", ".png", ".pq", ".svg", ".xlsx", ".xz", ".zip", ".zst")
"""Endings of files that other programs do not read as the text that is in them."""
SQLITE = b"SQLite format 3\0"
"""How the file of a database begins."""


def add_arguments(parser: argparse.ArgumentParser, *, sweep: bool = True) -> None:
    """The options of every command that shows numbers of the ledger."""
    parser.add_argument(
        "--results", type=parse_path, default=Path("results"), help="folder of the ledger (default: results)"
    )
    parser.add_argument(
        "--metric", default="best", choices=METRICS, help="best (test epoch; the default, as in the paper) or last"
    )
    if sweep:
        number = f"with the settings of the K-th sweep (see {command_name('tables')} --list)"
        parser.add_argument("--sweep", type=int, metavar="K", help=number)
    parser.add_argument("--debug", action="store_true", help="show where an error comes from")


def parse_text_path(text: str) -> Path:
    """The path of a file of text; for `add_argument`."""
    path = parse_path(text)
    if path.suffix.lower() in NO_TEXT:
        raise argparse.ArgumentTypeError(
            f"{text} will be text, and {path.suffix} says otherwise: choose another ending"
        )
    return path


def parse_override(text: str) -> tuple[str, str]:
    """FIELD=VALUE as a field and its JSON text. A value with commas is a list, and so is any of a field that holds a
    list."""
    field, equals, value = split_field(text)
    if not (field and equals and value):
        raise argparse.ArgumentTypeError(f"{text!r} should be FIELD=VALUE, for example mixing.rate=0.4")
    field = SHORT.get(field, field)
    if ("," in value or field in LISTS) and not value.startswith("["):
        value = f"[{value.strip(',')}]"
    return field, json.dumps(parse_value(value), separators=(",", ":"))


def ledger_path(results: Path) -> Path:
    return results / "ledger.sqlite"


def settings_of_sweep(ledger: Ledger, table: Table, sweep: int | None, results: Path) -> Settings:
    """Those of the table's latest sweep, or of the `sweep`-th (from 1)."""
    settings = ledger.settings_of(table.key) if sweep is None else _settings_of(ledger, sweep)
    if settings is None:
        raise UserError(f"no sweep was asked for in {results}: run {command_name('run')} {table.key} first")
    return settings if table.kind.compares_accuracies else replace(settings, vary=())


def _settings_of(ledger: Ledger, number: int) -> Settings:
    sweeps = ledger.sweeps()
    if not 1 <= number <= len(sweeps):
        raise UserError(f"there is no sweep {number}: the ledger has 1 to {len(sweeps)} (see --list)")
    return sweeps[number - 1].settings


def check_output(path: Path) -> None:
    """Refuse to write over a database: a ledger, or a search's study."""
    if not path.is_file():
        return
    with open(path, "rb") as file:
        if file.read(len(SQLITE)) == SQLITE:
            raise UserError(f"{path} is a database, and stays as it is: name another file to write")


def write(path: Path, content: bytes) -> None:
    """Write what a command was asked for; STANDARD_OUTPUT means what it says. A device or a pipe is written into and
    stays what it is."""
    if path == STANDARD_OUTPUT:
        write_bytes(content)
        return
    try:
        check_output(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not (path.is_file() or path.is_dir()):
            path.write_bytes(content)
        else:
            write_atomically(path, content)
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"cannot write {path}: {path.parent} is no folder") from error
    except OSError as error:
        raise UserError(f"cannot write {path}: {reason_of(error)}") from error

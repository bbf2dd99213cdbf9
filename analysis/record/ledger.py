"""The ledger: every finished run, one row each, in one SQLite file; and every sweep that was asked for.

Journal mode DELETE, not WAL: WAL shares memory between processes, which network file systems lack, and keeps committed
rows in a second file beside the ledger. Here a transaction is one short row, so readers hardly ever wait, and between
transactions the one file is the whole ledger: copying it copies everything. `synchronous=EXTRA` is FULL that also
flushes the folder, without which this mode may undo the last transaction when the power fails.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from analysis.record.beside import fetch_undisturbed, read_undisturbed
from analysis.record.entry import NUMBERS, Entry, entry_of, read_entry
from analysis.record.ledger_file import (
    APPLICATION_ID,
    SCHEMA,
    check_file,
    check_identity,
    check_whole,
    connect,
    say_missing,
    translate_errors,
)
from analysis.record.settings import Settings
from analysis.record.settings import from_json as settings_from_json
from trainables.errors import NewerError, UserError, reason_of
from trainables.storage.runs import RESULT_SCHEMA

_SPEC_COLUMNS = {
    "dataset": "TEXT",
    "teacher": "TEXT",
    "student": "TEXT",
    "method": "TEXT",
    "treatment": "TEXT",
    "seed": "INTEGER",
    "epochs_asked": "INTEGER",
    "lr": "REAL",
    "batch_size": "INTEGER",
    "precision": "TEXT",
    "train_fraction": "REAL",
    "temperature_rule": "TEXT",
    "mixing_operation": "TEXT",
    "mixing_selection": "TEXT",
    "mixing_rate": "REAL",
    "timing": "INTEGER",
}
_JSON_COLUMNS = ("provenance", "spec", "epoch_seconds", "curve", "shares")
_LATER = {"runs": {"shares"}, "sweeps": {"data_dir", "teachers"}}
"""By table, the columns that ledgers of earlier schemas may lack."""
_COLUMNS = {
    "run_id": "TEXT NOT NULL PRIMARY KEY",
    **dict.fromkeys(("name", "status", "reason"), "TEXT"),
    **_SPEC_COLUMNS,
    **{name: "INTEGER" if limits.kind is int else "REAL" for name, limits in NUMBERS.items()},
    **dict.fromkeys(("weights_sha256", "teacher_sha256", *_JSON_COLUMNS), "TEXT"),
}
_TOGETHER = 200
"""Rows that `recorded` reads at once: few enough to come between two transactions."""
_BRIEF = [name for name in _COLUMNS if name not in ("curve", "shares")]

_CREATE = f"""
CREATE TABLE runs ({", ".join(f"{name} {kind}" for name, kind in _COLUMNS.items())});
CREATE TABLE sweeps (
    asked TEXT, tables TEXT, settings TEXT, command TEXT, data_dir TEXT, teachers TEXT,
    UNIQUE (asked, tables, settings, command)
);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA};
"""
_INSERT = f"""
INSERT INTO runs ({", ".join(_COLUMNS)}) VALUES ({", ".join("?" * len(_COLUMNS))})
ON CONFLICT (run_id) DO UPDATE SET {", ".join(f"{c} = excluded.{c}" for c in _COLUMNS if c != "run_id")}
WHERE runs.status = 'failed'
"""
_SWEEP = ("asked", "tables", "settings", "command", "data_dir", "teachers")
_REMEMBER = f"INSERT OR IGNORE INTO sweeps ({', '.join(_SWEEP)}) VALUES (?, ?, ?, ?, ?, ?)"


@dataclass(frozen=True)
class Sweep:
    """What was asked for, and when (UTC, ISO 8601)."""

    asked: str
    tables: tuple[str, ...]
    settings: Settings
    command: str
    data_dir: str = ""
    """The folder of the images, where one was named."""
    teachers: str = ""
    """The folder or file of given teachers; ledgers of an earlier schema have neither."""

    @property
    def row(self) -> tuple[str, ...]:
        """As it is stored."""
        asked = (self.asked, _json(list(self.tables)), self.settings.as_json(), _storable(self.command))
        return (*asked, _storable(self.data_dir), _storable(self.teachers))


@dataclass(frozen=True)
class Merged:
    """What a merge did. conflicts: runs done in both ledgers with different weights, of which ours were kept."""

    added: int
    replaced: int
    kept: int
    conflicts: int
    sweeps: int


def _row(entry: Entry) -> tuple[Any, ...]:
    """The values of _COLUMNS. Only `spec` is read back; its fields have columns for those who ask in SQL."""
    spec, mixing = entry.spec, entry.spec.mixing
    values: dict[str, Any] = {
        **{name: getattr(spec, name) for name in _SPEC_COLUMNS if hasattr(spec, name)},
        **{name: getattr(entry, name) for name in _COLUMNS if hasattr(entry, name)},
        "reason": entry.reason and _storable(entry.reason),
        "epochs_asked": spec.epochs,
        "temperature_rule": None if spec.temperature is None else spec.temperature.rule,
        "mixing_operation": mixing and mixing.operation,
        "mixing_selection": mixing and mixing.selection,
        "mixing_rate": mixing and mixing.rate,
        "provenance": _json(entry.provenance),
        "spec": spec.canonical(),
        "epoch_seconds": _json(entry.epoch_seconds),
        "curve": _json(entry.curve),
        "shares": _json(entry.shares),
    }
    return tuple(values[name] for name in _COLUMNS)


def _storable(text: str) -> str:
    """`text` without what UTF-8 cannot write, as a file name in another encoding may bring into a message."""
    return text.encode(errors="replace").decode()


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _result(row: sqlite3.Row) -> dict[str, Any]:
    """The result that was recorded as `row`, as far as its JSON can be read."""
    result: dict[str, Any] = {"schema": RESULT_SCHEMA} | dict.fromkeys(_LATER["runs"]) | dict(row)
    for name in [name for name in _JSON_COLUMNS if name in result]:
        try:
            result[name] = [] if name in _LATER["runs"] and result[name] is None else json.loads(result[name])
        except (TypeError, ValueError, RecursionError) as error:
            raise UserError(f"its {name} is not JSON ({error})") from error
    return result


class Ledger:
    """One open ledger. Rows are checked when they are recorded or merged, not again when they are read."""

    def __init__(self, path: Path, connection: sqlite3.Connection, *, beside: bool = False) -> None:
        self.path = path
        self._connection, self._beside = connection, beside

    @staticmethod
    def open(path: Path, *, readonly: bool = False, beside: bool = False) -> Ledger:
        """The ledger at `path`; made if there is none, unless `readonly`. A file that is no ledger stays untouched.

        beside: readonly, without a lock, beside a sweep that must not wait: what a killed writer began is not undone
        either, but is an error until somebody else has undone it.
        """
        readonly = readonly or beside
        try:
            if not readonly and not path.exists():
                _make(path)
            check_file(path)
        except FileNotFoundError:
            raise UserError(say_missing(path)) from None
        except NotADirectoryError:
            raise UserError(f"cannot open the ledger {path}: {path.parent} is no folder; name one") from None
        except OSError as error:
            raise UserError(f"cannot open the ledger {path}: {reason_of(error)}") from error
        with translate_errors(path), contextlib.ExitStack() as unless_opened:
            connection = connect(path, beside=beside)
            unless_opened.callback(connection.close)
            if beside:
                read_undisturbed(path, lambda: check_identity(path, connection))
            else:
                check_identity(path, connection)
            if readonly:
                connection.execute("PRAGMA query_only = ON")
            else:
                check_whole(path, connection)
                _try_writing(connection)
            unless_opened.pop_all()
        return Ledger(path, connection, beside=beside)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def record(self, result: dict[str, Any]) -> bool:
        """Store a run's result in one transaction. A done run is never replaced (False then); a failed one is."""
        try:
            row = _row(entry_of(result))
        except UserError as error:
            run_id = result.get("run_id") if isinstance(result, dict) else "?"
            raise UserError(f"run {run_id} cannot be recorded: {error}") from error
        with self._transaction():
            return self._connection.execute(_INSERT, row).rowcount > 0

    def get(self, run_id: str) -> Entry | None:
        return self.entries([run_id]).get(run_id)

    def entries(self, run_ids: Iterable[str]) -> dict[str, Entry]:
        """Those of the runs that are recorded, done or failed, in the order asked for."""
        asked = list(dict.fromkeys(run_ids))
        where = "WHERE run_id IN (SELECT value FROM json_each(?))"
        found = {entry.run_id: entry for entry in self._read(where, [_json(asked)])}
        return {run_id: found[run_id] for run_id in asked if run_id in found}

    def all(self) -> list[Entry]:
        """Every run, in the order in which they were first recorded."""
        return list(self._read("ORDER BY rowid"))

    def recorded(self, after: int, failed: Iterable[str] = ()) -> list[Entry]:
        """The runs that were recorded since there were `after`, and those of `failed` as they are now. Without curves
        and shares, which are most of a ledger. A run that is recorded again keeps its row."""
        where = "WHERE rowid <= ? AND run_id IN (SELECT value FROM json_each(?)) ORDER BY rowid"
        found = list(self._read(where, [after, _json(list(failed))], columns=", ".join(_BRIEF)))
        rows = self._fetch("SELECT max(rowid) FROM runs")[0][0] or 0
        for first in range(after, rows, _TOGETHER):
            bounds = [first, min(first + _TOGETHER, rows)]
            found += self._read("WHERE rowid > ? AND rowid <= ? ORDER BY rowid", bounds, columns=", ".join(_BRIEF))
        return found

    def count(self) -> int:
        """How many runs are recorded."""
        return int(self._fetch("SELECT count(*) FROM runs")[0][0])

    def newest(self, most: int) -> list[Entry]:
        """The runs that are done, those recorded last first, without curves and shares."""
        where = f"WHERE status = 'done' ORDER BY rowid DESC LIMIT {most:d}"
        return list(self._read(where, columns=", ".join(_BRIEF)))

    def remember(
        self, tables: Sequence[str], settings: Settings, command: str, data_dir: str = "", teachers: str = ""
    ) -> None:
        """Note a sweep that was asked for, with the time."""
        asked = datetime.now(UTC).isoformat(timespec="microseconds")
        with self._transaction():
            self._connection.execute(_REMEMBER, Sweep(asked, tuple(tables), settings, command, data_dir, teachers).row)

    def sweeps(self) -> list[Sweep]:
        """Every sweep that was asked for, the latest last."""
        rows = self._fetch("SELECT * FROM sweeps ORDER BY asked, rowid")
        return [
            self._sweep(**{name: value for name, value in row.items() if name in _SWEEP}) for row in map(dict, rows)
        ]

    def settings_of(self, table: str) -> Settings | None:
        """The settings of the latest sweep that named `table`, else of the latest of all."""
        sweeps = self.sweeps()
        named = [sweep for sweep in sweeps if table in sweep.tables]
        return (named or sweeps)[-1].settings if sweeps else None

    def merge(self, other: Ledger) -> Merged:
        """Take over the runs and sweeps of `other` in one transaction. Done beats failed; ours beats theirs."""
        with self._transaction():
            ours = dict(self._connection.execute("SELECT run_id, status FROM runs"))
            done = dict(self._connection.execute("SELECT run_id, weights_sha256 FROM runs WHERE status = 'done'"))
            added = replaced = kept = conflicts = 0
            for entry in other._read("ORDER BY rowid", make=entry_of):
                if ours.get(entry.run_id) == "done" or (entry.run_id in ours and not entry.done):
                    kept += 1
                    conflicts += entry.done and done[entry.run_id] != entry.weights_sha256
                    continue
                self._connection.execute(_INSERT, _row(entry))
                replaced += entry.run_id in ours
                added += entry.run_id not in ours
            before = self._connection.total_changes
            for sweep in other.sweeps():
                self._connection.execute(_REMEMBER, sweep.row)
            return Merged(added, replaced, kept, conflicts, self._connection.total_changes - before)

    def _read(
        self,
        where: str,
        values: Sequence[str | int] = (),
        make: Callable[[dict[str, Any]], Entry] = read_entry,
        columns: str = "*",
    ) -> Iterator[Entry]:
        for row in self._fetch(f"SELECT {columns} FROM runs {where}", values):
            try:
                yield make(_result(row))
            except NewerError as error:
                raise UserError(f"run {row[0]!r} of the ledger {self.path}: {error}") from error
            except (UserError, TypeError, ValueError, OverflowError) as error:
                raise UserError(
                    f"run {row[0]!r} of the ledger {self.path} is damaged: {error}; restore the ledger from a "
                    "copy, or delete that row of its table `runs` (sqlite3) and run the sweep again"
                ) from error

    def _fetch(self, query: str, values: Sequence[str | int] = ()) -> list[sqlite3.Row]:
        """All at once: a writer waits until the last row is fetched, not until it is read."""
        with translate_errors(self.path):
            if self._beside:
                return fetch_undisturbed(self.path, self._connection, query, values)
            return self._connection.execute(query, values).fetchall()

    def _sweep(
        self, asked: str, tables: str, settings: str, command: str, data_dir: str | None = "", teachers: str | None = ""
    ) -> Sweep:
        try:
            names = json.loads(tables)
            if not (isinstance(names, list) and all(isinstance(text, str) for text in (asked, command, *names))):
                raise ValueError("its time, tables and command are not all texts")
            return Sweep(asked, tuple(names), settings_from_json(settings), command, data_dir or "", teachers or "")
        except (UserError, TypeError, ValueError, RecursionError) as error:
            raise UserError(
                f"the sweep of {asked} in the ledger {self.path} is damaged: {error}; restore the ledger from a "
                "copy, or delete that row of its table `sweeps` (sqlite3)"
            ) from error

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """All of it or nothing, also when this process dies."""
        with translate_errors(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise


def _try_writing(connection: sqlite3.Connection) -> None:
    """Fail now and not after hours of training: write, and take it back. A ledger of an earlier schema gets the columns
    that it lacks; its rows stay as they are."""
    connection.execute("BEGIN IMMEDIATE")
    known = {table: {name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")} for table in _LATER}
    missing = [(table, name) for table, later in _LATER.items() for name in later - known[table]]
    for table, name in missing:
        connection.execute(f"ALTER TABLE {table} ADD COLUMN {name} TEXT")
    connection.execute(f"PRAGMA user_version = {SCHEMA}")
    connection.execute("COMMIT" if missing else "ROLLBACK")


def _make(path: Path) -> None:
    """An empty ledger: made beside its place and then linked to it, so that there is never half a one."""
    if not path.parent.is_dir():
        raise UserError(say_missing(path))
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.unlink(missing_ok=True)
        with (
            translate_errors(path),
            contextlib.closing(sqlite3.connect(temporary, isolation_level=None)) as connection,
        ):
            connection.executescript(_CREATE)
        try:
            os.link(temporary, path)
        except FileExistsError:
            return
        except OSError:
            os.rename(temporary, path)  # a file system without hard links
    finally:
        temporary.unlink(missing_ok=True)

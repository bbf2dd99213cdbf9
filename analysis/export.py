"""The ledger for other programs: a pandas frame, CSV, Parquet; and the merge of two ledgers.

python analysis/export.py --results DIR --csv FILE
python analysis/export.py --results DIR --parquet FILE
python analysis/export.py --results DIR --merge OTHER.sqlite
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pandas as pd

from analysis.record.entry import NUMBERS, Entry
from analysis.record.ledger import Ledger
from trainables.commands import Parser, run_command
from trainables.errors import UserError, reason_of
from trainables.shares import FIELDS, means
from trainables.spec import flatten
from trainables.storage.locks import hold_lock
from trainables.storage.runs import write_atomically

_FIRST = ("run_id", "name", "treatment", "status", "reason")
_LAST = ("weights_sha256", "teacher_sha256")
_LISTS = ("epoch_seconds", "curve", "shares")


def _cells(entry: Entry) -> dict[str, Any]:
    spec = entry.spec
    numbers = {"epochs_finished" if name == "epochs" else name: getattr(entry, name) for name in NUMBERS}
    return {
        **dict(zip(_FIRST, (entry.run_id, spec.name, spec.treatment, entry.status, entry.reason), strict=True)),
        **flatten(spec),
        **numbers,
        **{f"share_{name}": share for name, share in zip(FIELDS, means(entry.shares), strict=True)},
        **{name: getattr(entry, name) for name in _LAST},
        **{f"provenance.{name}": _scalar(value) for name, value in entry.provenance.items()},
        "epoch_seconds": list(entry.epoch_seconds),
        "curve": [list(row) for row in entry.curve],
        "shares": [list(row) for row in entry.shares],
    }


def _scalar(value: Any) -> Any:
    return value if value is None or isinstance(value, (str, int, float)) else json.dumps(value)


def _uniform(column: pd.Series) -> pd.Series:
    """Text where the values are of several types, so that every format can hold them."""
    kinds = {type(value) for value in column.dropna()}
    return column.map(str, na_action="ignore") if len(kinds) > 1 and not kinds <= {int, float} else column


def to_frame(entries: Iterable[Entry]) -> pd.DataFrame:
    """One row a run: every field of the spec under its dotted name, the numbers, `provenance.*`.

    `epochs` is what the spec asks for, `epochs_finished` what was trained. `share_low`, `share_high`, `share_mixed`:
    the share of the training images that had low or high energy or were mixed, the mean over the epochs. Lists stay
    lists (milestones, temperature.values, epoch_seconds, curve, shares).
    """
    rows = [_cells(entry) for entry in entries]
    frame = pd.DataFrame(rows, columns=_ordered(dict.fromkeys(name for row in rows for name in row)))
    for name in frame.columns:
        if name.startswith("provenance."):
            frame[name] = _uniform(frame[name])
    return frame


def _ordered(names: Collection[str]) -> list[str]:
    """The same order whichever run comes first: a method's own numbers behind its name, lists at the end."""
    own = [name for name in names if not name.startswith(("params.", "provenance.")) and name not in _LISTS]
    behind = own.index("method") + 1 if own else 0
    numbers = sorted(name for name in names if name.startswith("params."))
    provenance = sorted(name for name in names if name.startswith("provenance."))
    return [*(own[:behind] or _FIRST), *numbers, *own[behind:], *provenance, *_LISTS]


def csv_bytes(frame: pd.DataFrame) -> bytes:
    """UTF-8, lists as JSON."""
    lists = frame.map(lambda value: json.dumps(value) if isinstance(value, list) else value)
    text: str = lists.to_csv(index=False, lineterminator="\n")
    return text.encode()


def parquet_bytes(frame: pd.DataFrame) -> bytes:
    return frame.to_parquet(index=False)


def _write(path: Path, content: bytes) -> None:
    try:
        write_atomically(path, content)
    except OSError as error:
        raise UserError(f"cannot write {path}: {reason_of(error)}") from error


def merge(results: Path, others: Sequence[Path]) -> None:
    """Take other ledgers over into that of `results`, which no sweep may be writing meanwhile."""
    with contextlib.ExitStack() as lock:
        try:
            results.mkdir(parents=True, exist_ok=True)
            lock.enter_context(hold_lock(results / "lock", seconds=0))
        except OSError as error:
            raise UserError(f"cannot write the results folder {results}: {reason_of(error)}") from error
        except UserError as error:
            raise UserError(f"a sweep is running on {results}: merge when it has ended") from error
        ledger = lock.enter_context(Ledger.open(results / "ledger.sqlite"))
        for path in others:
            with Ledger.open(path, readonly=True) as other:
                done = ledger.merge(other)
            print(
                f"{path}: {done.added} runs added, {done.replaced} failed runs replaced, {done.kept} kept, "
                f"{done.sweeps} sweeps added; {done.conflicts} conflicts (done in both, other weights: ours kept)"
            )


def _command(given: Sequence[str]) -> int:
    parser = Parser(prog="export.py", description="Export a ledger to CSV or Parquet, or merge another one into it.")
    add = parser.add_argument
    add("--results", type=Path, default=Path("results"), help="the folder with ledger.sqlite")
    add("--csv", type=Path, metavar="FILE", help="write every run to FILE")
    add("--parquet", type=Path, metavar="FILE", help="write every run to FILE")
    another = "take over the runs and sweeps of another ledger.sqlite (may be repeated)"
    add("--merge", type=Path, metavar="LEDGER", action="append", default=[], help=another)
    add("--debug", action="store_true", help="show tracebacks")
    options = parser.parse_args(given)
    if not (options.csv or options.parquet or options.merge):
        raise UserError("nothing to do: give --csv FILE, --parquet FILE or --merge LEDGER")
    if options.merge:
        merge(options.results, options.merge)
    if options.csv or options.parquet:
        with Ledger.open(options.results / "ledger.sqlite", readonly=True) as ledger:
            frame = to_frame(ledger.all())
        for path, encode in ((options.csv, csv_bytes), (options.parquet, parquet_bytes)):
            if path:
                _write(path, encode(frame))
                print(f"{len(frame)} runs written to {path}")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    return run_command(_command, arguments)


if __name__ == "__main__":
    sys.exit(main())

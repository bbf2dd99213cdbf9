"""The ledger for other programs: a pandas frame, CSV, Parquet, trackers; and the merge of two ledgers.

python analysis/export.py --results DIR --csv FILE
python analysis/export.py --results DIR --parquet FILE
python analysis/export.py --results DIR --curves FILE
python analysis/export.py --results DIR --merge OTHER.sqlite
python analysis/export.py --results DIR --mlflow http://SERVER:5000
python analysis/export.py --results DIR --wandb
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TextIO

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from trainables.environment import check_environment

    check_environment(__file__)

import pandas as pd

from analysis import paper
from analysis.record.entry import CURVE_FIELDS, NUMBERS, Entry
from analysis.record.ledger import Ledger
from analysis.record.trackers import MLflow, Tags, Tracker, WeightsAndBiases, check_tracker
from analysis.table.asked import Asked, asked_for, kinds
from analysis.table.command_line import STANDARD_OUTPUT, parse_text_path, write
from trainables.commands import Parser, command_name, count, parse_path, run_command
from trainables.errors import UserError
from trainables.shares import FIELDS, means
from trainables.spec import flatten
from trainables.storage.locks import hold_driver_lock
from trainables.storage.runs import has_weights, read_file, read_result, run_dir, write_atomically

_FIRST = ("run_id", "name", "kind", "row", "treatment", "status", "reason")
OF_A_SWEEP = ("dataset", "teacher", "student", "seed", "epochs")
_LAST = ("weights_sha256", "teacher_sha256")
_LISTS = ("epoch_seconds", "curve", "shares")
NOTHING_ASKED = Asked()


def _cells(entry: Entry, kind: str, row: str | None) -> dict[str, Any]:
    spec = entry.spec
    first = (entry.run_id, entry.name, kind, row, spec.treatment, entry.status, entry.reason)
    numbers = {"epochs_finished" if name == "epochs" else name: getattr(entry, name) for name in NUMBERS}
    return {
        **dict(zip(_FIRST, first, strict=True)),
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


def to_frame(entries: Iterable[Entry], asked: Asked = NOTHING_ASKED) -> pd.DataFrame:
    """One row a run: every field of the spec under its dotted name, the numbers, `provenance.*`.

    `kind`: `teacher`, `alone` (a student without one), `distilled`, `assistant` or `trial` (of a search). `row`: the
    key of the run's row in the tables that were `asked` for; none of a teacher, a student alone or a trial.
    `epochs` is what the spec asks for, `epochs_finished` what was trained. `share_low`, `share_high`, `share_mixed`:
    the share of the training images that had low or high energy or were mixed, the mean over the epochs. Lists stay
    lists (milestones, temperature.values, epoch_seconds, curve, shares).
    """
    entries = list(entries)
    kind = kinds(entries, asked)
    rows = [_cells(entry, kind[entry.run_id], asked.rows.get(entry.run_id)) for entry in entries]
    frame = pd.DataFrame(rows, columns=_ordered(dict.fromkeys(name for row in rows for name in row)))
    for name in frame.columns:
        if name.startswith("provenance."):
            frame[name] = _uniform(frame[name])
    return frame


def to_curves(entries: Iterable[Entry], asked: Asked = NOTHING_ASKED) -> pd.DataFrame:
    """One row an epoch of a run. `seconds`: of the epoch; `share_*`: of its training images. The run's data set,
    networks, seed and length tell sweeps apart that share a results folder."""
    entries = list(entries)
    kind = kinds(entries, asked)
    rows = []
    for entry in entries:
        shares = {int(row[0] or 0): row[1:] for row in entry.shares}
        for place, numbers in enumerate(entry.curve):
            epoch = int(numbers[0] or 0)
            own = shares.get(epoch, (None,) * len(FIELDS))
            seconds = entry.epoch_seconds[place] if place < len(entry.epoch_seconds) else None
            run = (entry.run_id, entry.name, kind[entry.run_id], asked.rows.get(entry.run_id))
            run += tuple(getattr(entry.spec, name) for name in OF_A_SWEEP)
            rows.append((*run, epoch, *numbers[1:], seconds, *own))
    of_epochs = (*CURVE_FIELDS, "seconds", *(f"share_{name}" for name in FIELDS))
    return pd.DataFrame(rows, columns=[*_FIRST[:4], *OF_A_SWEEP, *of_epochs])


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


def merge(results: Path, others: Sequence[Path], news: TextIO | None = None) -> None:
    """Take other ledgers over into that of `results`, which no sweep may be writing meanwhile, and the weights of
    teachers that lie beside them. news: where it is told what was taken (default: standard output)."""
    with hold_driver_lock(results), Ledger.open(results / "ledger.sqlite") as ledger:
        for path in others:
            with Ledger.open(path, readonly=True) as other:
                done = ledger.merge(other)
            copied = copy_teachers(path.parent, results, ledger.all())
            print(
                f"{path}: {done.added} runs added, {done.replaced} failed runs replaced, {done.kept} kept, "
                f"{done.sweeps} sweeps added; {done.conflicts} conflicts (done in both, other weights: ours kept); "
                f"weights of {count(copied, 'teacher')} copied",
                file=news,
            )


def copy_teachers(other: Path, results: Path, entries: Sequence[Entry]) -> int:
    """Copy from another results folder the weights that runs to come may need: those of networks that had no teacher or
    taught another. Returns of how many."""
    taught = {entry.spec.teacher_run for entry in entries}
    needed = [entry for entry in entries if entry.done and (entry.spec.teacher is None or entry.run_id in taught)]
    copied = 0
    for entry in needed:
        found = has_weights(other, entry.run_id) and read_result(other, entry.run_id)
        if found and found["weights_sha256"] == entry.weights_sha256 and not has_weights(results, entry.run_id):
            folder = run_dir(results, entry.run_id)
            folder.mkdir(parents=True, exist_ok=True)
            for file in ("weights.pt", "result.json"):
                write_atomically(folder / file, read_file(run_dir(other, entry.run_id) / file))
            copied += 1
    return copied


def track(entries: Sequence[Entry], make: Callable[[Tags], Tracker], asked: Asked, results: Path) -> None:
    """Tell a tracker what it does not have yet of the runs."""
    sweep = results.absolute().name
    try:
        tracker = make(lambda spec: {"sweep": sweep, **asked.tags(spec)})
        for entry in entries:
            tracker.end(entry)
    except Exception as error:
        raise UserError(f"the tracker cannot be written: {' '.join(str(error).split())[:300]}") from error


def _command(given: Sequence[str]) -> int:
    parser = Parser(
        prog=command_name("export"), description="Export a ledger to CSV or Parquet, or merge another one into it."
    )
    add = parser.add_argument
    add("--results", type=parse_path, default=Path("results"), help="the folder with ledger.sqlite")
    add("--csv", type=parse_text_path, metavar="FILE", help="write every run to FILE (-: standard output)")
    add("--parquet", type=parse_path, metavar="FILE", help="write every run to FILE")
    add("--curves", type=parse_path, metavar="FILE", help="write every epoch of every run to FILE (.csv or .parquet)")
    add("--mlflow", metavar="URI", help="tell an MLflow server, or sqlite:///FILE, what it lacks of every run")
    add("--wandb", action="store_true", help="the same for Weights & Biases, by the settings of wandb")
    another = "take over the runs and sweeps of another ledger.sqlite (may be repeated)"
    add("--merge", type=parse_path, metavar="LEDGER", action="append", default=[], help=another)
    add("--debug", action="store_true", help="show tracebacks")
    options = parser.parse_args(given)
    frames = options.csv or options.parquet or options.curves
    tracked = [name for name in ("mlflow", "wandb") if getattr(options, name)]
    if not (frames or options.merge or tracked):
        raise UserError("nothing to do: give --csv FILE, --parquet FILE, --curves FILE, --mlflow URI or --merge LEDGER")
    for name in tracked:
        check_tracker(name, f"--{name}")
    if options.curves and options.curves != STANDARD_OUTPUT and options.curves.suffix not in (".csv", ".parquet"):
        raise UserError(f"--curves {options.curves}: name a file that ends in .csv or .parquet")
    if options.parquet and options.parquet.suffix.lower() == ".csv":
        raise UserError(f"--parquet {options.parquet}: write it by --csv, or choose another ending")
    outputs = [path.absolute() for path in (options.csv, options.parquet, options.curves) if path]
    if len(set(outputs)) < len(outputs):
        raise UserError("--csv, --parquet and --curves would write the same file: name one for each")
    news = sys.stderr if STANDARD_OUTPUT in (options.csv, options.parquet, options.curves) else sys.stdout
    if options.merge:
        merge(options.results, options.merge, news)
    if frames or tracked:
        with Ledger.open(options.results / "ledger.sqlite", readonly=True) as ledger:
            entries, asked = ledger.all(), asked_for(ledger.sweeps(), paper.find)
        for path, encode in ((options.csv, csv_bytes), (options.parquet, parquet_bytes)):
            if path:
                write(path, encode(to_frame(entries, asked)))
                print(f"{count(len(entries), 'run')} written to {path}", file=news)
        if options.curves:
            frame, encode = (
                to_curves(entries, asked),
                parquet_bytes if options.curves.suffix == ".parquet" else csv_bytes,
            )
            write(options.curves, encode(frame))
            print(f"{count(len(frame), 'epoch')} written to {options.curves}", file=news)
        folder = options.results.absolute() / "wandb"
        makes: dict[str, Callable[[Tags], Tracker]] = {
            "mlflow": partial(MLflow, options.mlflow),
            "wandb": partial(WeightsAndBiases, folder),
        }
        for name in tracked:
            track(entries, makes[name], asked, options.results)
            print(f"{count(len(entries), 'run')} in {options.mlflow if name == 'mlflow' else folder}", file=news)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    return run_command(_command, arguments)


if __name__ == "__main__":
    sys.exit(main())

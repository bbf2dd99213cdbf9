"""Records of runs that nobody trained: numbers made up for the tests of tables and figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from analysis.record.entry import Entry, entry_of
from analysis.record.ledger import Ledger
from analysis.record.settings import Settings
from analysis.table.layout import Table
from analysis.table.resolved import resolve
from trainables.recipes import Pair
from trainables.spec import RunSpec


def made_up_top1(spec: RunSpec) -> float:
    """A number between 40 and 44 that depends on the run alone, with more digits than any table shows."""
    return 40 + int(spec.run_id[:8], 16) / 2**30


def made_up_seconds(spec: RunSpec) -> float:
    """Between 1 and 3 seconds per epoch."""
    return 1 + int(spec.run_id[:8], 16) / 2**31


def result(spec: RunSpec, top1: float, *, failed: bool = False, seconds: Sequence[float] = (), **more: Any) -> dict:
    """A result.json; `seconds`: of each epoch."""
    seconds = list(seconds) or [9.0] + [made_up_seconds(spec)] * (spec.epochs - 1)
    common = {"schema": 1, "run_id": spec.run_id, "name": spec.name, "spec": spec.as_dict()}
    if failed:
        return common | {"status": "failed", "reason": "loss is NaN (made up)"}
    numbers = {"best_top1": top1, "best_top5": 95.0, "best_epoch": 1, "last_top1": top1 - 1, "last_top5": 94.0}
    return (
        common
        | numbers
        | {"status": "done", "reason": None, "last_loss": 1.0, "train_loss": 1.0, "epochs": spec.epochs}
        | {"seconds": 10.0, "epoch_seconds": seconds, "parameters": 1000, "weights_sha256": "0" * 64}
        | {"teacher_top1": 91.25 if spec.teacher else None, "teacher_top5": 99.0 if spec.teacher else None}
        | {"curve": [[epoch, 1.0, top1, 95.0, 1.0] for epoch in (1, 2)]}
        | {"provenance": {"device": "NVIDIA MADE-UP"}}
        | more
    )


class AskedCell(NamedTuple):
    """One entry of a table, with a run for each seed."""

    part: str
    row: str
    pair: Pair
    specs: tuple[RunSpec, ...]


def cells(table: Table, settings: Settings) -> list[AskedCell]:
    return [AskedCell(*key, specs) for key, specs in resolve(table, settings).cells.items()]


def vanilla_runs(table: Table, settings: Settings) -> list[RunSpec]:
    return [spec for specs in resolve(table, settings).untaught.values() for spec in specs]


@cache
def specs_of(table: Table, settings: Settings) -> tuple[RunSpec, ...]:
    """Every run of a table once."""
    students = [spec for specs in resolve(table, settings).cells.values() for spec in specs]
    return tuple(dict.fromkeys([*students, *vanilla_runs(table, settings), *resolve(table, settings).teachers]))


def entries(
    table: Table, settings: Settings, top1: Callable[[RunSpec], float | None] = made_up_top1
) -> dict[str, Entry]:
    """Records of all the runs of a table; a run whose number is None has none."""
    made = {spec: top1(spec) for spec in specs_of(table, settings)}
    return {spec.run_id: entry_of(result(spec, number)) for spec, number in made.items() if number is not None}


def write_ledger(results: Path, tables: Sequence[Table], settings: Settings) -> Path:
    """A results folder with a ledger of all runs of some tables."""
    results.mkdir(parents=True, exist_ok=True)
    with Ledger.open(results / "ledger.sqlite") as ledger:
        ledger.remember([table.key for table in tables], settings, "python sweeps/run.py (made up)")
        for table in tables:
            for spec in specs_of(table, settings):
                ledger.record(result(spec, made_up_top1(spec)))
    return results

"""Tables from a large ledger: 10,000 runs of 240 epochs, most of them not of the table that is drawn.

    python benchmarks/ledger.py [--runs 10000] [--turns 3] [--json]

The ledger holds all runs of the paper's tables and figures under their full protocol, and the same for other seeds,
with made-up numbers and curves of full length. Of each table, the time from opening the ledger to its text.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count, islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from analysis import paper
from analysis.record.ledger import Ledger
from analysis.record.settings import Settings
from analysis.table.layout import Table
from analysis.table.render import render
from analysis.table.resolved import resolve
from analysis.tables import load_grid
from benchmarks.measure import Numbers, device_name
from trainables.commands import Parser, run_command
from trainables.errors import UserError
from trainables.spec import RunSpec
from trainables.storage.runs import RESULT_SCHEMA

SEEDS = 3


def all_runs(tables: list[Table]) -> Iterator[RunSpec]:
    """The paper's runs, then the same for other seeds, without end."""
    settings = Settings(seeds=SEEDS)
    specs: dict[RunSpec, None] = {}
    for table in tables:
        specs |= dict.fromkeys(resolve(table, settings).runs)
    yield from specs
    for further in count(SEEDS + 1, SEEDS):
        yield from (replace(spec, seed=spec.seed + further) for spec in specs)


def made_up(spec: RunSpec) -> dict[str, object]:
    top1 = 40 + int(spec.run_id[:8], 16) / 2**30
    curve = [[epoch, 1 + 1 / (epoch + 0.123456789), top1 - 1 / epoch, 95.123, 1.23456789] for epoch in epochs(spec)]
    return {
        "schema": RESULT_SCHEMA,
        "run_id": spec.run_id,
        "name": spec.name,
        "spec": spec.as_dict(),
        "status": "done",
        "reason": None,
        "best_top1": top1,
        "best_top5": 95.0,
        "best_epoch": spec.epochs,
        "last_top1": top1,
        "last_top5": 95.0,
        "last_loss": 1.0,
        "train_loss": 1.0,
        "epochs": spec.epochs,
        "seconds": 1.5 * spec.epochs,
        "epoch_seconds": [1.5 + 0.01 / epoch for epoch in epochs(spec)],
        "parameters": 10**6,
        "weights_sha256": "0" * 64,
        "teacher_sha256": None,
        "teacher_top1": None,
        "teacher_top5": None,
        "curve": curve,
        "provenance": {"device": "made up"},
    }


def epochs(spec: RunSpec) -> range:
    return range(1, spec.epochs + 1)


def measure(runs: int, turns: int) -> dict[str, Numbers]:
    tables = [table for table in paper.tables().values() if any(part.rows for part in table.parts)]
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder)
        with Ledger.open(results / "ledger.sqlite") as ledger:
            ledger.remember([table.key for table in tables], Settings(seeds=SEEDS), "benchmark")
            ledger._connection.execute("PRAGMA synchronous = OFF")
            for spec in islice(all_runs(tables), runs):
                ledger.record(made_up(spec))
        found: dict[str, list[float]] = {}
        for _ in range(turns + 1):
            for table in tables:
                began = time.perf_counter()
                render(load_grid(table.key, results), "text")
                found.setdefault(table.key, []).append(time.perf_counter() - began)
        found["bytes"] = [(results / "ledger.sqlite").stat().st_size]
    return {key: Numbers(tuple(values[1:] or values)) for key, values in found.items()}


def main(argv: Sequence[str]) -> int:
    parser = Parser(description="Tables from a ledger of many runs.")
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    if options.runs < 1 or options.turns < 1:
        raise UserError("--runs and --turns must be 1 or more")
    found = measure(options.runs, options.turns)
    size = found.pop("bytes")
    if options.json:
        print(json.dumps({key: numbers.as_json() for key, numbers in found.items()} | {"bytes": size.median}))
        return 0
    print(f"{options.runs} runs, {size.median / 1e6:.0f} MB, {device_name('cpu')}; seconds from the file to the text")
    for key, numbers in sorted(found.items(), key=lambda item: -item[1].median):
        print(f"{key:<12}{numbers:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))

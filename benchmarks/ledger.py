"""Tables from a large ledger: 10,000 runs of 240 epochs, most of them not of the table that is drawn.

    python benchmarks/ledger.py [--runs 10000] [--turns 3] [--json]

The ledger holds all runs of the paper's tables and figures under their full protocol, and the same for other seeds,
with made-up numbers and curves of full length. Of each table, the time from opening the ledger to its text.
"""

from __future__ import annotations

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
from benchmarks.measure import Numbers, device_name, make_parser, make_result, show
from sweeps.request.arguments import whole
from trainables.commands import run_command
from trainables.spec import RunSpec

SEEDS = 3


def list_runs(tables: list[Table]) -> Iterator[RunSpec]:
    """The paper's runs, then the same for other seeds, without end."""
    settings = Settings(seeds=SEEDS)
    specs: dict[RunSpec, None] = {}
    for table in tables:
        specs |= dict.fromkeys(resolve(table, settings).runs)
    yield from specs
    for further in count(SEEDS + 1, SEEDS):
        yield from (replace(spec, seed=spec.seed + further) for spec in specs)


def measure(runs: int, turns: int) -> dict[str, Numbers]:
    tables = [table for table in paper.tables().values() if any(part.rows for part in table.parts)]
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder)
        with Ledger.open(results / "ledger.sqlite") as ledger:
            ledger.remember([table.key for table in tables], Settings(seeds=SEEDS), "benchmark")
            ledger._connection.execute("PRAGMA synchronous = OFF")
            for spec in islice(list_runs(tables), runs):
                ledger.record(make_result(spec))
        found: dict[str, list[float]] = {}
        for _ in range(turns + 1):
            for table in tables:
                began = time.perf_counter()
                render(load_grid(table.key, results), "text")
                found.setdefault(table.key, []).append(time.perf_counter() - began)
        found["bytes"] = [(results / "ledger.sqlite").stat().st_size]
    return {key: Numbers(tuple(values[1:] or values)) for key, values in found.items()}


def main(argv: Sequence[str]) -> int:
    parser = make_parser("Tables from a ledger of many runs.", turns=3)
    parser.add_argument("--runs", type=whole(1), default=10_000)
    options = parser.parse_args(argv)
    found = measure(options.runs, options.turns)
    size = found.pop("bytes").median
    slowest_first = sorted(found.items(), key=lambda item: -item[1].median)
    head = f"{options.runs} runs, {size / 1e6:.0f} MB, {device_name('cpu')}; seconds from the file to the text"
    return show(options, found | {"bytes": size}, [head, *(f"{key:<12}{time:.2f}" for key, time in slowest_first)])


if __name__ == "__main__":
    sys.exit(run_command(main))

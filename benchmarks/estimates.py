"""Planned against taken: what `--plan` says of a sweep, and what the sweep takes.

    python benchmarks/estimates.py [--cases table5 tables bf16 cifar100] [--data-dir DIR --teachers DIR] [--keep DIR]
        [--json]

Each case is trained into a folder of its own: first one seed (planned twice, from steps that are measured now and from
those that were kept), then two (planned from the runs of the first). Device-seconds taken are those from the begin of
each job to its end; start to end, those of the command; stolen: what a virtual machine's host took meanwhile of the
processors' time, which no plan knows of. cifar100 needs --data-dir and --teachers (a WRN-16-2).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from analysis.record.ledger import Ledger
from benchmarks.measure import device_name, show
from sweeps.request.arguments import whole
from trainables.commands import Parser, parse_path, run_command
from trainables.storage.job_file import read_job

ROOT = Path(__file__).resolve().parents[1]
CASES = {
    "table5": "table5 --dataset digits --pairs resnet20/resnet8",
    "tables": "table4 table13 --dataset digits --pairs wrn_16_2/resnet8",
    "bf16": "methods table8 --dataset digits --pairs resnet20/resnet8 --precision bf16 --epochs 3",
    "cifar100": "table5 --pairs wrn_16_2/resnet8 --train-fraction 0.04 --epochs 2",
}
HEAD = (
    "case",
    "source",
    "runs",
    "known",
    "device-seconds: planned",
    "taken",
    "",
    "from start to end",
    "taken",
    "",
    "stolen",
)
Row = dict[str, Any]


def stolen() -> tuple[float, float]:
    """The processors' time so far: what the host of a virtual machine took of it, and all; known on Linux alone."""
    stat = Path("/proc/stat")
    times = [float(text) for text in stat.read_text().split()[1:9]] if stat.exists() else [0.0]
    return times[-1], sum(times)


def run(words: Sequence[str], cache: Path) -> str:
    """What `ekd run` prints. cache: where it keeps measured steps."""
    command = [sys.executable, str(ROOT / "sweeps" / "run.py"), *words]
    environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def plan(words: Sequence[str], cache: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run([*words, "--plan", "--json"], cache))
    return found


def job_seconds(results: Path) -> dict[str, float]:
    """From the begin of each job to its end."""
    found = {}
    for path in (results / "jobs").glob("*.json"):
        specs, _ = read_job(path)
        with Ledger.open(results / "ledger.sqlite", readonly=True) as ledger:
            times = [entry.provenance for entry in ledger.entries(spec.run_id for spec in specs).values()]
        began, ended = ({datetime.fromisoformat(one[name]).timestamp() for one in times} for name in ("began", "ended"))
        found[path.stem] = max(ended) - min(began)
    return found


def measure(name: str, options: Namespace) -> Iterator[Row]:
    """A row for each source of the plan's numbers."""
    words = [*CASES[name].split(), "--gpus", "0"]
    words += ["--epochs", str(options.epochs)] if options.epochs else []
    words += ["--data-dir", str(options.data_dir), "--teachers", str(options.teachers)] if name == "cifar100" else []
    with tempfile.TemporaryDirectory() as folder:
        results, cache = (options.keep or Path(folder)) / name, Path(folder, "cache")
        earlier: dict[str, float] = {}
        for seeds, sources in ((1, ("measured now", "measured before")), (2, ("past runs",))):
            asked = [*words, "--seeds", str(seeds), "--results", str(results)]
            plans = {source: plan(asked, cache) for source in sources}
            began, (took, of) = time.perf_counter(), stolen()
            run(asked, cache)
            wall, (took_then, of_then) = time.perf_counter() - began, stolen()
            jobs = job_seconds(results)
            taken = sum(seconds for key, seconds in jobs.items() if key not in earlier)
            earlier = jobs
            for source, found in plans.items():
                yield {
                    "case": name,
                    "source": source,
                    "runs": found["unique_runs"] - found["done"],
                    "known": found["done"],
                    "planned": 3600 * found["device_hours"],
                    "taken": taken,
                    "planned_wall": 3600 * found["hours"],
                    "taken_wall": wall,
                    "stolen": (took_then - took) / ((of_then - of) or 1.0),
                    "estimated": found["estimated"],
                }


def line_of(row: Row) -> str:
    both = [(row[f"planned{what}"], row[f"taken{what}"]) for what in ("", "_wall")]
    times = [f"{planned:.0f} | {taken:.0f} | {planned / taken - 1:+.0%}" for planned, taken in both]
    head = [str(row[name]) for name in ("case", "source", "runs", "known")]
    return f"| {' | '.join([*head, *times, format(row['stolen'], '.0%')])} |"


def main(argv: Sequence[str]) -> int:
    parser = Parser(description="What --plan says of sweeps, and what they take.")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--epochs", type=whole(1), help="instead of those of the case")
    parser.add_argument("--data-dir", type=parse_path, help="of CIFAR-100")
    parser.add_argument("--teachers", type=parse_path, help="a WRN-16-2 for CIFAR-100")
    parser.add_argument("--keep", type=parse_path, metavar="DIR", help="a new folder for the results, by case")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")
    options = parser.parse_args(argv)
    if "cifar100" in options.cases and not (options.data_dir and options.teachers):
        parser.error("the case cifar100 needs --data-dir and --teachers, or name other --cases")
    rows: list[Row] = []
    for name in options.cases:
        for row in measure(name, options):
            rows.append(row)
            print(line_of(row), file=sys.stderr, flush=True)
    device = device_name("cpu")
    lines = [device, f"| {' | '.join(HEAD)} |", f"|{' --- |' * len(HEAD)}", *map(line_of, rows)]
    lines += [f"{row['case']}, {row['source']}: {row['estimated']}" for row in rows]
    return show(options, {"device": device, "rows": rows}, lines)


if __name__ == "__main__":
    sys.exit(run_command(main))

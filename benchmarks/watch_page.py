"""The live page on a large ledger, and a sweep's writes beside a page that is asked for without rest.

    python benchmarks/watch_page.py [--runs 10000] [--turns 9] [--writes 300] [--json]

first paint, cell: from the request to the first paint, in headless Chromium. read: until the page's process serves it.
ratio: the time of the writes of a driver beside the page over the same without it, turn about.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "tests" / "analysis"))

from browser import Browser

from analysis import paper
from analysis.record.ledger import Ledger
from analysis.record.settings import Settings
from benchmarks.ledger import SEEDS, list_runs
from benchmarks.measure import Numbers, device_name, make_parser, make_result, show
from sweeps.request.arguments import whole
from trainables.commands import run_command

ROOT = Path(__file__).resolve().parents[1]
PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? -1"
CELL = "document.querySelector('td a[href^=\"/cell\"]').href"
PAUSE = 0.02
"""Seconds between two writes: a sweep of tiny runs writes less often."""


def fill(results: Path, runs: int) -> None:
    tables = [table for table in paper.tables().values() if any(part.rows for part in table.parts)]
    with Ledger.open(results / "ledger.sqlite") as ledger:
        ledger.remember([table.key for table in tables], Settings(seeds=SEEDS), "benchmark")
        ledger._connection.execute("PRAGMA synchronous = OFF")
        for spec in islice(list_runs(tables), runs):
            ledger.record(make_result(spec))


@contextlib.contextmanager
def serve(results: Path) -> Iterator[str]:
    """The address of the page."""
    command = [sys.executable, str(ROOT / "analysis" / "watch.py"), "--results", str(results), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def measure_paints(address: str, turns: int, folder: Path) -> dict[str, list[float]]:
    """Milliseconds as the browser counts them. The first turn starts the browser's processes and does not count."""
    found: dict[str, list[float]] = {"first paint, s": [], "cell, s": []}
    with Browser(folder / "profile", "--window-size=1200,900") as browser:
        for _ in range(turns + 1):
            for name, target in (("first paint, s", address), ("cell, s", "")):
                browser.open(target or browser.evaluate(CELL))
                time.sleep(0.5)
                found[name].append(browser.evaluate(PAINT) / 1000)
    return {name: values[1:] for name, values in found.items()}


def write(results: Path, first: int, writes: int) -> float:
    """Seconds that a driver spends in recording so many runs."""
    spec = next(iter(list_runs([paper.find("table5")])))
    spent = 0.0
    with Ledger.open(results / "ledger.sqlite") as ledger:
        for number in range(first, first + writes):
            result = make_result(replace(spec, seed=10**6 + number))
            began = time.perf_counter()
            ledger.record(result)
            spent += time.perf_counter() - began
            time.sleep(PAUSE)
    return spent


@contextlib.contextmanager
def polling(address: str) -> Iterator[list[int]]:
    """Ask for the first page again and again. The number of answers."""
    ended, answers = threading.Event(), [0]

    def poll() -> None:
        while not ended.is_set():
            with urllib.request.urlopen(address) as answer:
                answer.read()
            answers[0] += 1

    thread = threading.Thread(target=poll)
    thread.start()
    try:
        yield answers
    finally:
        ended.set()
        thread.join()


def measure(runs: int, turns: int, writes: int) -> dict[str, Numbers]:
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder)
        fill(results, runs)
        began = time.perf_counter()
        with serve(results) as address:
            found = {"read, s": [time.perf_counter() - began]}
            found |= measure_paints(address, turns, results)
        alone, beside, count, answers = [], [], 0, 0
        for _ in range(turns):
            alone.append(write(results, count, writes))
            with serve(results) as address, polling(address) as polled:
                beside.append(write(results, count + writes, writes))
            count, answers = count + 2 * writes, answers + polled[0]
        found |= {"writes alone, s": alone, "writes beside the page, s": beside}
        found["ratio"] = [two / one for one, two in zip(alone, beside, strict=True)]
        found["answers"] = [float(answers)]
    return {name: Numbers(tuple(values)) for name, values in found.items()}


def main(argv: Sequence[str]) -> int:
    parser = make_parser("The live page on a ledger of many runs.", turns=9)
    parser.add_argument("--runs", type=whole(1), default=10_000)
    parser.add_argument("--writes", type=whole(1), default=300)
    options = parser.parse_args(argv)
    found = measure(options.runs, options.turns, options.writes)
    lines = [f"{name:<28}{each:.3f}" for name, each in found.items()]
    return show(options, found, [f"{options.runs} runs, {device_name('cpu')}", *lines])


if __name__ == "__main__":
    sys.exit(run_command(main))

"""The live page on a large ledger, and the end of a sweep beside a page that is asked for without rest.

    python benchmarks/watch_page.py [--runs 10000] [--turns 9] [--writes 300] [--json]

first paint, cell: from the request to the first paint, in headless Chromium. read: until the page's process serves it.
end: of a sweep whose driver works, records a run and waits for the next one; writes: the part that the recording takes.
Turn about without the page, which then stands still, and beside it, while another process polls it as its script does,
but without rest; ratios are within a turn.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
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
WORK, PAUSE = 0.005, 0.02
"""Seconds of a driver's work, and until the next run has ended: a sweep of tiny runs writes less often."""
POLLING = """
import os, sys, urllib.request
os.nice(19)  # It stands for a browser, which is on another machine.
answers, version = 0, ""
while os.getppid() == int(sys.argv[2]):
    request = urllib.request.Request(sys.argv[1], headers={"If-None-Match": f'"{version}"'})
    try:
        with urllib.request.urlopen(request) as answer:
            version = answer.read().decode().partition('data-version="')[2].partition('"')[0]
    except urllib.error.HTTPError as error:
        assert error.code == 304
    answers += 1
    print(answers, flush=True)
"""


def fill(results: Path, runs: int) -> None:
    tables = [table for table in paper.tables().values() if any(part.rows for part in table.parts)]
    with Ledger.open(results / "ledger.sqlite") as ledger:
        ledger.remember([table.key for table in tables], Settings(seeds=SEEDS), "benchmark")
        ledger._connection.execute("PRAGMA synchronous = OFF")
        for spec in islice(list_runs(tables), runs):
            ledger.record(make_result(spec))


@contextlib.contextmanager
def serve(results: Path) -> Iterator[tuple[str, int]]:
    """The address of the page and its process."""
    command = [sys.executable, str(ROOT / "analysis" / "watch.py"), "--results", str(results), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip(), process.pid
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


def end_sweep(results: Path, first: int, writes: int) -> tuple[float, float]:
    """Seconds of a driver in all, and of its records of so many runs."""
    spec = next(iter(list_runs([paper.find("table5")])))
    spent, began = 0.0, time.perf_counter()
    with Ledger.open(results / "ledger.sqlite") as ledger:
        for number in range(first, first + writes):
            worked = time.thread_time()
            result = make_result(replace(spec, seed=10**6 + number))
            while time.thread_time() < worked + WORK:
                pass
            before = time.perf_counter()
            ledger.record(result)
            spent += time.perf_counter() - before
            time.sleep(PAUSE)
    return time.perf_counter() - began, spent


@contextlib.contextmanager
def polling(address: str) -> Iterator[list[int]]:
    """Ask for the first page again and again. The number of answers, once it has ended."""
    command, answers = [sys.executable, "-c", POLLING, address, str(os.getpid())], [0]
    with tempfile.TemporaryFile("w+") as told, subprocess.Popen(command, stdout=told) as process:
        try:
            time.sleep(1)
            yield answers
        finally:
            process.terminate()
            process.wait()
            told.seek(0)
            answers[0] = int(told.readlines()[-1])


def measure(runs: int, turns: int, writes: int) -> dict[str, Numbers]:
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder)
        fill(results, runs)
        began = time.perf_counter()
        with serve(results) as (address, process):
            found["read, s"] = [time.perf_counter() - began]
            found |= measure_paints(address, turns, results)
            count = 0
            for _ in range(turns):
                os.kill(process, signal.SIGSTOP)
                alone = end_sweep(results, count, writes)
                os.kill(process, signal.SIGCONT)
                with polling(address) as answers:
                    beside = end_sweep(results, count + writes, writes)
                count += 2 * writes
                for name, one, two in zip(("end", "writes"), alone, beside, strict=True):
                    found.setdefault(f"{name} alone, s", []).append(one)
                    found.setdefault(f"{name} beside the page, s", []).append(two)
                    found.setdefault(f"{name} ratio", []).append(two / one)
                found.setdefault("answers a second", []).append(answers[0] / beside[0])
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

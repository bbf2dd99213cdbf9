"""What the sweep layer adds: runs that only sleep, through the real engine, Ray and ledger.

    python benchmarks/sweep_overhead.py [--runs 1000] [--seconds 1] [--at-once 8] [--json]

Every run is a job of its own that sleeps for its one epoch and writes a result, as a training does at its end. They
take no processor, so more can run at once than there are cores. ideal = runs x seconds / at once. `start` lasts until
the first job has started, `end` from the last result to the end; the rest beyond the ideal is shared by all runs.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import sweeps.planning.resources
import sweeps.running.cluster
from analysis.record.ledger import Ledger
from benchmarks.measure import device_name, make_result, show
from sweeps.planning.plan import JobKind, Plan, PlannedJob
from sweeps.planning.resources import Resources
from sweeps.request.arguments import whole
from sweeps.running.engine import execute
from sweeps.running.events import Event, JobStarted, RunEnded
from trainables.commands import Parser, run_command
from trainables.job import EpochReport, Execution
from trainables.spec import RunSpec
from trainables.storage.runs import run_dir, write_result


def sleep(specs: Sequence[RunSpec], execution: Execution, *, seconds: float) -> Iterator[EpochReport]:
    """Sleep instead of training the runs of a job."""
    for spec in specs:
        run_dir(execution.results, spec.run_id).mkdir(parents=True, exist_ok=True)
        time.sleep(seconds)
        write_result(execution.results, make_result(spec))
        metrics = {spec.run_id: {"top1": 50.0, "train_loss": 1.0, "seconds": seconds}}
        yield EpochReport(1, 1, metrics, (spec.run_id,))


def measure(runs: int, seconds: float, at_once: int) -> dict[str, float]:
    for module in (sweeps.planning.resources, sweeps.running.cluster):
        module.cores_here = lambda: at_once  # type: ignore[attr-defined]
    specs = [RunSpec("digits", "resnet8", seed, epochs=1, milestones=(), lr=0.05) for seed in range(1, runs + 1)]
    jobs = tuple(PlannedJob(spec.name, JobKind.VANILLA, (spec,)) for spec in specs)
    plan = Plan({JobKind.VANILLA: {spec.run_id: spec for spec in specs}}, jobs)
    first = last = 0.0

    def on_event(event: Event) -> None:
        nonlocal first, last
        if isinstance(event, JobStarted) and not first:
            first = time.perf_counter()
        if isinstance(event, RunEnded):
            last = time.perf_counter()

    with tempfile.TemporaryDirectory() as folder, Ledger.open(Path(folder) / "ledger.sqlite") as ledger:
        execution = Execution(Path(folder))
        began = time.perf_counter()
        outcome = execute(plan, ledger, execution, Resources(0), on_event, train=partial(sleep, seconds=seconds))
        ended = time.perf_counter()
    if not outcome.complete:
        raise RuntimeError(f"{len(outcome.done)} of {runs} runs: {outcome.stopped or outcome.failed}")
    ideal = runs * seconds / at_once
    return {
        "runs": runs,
        "seconds": seconds,
        "at_once": at_once,
        "ideal": ideal,
        "wall": ended - began,
        "ratio": (ended - began) / ideal,
        "start": first - began,
        "end": ended - last,
        "a_run": (last - first - ideal) * at_once / runs,
    }


def main(argv: Sequence[str]) -> int:
    parser = Parser(description="What the sweep layer adds to runs that only sleep.")
    parser.add_argument("--runs", type=whole(1), default=1000)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--at-once", type=whole(1), default=8)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    found = measure(options.runs, options.seconds, options.at_once)
    device = device_name("cpu")
    lines = (
        f"{options.runs} runs of {options.seconds:g} s, {options.at_once} at once, {device}: "
        f"{found['wall']:.1f} s, {found['ratio']:.3f}x the ideal {found['ideal']:.1f} s",
        f"start {found['start']:.1f} s, end {found['end']:.1f} s, {1000 * found['a_run']:.0f} ms more for each run",
    )
    return show(options, found | {"device": device}, lines)


if __name__ == "__main__":
    sys.exit(run_command(main))

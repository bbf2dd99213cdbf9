"""What the sweep layer adds: runs that only sleep, through the real engine, Ray and ledger.

    python benchmarks/sweep_overhead.py [--runs 1000] [--epochs 1] [--seconds 1] [--at-once 8] [--turns 1] [--json]

Every run is a job of its own that sleeps in each of its epochs and writes a result, as a training does at its end. They
take no processor, so more can run at once than there are cores. ideal: runs x epochs x seconds / at once; ratio: wall
time to that. start: until the first job has started; end: from the last result on; a_run: what each run takes longer
than it sleeps. driver: processor time of this process between, Ray Tune included, by runs and epochs.
"""

from __future__ import annotations

import io
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
from benchmarks.measure import Numbers, device_name, make_parser, make_result, show
from sweeps.display.progress import Lines
from sweeps.planning.plan import JobKind, Plan, PlannedJob
from sweeps.planning.resources import Resources
from sweeps.request.arguments import whole
from sweeps.running.engine import execute
from sweeps.running.events import Event, JobStarted, RunEnded
from sweeps.running.progress import State
from trainables.commands import run_command
from trainables.job import EpochReport, Execution
from trainables.spec import RunSpec
from trainables.storage.runs import run_dir, write_result


def sleep(specs: Sequence[RunSpec], execution: Execution, *, seconds: float) -> Iterator[EpochReport]:
    """Sleep instead of training the runs of a job."""
    for spec in specs:
        run_dir(execution.results, spec.run_id).mkdir(parents=True, exist_ok=True)
        metrics = {spec.run_id: {"top1": 50.0, "train_loss": 1.0, "seconds": seconds}}
        for epoch in range(1, spec.epochs + 1):
            time.sleep(seconds)
            if epoch == spec.epochs:
                write_result(execution.results, make_result(spec))
            yield EpochReport(epoch, spec.epochs, metrics, (spec.run_id,) if epoch == spec.epochs else ())


def measure(runs: int, epochs: int, seconds: float, at_once: int) -> dict[str, float]:
    for module in (sweeps.planning.resources, sweeps.running.cluster):
        module.cores_here = lambda: at_once  # type: ignore[attr-defined]
    specs = [RunSpec("digits", "resnet8", seed, epochs, milestones=(), lr=0.05) for seed in range(1, runs + 1)]
    jobs = tuple(PlannedJob(spec.name, JobKind.VANILLA, (spec,)) for spec in specs)
    plan = Plan({JobKind.VANILLA: {spec.run_id: spec for spec in specs}}, jobs)
    show = Lines(State(plan), io.StringIO())
    first, last = (0.0, 0.0), (0.0, 0.0)

    def on_event(event: Event) -> None:
        nonlocal first, last
        show(event)
        if isinstance(event, JobStarted) and not first[0]:
            first = time.perf_counter(), time.process_time()
        if isinstance(event, RunEnded):
            last = time.perf_counter(), time.process_time()

    with tempfile.TemporaryDirectory() as folder, Ledger.open(Path(folder) / "ledger.sqlite") as ledger:
        execution = Execution(Path(folder))
        began = time.perf_counter()
        outcome = execute(plan, ledger, execution, Resources(0), on_event, train=partial(sleep, seconds=seconds))
        ended = time.perf_counter()
    if not outcome.complete:
        raise RuntimeError(f"{len(outcome.done)} of {runs} runs: {outcome.stopped or outcome.failed}")
    ideal = runs * epochs * seconds / at_once
    return {
        "wall": ended - began,
        "ratio": (ended - began) / ideal,
        "start": first[0] - began,
        "end": ended - last[0],
        "a_run": (last[0] - first[0] - ideal) * at_once / runs,
        "driver": (last[1] - first[1]) / (runs * epochs),
    }


def main(argv: Sequence[str]) -> int:
    parser = make_parser("What the sweep layer adds to runs that only sleep.", turns=1)
    parser.add_argument("--runs", type=whole(1), default=1000)
    parser.add_argument("--epochs", type=whole(1), default=1, help="of a run (default 1)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of an epoch (default 1)")
    parser.add_argument("--at-once", type=whole(1), default=8)
    options = parser.parse_args(argv)
    asked = options.runs, options.epochs, options.seconds, options.at_once
    turns = [measure(*asked) for _ in range(options.turns)]
    found = {name: Numbers(tuple(turn[name] for turn in turns)) for name in turns[0]}
    ideal, device = asked[0] * asked[1] * asked[2] / asked[3], device_name("cpu")
    lines = [
        f"{asked[0]:,} runs of {asked[1]} x {asked[2]:g} s, {asked[3]} at once, {device}; ideal {ideal:.1f} s",
        *(f"{name:7} {numbers:.3f}" for name, numbers in found.items()),
    ]
    return show(options, found | {"ideal": ideal, "device": device}, lines)


if __name__ == "__main__":
    sys.exit(run_command(main))

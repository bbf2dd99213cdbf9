"""What the driver of a sweep costs: its own processor time, beside workers that train nothing.

    python benchmarks/driver.py [--workers 1 8 32] [--jobs 64] [--students 9] [--epochs 3] [--plan 5000] [--turns 1]

The sweep, its queue, the ledger, the curves and the lines of progress are the real ones; Ray, which brings the reports,
is not there (sweep_overhead.py has it). A job of nine students reports an epoch (`report`), is handed out and ended
(`job`), and each of its runs is recorded (`record`: its result of 240 epochs is read, checked and written to the
ledger). `devices`: how many devices one driver serves whose jobs report an epoch every 5 s and take 240 of them.
--plan: processor seconds to plan so many runs of Table 5: their specs and ids, the jobs, their order and simulation on
1,000 devices, what follows their progress. `left` and `screen`, with half of them done: to work out the time left and
to draw the table, each of which a sweep spends a fiftieth of its time on at most.
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console

import sweeps.running.sweep
from analysis import paper
from analysis.record.entry import entry_of
from analysis.record.ledger import Ledger
from analysis.record.settings import Settings
from analysis.table.resolved import resolve
from benchmarks.measure import Numbers, device_name, make_parser, make_result, show
from sweeps.display.progress import Lines, Screen
from sweeps.planning.durations import longest_first, simulate
from sweeps.planning.job_queue import JobQueue
from sweeps.planning.plan import JobKind, Plan, job_of, make_plan
from sweeps.planning.resources import Resources
from sweeps.request.arguments import whole
from sweeps.running.progress import State
from sweeps.running.sweep import RunningSweep
from sweeps.running.time_left import Expected
from trainables.commands import run_command
from trainables.job import EpochReport, Execution
from trainables.spec import RunSpec
from trainables.storage.runs import run_dir, write_result

EPOCH_SECONDS, EPOCHS = 5.0, 240


@dataclass
class Clock:
    """Processor seconds of this process, by what they were spent on."""

    spent: dict[str, list[float]] = field(default_factory=dict)
    _began: float = 0.0

    def __enter__(self) -> None:
        self._began = time.process_time()

    def __exit__(self, *_: object) -> None:
        self.last = time.process_time() - self._began

    def note(self, what: str, times: int = 1) -> None:
        self.spent.setdefault(what, []).append(self.last / times)


class NoRay:
    """A cluster that never fails."""

    def check(self) -> None:
        pass


def measure(workers: int, jobs: int, students: int, epochs: int) -> dict[str, Numbers]:
    """Milliseconds of the driver, by what they are spent on."""
    sweeps.running.sweep.find_nodes = lambda: {"": {"Resources": {"CPU": workers}}}  # type: ignore[attr-defined]
    base = RunSpec("digits", "resnet8", 1, EPOCHS, (), 0.05)
    packs = [[replace(base, seed=1 + job, lr=0.05 + number / 100) for number in range(students)] for job in range(jobs)]
    planned = tuple(job_of(JobKind.VANILLA, specs) for specs in packs)
    plan = Plan({JobKind.VANILLA: {spec.run_id: spec for specs in packs for spec in specs}}, planned)
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder, Ledger.open(Path(folder) / "ledger.sqlite") as ledger:
        results = Path(folder)
        for specs in packs:
            for spec in specs:
                run_dir(results, spec.run_id).mkdir(parents=True)
                write_result(results, make_result(spec))
        lines, monitor = Lines(State(plan), io.StringIO(), results), NoRay()
        sweep = RunningSweep(JobQueue(plan), ledger, Execution(results), Resources(0), monitor, [], lines)  # type: ignore[arg-type]
        while not sweep.exhausted:
            with clock:
                while (job := sweep.next_job()) is not None:
                    sweep.start(job.key)
            clock.note("job", max(1, len(sweep.running)))
            for key, job in list(sweep.running.items()):
                for epoch in range(1, epochs + 1):
                    numbers = {spec.run_id: {"top1": 50.0, "train_loss": 1.0, "seconds": 0.5} for spec in job.specs}
                    with clock:
                        sweep.report(key, EpochReport(epoch, EPOCHS, numbers))
                    clock.note("report")
                with clock:
                    sweep.report(key, EpochReport(EPOCHS, EPOCHS, finished=tuple(numbers)))
                clock.note("record", students)
                with clock:
                    sweep.end(key)
                clock.note("job")
        sweep.close()
    return {what: Numbers(tuple(1000 * value for value in values)) for what, values in clock.spent.items()}


def count_devices(found: dict[str, Numbers], students: int) -> float:
    """Whose jobs one driver serves, by its processor time alone."""
    mean = {what: sum(numbers.values) / len(numbers.values) / 1000 for what, numbers in found.items()}
    a_job = 2 * mean["job"] + EPOCHS * mean["report"] + students * mean["record"]
    return EPOCHS * EPOCH_SECONDS / a_job


def measure_plan(runs: int) -> dict[str, float]:
    """Processor seconds for each part of a plan."""
    table = paper.find("table5")
    per_seed = sum(len(part.rows) + 1 for part in resolve(table, Settings(seeds=1)).parts) * 6
    found: dict[str, float] = {}
    began = time.process_time()
    resolved = resolve(table, Settings(seeds=max(1, runs // per_seed)))
    specs = resolved.runs
    _ = [spec.run_id for spec in specs]
    found["specs"] = time.process_time() - began
    began = time.process_time()
    plan = make_plan([resolved], {}, pack=None)
    found["jobs"] = time.process_time() - began
    began = time.process_time()
    seconds = {job.key: float(sum(spec.epochs for spec in job.specs)) for job in plan.jobs}
    ordered = replace(plan, jobs=longest_first(plan.jobs, seconds))
    simulate(ordered, seconds, Resources(1000), 1000)
    found["order and simulation"] = time.process_time() - began
    began = time.process_time()
    state = State(plan, expected=Expected(seconds, Resources(1000), 1000))
    found["state"] = time.process_time() - began
    half = list(plan.all_runs.values())[::2]
    entries = {spec.run_id: replace(entry_of(make_result(replace(spec, epochs=1))), spec=spec) for spec in half}
    screen, console = Screen(state, [resolved], entries), Console(file=io.StringIO(), width=160, height=60)
    for what, work in (("left", lambda: state.left), ("screen", lambda: console.print(screen))):
        began = time.process_time()
        work()
        found[what] = time.process_time() - began
    return found | {"runs": float(len(plan.all_runs)), "planned jobs": float(len(plan.jobs))}


def main(argv: Sequence[str]) -> int:
    parser = make_parser("What the driver of a sweep costs.", turns=1)
    parser.add_argument("--workers", type=whole(1), nargs="+", default=[1, 8, 32])
    parser.add_argument("--jobs", type=whole(1), default=64, help="of the sweep (default 64)")
    parser.add_argument("--students", type=whole(1), default=9, help="of a job (default 9)")
    parser.add_argument("--epochs", type=whole(1), default=3, help="that a job reports (default 3)")
    parser.add_argument("--plan", type=whole(60), default=5000, metavar="RUNS", help="runs to plan (default 5000)")
    options = parser.parse_args(argv)
    measure(1, 2, options.students, 1)
    found: dict[str, Any] = {}
    lines = [
        f"{options.jobs} jobs of {options.students} students, {device_name('cpu')}; milliseconds of processor time"
    ]
    for workers in options.workers:
        times = measure(workers, options.jobs, options.students, options.epochs)
        devices = count_devices(times, options.students)
        found[str(workers)] = {**times, "devices": devices}
        lines += [f"{workers:3} workers  {what:8}{numbers:.2f}" for what, numbers in times.items()]
        lines.append(f"{workers:3} workers  devices {devices:,.0f} with epochs of {EPOCH_SECONDS:g} s")
    turns = [measure_plan(options.plan) for _ in range(options.turns)]
    planned = {name: Numbers(tuple(turn[name] for turn in turns)) for name in turns[0]}
    lines += [f"plan {name:21}{numbers:,.2f}" for name, numbers in planned.items()]
    return show(options, found | {"plan": planned}, lines)


if __name__ == "__main__":
    sys.exit(run_command(main))

"""A driver of fake jobs, to be killed: python drive.py RESULTS [JOBS [EPOCHS [ADDRESS]]]. Prints a line an event."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from fake_job import spec, train

from analysis.record.ledger import Ledger
from sweeps.planning.plan import JobKind, Plan, PlannedJob
from sweeps.planning.resources import Resources
from sweeps.running.engine import execute
from sweeps.running.events import Event
from sweeps.running.recovery import ingest
from trainables import time_limits
from trainables.commands import run_command
from trainables.job import Execution
from trainables.storage.locks import hold_driver_lock


def show(event: Event) -> None:
    job = getattr(event, "job", None)
    print(type(event).__name__, job.key if job else event.entry.spec.name, flush=True)


def main() -> int:
    results = Path(sys.argv[1])
    time_limits.GRACE = float(os.environ.get("GRACE_SECONDS", time_limits.GRACE))
    jobs, epochs = (int(text) for text in (*sys.argv[2:4], "4", "3")[:2])
    address = sys.argv[4] if len(sys.argv) > 4 else None
    with hold_driver_lock(results), Ledger.open(results / "ledger.sqlite") as ledger:
        specs = {one.run_id: one for one in (spec("net", seed, epochs=epochs) for seed in range(1, jobs + 1))}
        ingest(results, ledger, specs)
        done = frozenset(ledger.entries(specs))
        left = tuple(
            PlannedJob(one.name, JobKind.VANILLA, (one,)) for run_id, one in specs.items() if run_id not in done
        )
        plan = Plan({JobKind.VANILLA: specs}, left, done)
        outcome = execute(plan, ledger, Execution(results), Resources(gpus=0, address=address), show, train=train)
    if outcome.failed:
        print(f"failed: {outcome.failed}")
    if outcome.stopped:
        print(outcome.stopped)
    return 0 if outcome.complete else 1


if __name__ == "__main__":
    sys.exit(run_command(lambda _: main()))

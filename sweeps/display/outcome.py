"""How a sweep or a search ended, and the command that goes on with it."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from sweeps.planning.job_queue import Outcome
from trainables.commands import FAILED, as_called, count
from trainables.used_files import used

MOST_REASONS = 12
LOG = "sweep.log"
"""In the results folder: all that sweeps and searches have printed, without what a terminal shows for a while."""


def heading(command: str) -> str:
    """What stands in the log above all that a command prints."""
    return f"\n{datetime.now(UTC).isoformat(timespec='seconds')} {command}"


def typed(script: str, argv: Sequence[str]) -> str:
    """The command that was given, as it is recorded: wherever the checkout lies."""
    return shlex.join(["python", f"sweeps/{script}", *used(), *argv])


def report(outcome: Outcome, command: str) -> int:
    """How the sweep ended, in a few lines, and the exit status; where it was stopped, the command that resumes it."""
    for word, runs in (("failed", outcome.failed), ("not run", outcome.not_run)):
        reasons = Counter(" ".join(reason.split()) for reason in runs.values())
        for reason, times in reasons.most_common(MOST_REASONS):
            print(f"{word}: {count(times, 'run')}: {reason}")
        if len(reasons) > MOST_REASONS:
            print(f"{word}: {len(reasons) - MOST_REASONS} more reasons, see the ledger")
    if outcome.failed:
        print("the same command with --retry trains again what has failed")
    print(
        f"{count(len(outcome.done), 'run')} done, {len(outcome.failed)} failed, {len(outcome.not_run)} not run",
        flush=True,
    )
    if outcome.stopped:
        print(f"{outcome.stopped}\nto resume: {as_called(command)}", file=sys.stderr)
    return 0 if outcome.complete else FAILED


@contextlib.contextmanager
def resumable(script: str, argv: Sequence[str]) -> Iterator[None]:
    """On Ctrl-C, say by which command what was stopped goes on."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"\nstopped now: what is finished is kept\nto resume: {as_called(typed(script, argv))}", file=sys.stderr)
        raise

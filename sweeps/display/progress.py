"""A sweep while it runs: on a terminal the table itself, filling in; elsewhere one plain line for each event.

Both follow the engine's events and print nothing else. `follow` picks one.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, cast

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.text import Text

from analysis.record.entry import Entry
from analysis.table.grid import Grid, make_grid
from analysis.table.resolved import ResolvedTable
from sweeps.display.live_table import board, height, summary
from sweeps.planning.plan import Plan, PlannedJob
from sweeps.running.events import EpochDone, Event, JobStarted, RunEnded
from sweeps.running.pace import Pace
from sweeps.running.progress import State
from sweeps.running.time_left import UNKNOWN, Expected
from trainables.commands import count, duration
from trainables.console import Tolerant, logged
from trainables.storage.runs import run_dir

if TYPE_CHECKING:
    from trainables.job import EpochReport

REDRAWS_A_SECOND = 2
QUIET_SECONDS = 30
MOST_JOBS = 6
MOST_FAILURES = 3
SMALL_HEIGHT = 32
SMALL_JOBS = 2
MOST_IMAGES = 12


class Lines:
    """For files and pipes: lines, each written at once."""

    def __init__(self, state: State, out: TextIO, results: Path | None = None) -> None:
        self.state, self.out, self.results = state, out, results
        self._said: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        told = len(self.state.troubles)
        self.state.take(event)
        for line in self.state.troubles[told:]:
            self._say(line)
        match event:
            case JobStarted(job):
                first = not self._said
                self._said[job.key] = self.state.clock()
                self._say(f"started  {job.key}  ({count(len(job.specs), 'student')})")
                if first:
                    self._say(self._say_left().removeprefix(", ") or "the time left is told after the first epoch")
            case EpochDone(job, report) if report.resumed:
                self._resumed(job, report)
            case EpochDone(job, report) if report.epoch > 0:
                self._epoch(job, report.epoch, report.epochs)
            case RunEnded(entry) if entry.done:
                folder = f"  {run_dir(self.results, entry.run_id)}" if self.results else ""
                how_far = f"({self.state.counts}{self._say_left()})"
                self._say(f"done     {entry.name}  top-1 {entry.best_top1:.2f}  {how_far}{folder}")

    def _resumed(self, job: PlannedJob, report: EpochReport) -> None:
        """From which epoch its runs go on; those that are not named begin."""
        epochs = Counter(report.resumed.values())
        words = [f"{count(runs, 'run')} from epoch {epoch + 1}" for epoch, runs in sorted(epochs.items())]
        self._say(f"resumed  {job.key}  {', '.join(words)} of {report.epochs}")

    def _epoch(self, job: PlannedJob, epoch: int, epochs: int) -> None:
        now = self.state.clock()
        running = self.state.jobs.get(job.key)
        if running is None or now - self._said.get(job.key, -QUIET_SECONDS) < QUIET_SECONDS:
            return
        self._said[job.key] = now
        left = running.left(now)
        self._say(f"epoch    {job.key}  {epoch}/{epochs}" + (f"  {duration(left)} left" if left is not None else ""))

    def _say_left(self) -> str:
        left = self.state.left
        return f", about {duration(left)} left" if left else ""

    def _say(self, line: str) -> None:
        print(line, file=self.out, flush=True)


class Screen:
    """For a terminal: the tables, the jobs under way, and how far all is. Drawn by another thread."""

    def __init__(self, state: State, tables: Sequence[ResolvedTable], entries: Mapping[str, Entry]) -> None:
        self.state, self.tables, self.entries = state, tables, dict(entries)
        self._grids: list[Grid] = []
        self._runs = [frozenset(table.run_ids) for table in tables]
        self._changed: set[str] = set()
        self._pace = Pace(0, state.clock)
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        with self._lock:
            self.state.take(event)
            if isinstance(event, RunEnded):
                self.entries[event.entry.run_id] = event.entry
                self._changed.add(event.entry.run_id)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        with self._lock:
            if not self._grids or (self._changed and self._pace.due):
                with self._pace.working():
                    self._grids = [*self._renewed()]
            small = console.height < SMALL_HEIGHT
            jobs = self._job_lines(options.max_width, SMALL_JOBS if small else MOST_JOBS)
            most = 1 if small else MOST_FAILURES
            failures = [_make_line(trouble, "red") for trouble in self.state.troubles[-most:]]
            footer = [*jobs, *failures, self._overall()]
            yield Group(*self._tables(console, options.max_width, console.height - len(footer) - 1), *footer)

    def _renewed(self) -> Iterator[Grid]:
        """The tables' numbers, worked out again where runs have ended."""
        for index, table in enumerate(self.tables):
            known = self._grids and self._runs[index].isdisjoint(self._changed)
            yield self._grids[index] if known else make_grid(table, self.entries)
        self._changed.clear()

    def _tables(self, console: Console, width: int, lines: int) -> list[RenderableType]:
        """As many tables as fit, those with runs under way first; the others in one line each."""
        running = self.state.running
        idle = [runs.isdisjoint(running) for runs in self._runs]
        wanted = [grid for _, grid in sorted(zip(idle, self._grids, strict=True), key=lambda each: each[0])]
        free = lines - len(wanted)
        shown: dict[str, RenderableType] = {}
        for grid in wanted:
            for derived in (True, False):
                if grid.table.key not in shown and height(grid, derived=derived) <= free + 1:
                    shown[grid.table.key] = board(grid, running, console, width, derived=derived)
                    free -= height(grid, derived=derived) - 1
        return [shown.get(grid.table.key) or summary(grid, running) for grid in self._grids]

    def _job_lines(self, width: int, most: int) -> list[Text]:
        now = self.state.clock()
        lines = []
        jobs = sorted(self.state.jobs.values(), key=lambda job: job.began)
        for running in jobs[:most]:
            left = running.left(now)
            begins = f"from epoch {running.resumed}/{running.epochs}" if running.resumed else "starting"
            where = f"epoch {running.epoch}/{running.epochs}" if running.epoch else begins
            tail = f"  {count(len(running.job.specs), 'student')}  {where}" + (
                f"  {duration(left)} left" if left is not None else ""
            )
            name = Text(running.job.key)
            name.truncate(max(10, width - len(tail)), overflow="ellipsis")
            lines.append(name + Text(tail, "cyan"))
        if len(jobs) > most:
            lines.append(Text(f"and {len(jobs) - most} more jobs", "dim"))
        return lines

    def _overall(self) -> Text:
        left = self.state.left
        words = [self.state.counts, f"{duration(self.state.clock() - self.state.began)} so far"]
        words += [f"about {duration(left)} left"] if left is not None else []
        words += ["starting Ray"] if not self.state.started else []
        return _make_line(" · ".join(words), "bold")


def _make_line(text: str, style: str) -> Text:
    return Text(text, style, no_wrap=True, overflow="ellipsis")


@contextmanager
def follow(
    plan: Plan,
    tables: Sequence[ResolvedTable],
    entries: Mapping[str, Entry],
    out: TextIO | None = None,
    *,
    results: Path | None = None,
    expected: Expected = UNKNOWN,
) -> Iterator[Callable[[Event], None]]:
    """What the engine should tell its events to: a live table on a terminal, lines elsewhere. out: standard output.

    results: the folder in which a line names that of a finished run. expected: what is known of the plan's length.
    """
    state, of_log = (State(plan, expected=expected) for _ in range(2))
    out = out or sys.stdout
    try:
        with _show_screen(Screen(state, tables, entries), of_log, out, results) as show:
            yield show
    finally:
        for line in unreadable_images(state.unreadable):
            print(line, file=out, flush=True)


def unreadable_images(found: Mapping[str, str]) -> list[str]:
    """A last word on images that could not be decoded."""
    if not found:
        return []
    more = [f"  and {len(found) - MOST_IMAGES} more"] if len(found) > MOST_IMAGES else []
    return [
        f"{count(len(found), 'image')} could not be decoded (for a training image the next of its class "
        "was taken, a test image counts as wrong):",
        *(f"  {path} ({why})" for path, why in list(found.items())[:MOST_IMAGES]),
        *more,
    ]


@contextmanager
def _show_screen(screen: Screen, of_log: State, out: TextIO, results: Path | None) -> Iterator[Callable[[Event], None]]:
    console = Console(file=out)
    if not console.is_terminal or console.is_dumb_terminal:
        yield Lines(screen.state, out, results)
        return
    log = out.log if isinstance(out, Tolerant) else None
    terminal = cast(TextIO, Tolerant(out.stream)) if isinstance(out, Tolerant) else out
    live = Live(screen, console=Console(file=terminal), refresh_per_second=REDRAWS_A_SECOND, transient=True)
    if log is None:
        with live:
            yield screen
        return
    lines = Lines(of_log, log, results)

    def show(event: Event) -> None:
        # A full disk costs lines of the log, not the sweep.
        with suppress(OSError):
            lines(event)
        screen(event)

    with live, logged(log):
        yield show

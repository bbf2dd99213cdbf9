"""A results folder as it is now. Its ledger is read as it grows; what did not change is not worked out again."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.record.beside import State, state_of
from analysis.record.entry import Entry
from analysis.record.ledger import Ledger, Sweep
from analysis.record.settings import Settings
from analysis.reporting.snapshot import Chapter, Snapshot, make_chapter
from analysis.table.command_line import ledger_path
from analysis.table.layout import Table
from analysis.table.resolved import resolve
from analysis.watching.status import RunUnderWay, Status, read_status
from trainables.errors import UserError

if TYPE_CHECKING:
    from analysis.record.study import StudyRecord

LOOK_SECONDS = 1.0
"""Between two looks at the folder, at least."""
SHARE = 0.1
"""Of a processor, at most, for looks and for the pages that they change."""
LONGEST = 30.0
"""Seconds between two looks, however long they take."""
_TABLES = 256
"""Most tables and settings whose runs are kept in mind."""


@dataclass(frozen=True)
class Seen:
    """What was there at the latest look.

    version: another number whenever something is different.
    snapshot: its runs have neither curves nor shares.
    status: of the sweep that runs here, or that ran last.
    running: its runs under way, by id.
    searches: their studies.
    trouble: why the latest look failed; then the rest is of the one before.
    """

    version: int
    snapshot: Snapshot
    status: Status | None = None
    running: Mapping[str, RunUnderWay] = field(default_factory=dict)
    searches: tuple[StudyRecord, ...] = ()
    trouble: str = ""

    def chapter(self, key: str) -> Chapter | None:
        return next((chapter for chapter in self.snapshot.chapters if chapter.table.key == key), None)


class Follower:
    """view: the latest; it is replaced, never changed."""

    def __init__(self, results: Path, metric: str = "best") -> None:
        self.results = results
        nothing = Snapshot(results, {}, (), metric, self._make_chapter)
        self.view = Seen(0, nothing, trouble="nothing has been read yet")
        self._resolve = lru_cache(_TABLES)(resolve)
        self._state: State | None = None
        self._file = 0
        self._changed: frozenset[str] = frozenset()
        self._kept: dict[tuple[str, Settings], tuple[frozenset[str], Chapter]] = {}
        self._studies: dict[Path, tuple[object, StudyRecord]] = {}
        self._looking = threading.Lock()
        self._worked = 0.0
        self._ended = threading.Event()

    def look(self) -> None:
        """Read what is new."""
        with self._looking, self.working():
            try:
                self._read_ledger()
            except UserError as error:
                self._state = None
                self._show(trouble=str(error))
            status = read_status(self.results)
            self._show(status=status, running={} if status is None else status.running)
            self._show(searches=tuple(self._read_studies()))

    def _show(self, **changes: Any) -> None:
        changed = replace(self.view, **changes)
        if changed != self.view:
            self.view = replace(changed, version=self.view.version + 1)

    def _read_ledger(self) -> None:
        path = ledger_path(self.results)
        state = state_of(path)
        if state is not None and state == self._state:
            return
        with Ledger.open(path, beside=True) as ledger:
            known: Mapping[str, Entry] = self.view.snapshot.runs
            file = state[0] if state is not None else 0
            if file != self._file or ledger.count() < len(known):  # Another one, or somebody has removed runs.
                known = {}
                self._kept.clear()
            new = ledger.recorded(len(known), (run_id for run_id, entry in known.items() if not entry.done))
            sweeps = ledger.sweeps()
        self._changed = frozenset(entry.run_id for entry in new if known.get(entry.run_id) != entry)
        runs = {**known, **{entry.run_id: entry for entry in new}}
        snapshot = Snapshot(self.results, runs, sweeps, self.view.snapshot.metric, self._make_chapter)
        _ = snapshot.chapters
        self.view = replace(self.view, version=self.view.version + 1, snapshot=snapshot, trouble="")
        self._state, self._file = state, file

    def _read_studies(self) -> Iterator[StudyRecord]:
        """As it was where one cannot be read now."""
        for path in sorted((self.results / "search").glob("*/study.sqlite")):
            with contextlib.suppress(UserError):
                state, known = state_of(path), self._studies.get(path)
                if known is None or known[0] != state:
                    from analysis.record.study import read_study

                    self._studies[path] = state, read_study(path)
            if path in self._studies:
                yield self._studies[path][1]

    def _make_chapter(self, table: Table, sweep: Sweep, snapshot: Snapshot) -> Chapter:
        """The chapter as it was, where none of its runs has changed."""
        key = table.key, sweep.settings
        asked, chapter = self._kept.get(key, (frozenset(), None))
        if chapter is not None and not asked & self._changed:
            return replace(chapter, sweep=sweep)
        made = make_chapter(table, sweep, snapshot, self._resolve)
        if made.grid is not None:
            self._kept[key] = asked or frozenset(made.grid.resolved.run_ids), made
        return made

    def entries(self, run_ids: Iterable[str]) -> dict[str, Entry]:
        """Some runs, whole."""
        try:
            with Ledger.open(ledger_path(self.results), beside=True) as ledger:
                return ledger.entries(run_ids)
        except UserError:  # The page says so at the next look.
            runs = self.view.snapshot.runs
            return {run_id: runs[run_id] for run_id in run_ids if run_id in runs}

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """The processor's time that this takes puts the next look off."""
        began = time.thread_time()
        try:
            yield
        finally:
            self._worked += time.thread_time() - began

    def _rest(self) -> float:
        """Seconds until the next look."""
        worked, self._worked = self._worked, 0.0
        return min(max(LOOK_SECONDS, worked / SHARE), LONGEST)

    def follow(self) -> Callable[[], None]:
        """Look again and again in a thread of its own. Returns what ends it."""

        def watch() -> None:
            while not self._ended.wait(self._rest()):
                try:
                    self.look()
                except Exception as error:
                    self._show(trouble=f"the folder is no longer followed ({error}): start the page again")
                    raise

        self._worked = 0.0  # The first look is over, however long it took.
        thread = threading.Thread(target=watch, name="follow-results", daemon=True)
        thread.start()

        def end() -> None:
            self._ended.set()
            thread.join()

        return end

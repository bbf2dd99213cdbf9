"""What is told of a sweep's runs while they train: TensorBoard's curves, and other trackers in threads of their own.

Ray's callbacks for MLflow and Weights & Biases are not used: they make a run of each trial of Ray's, which trains
several students.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.record.ledger import Ledger
from analysis.record.trackers import MLflow, Tags, Tracker, WeightsAndBiases
from sweeps.running.curves import Curves
from trainables import time_limits

if TYPE_CHECKING:
    from analysis.record.entry import Entry
    from trainables.job import EpochReport
    from trainables.spec import RunSpec

MOST_WAITING = 10_000
"""Numbers of an epoch that a tracker may be behind."""


def mlflow(results: Path, tags: Tags) -> Tracker:
    """The server that MLFLOW_TRACKING_URI names, or a file in the results folder."""
    return MLflow(os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{results / 'mlflow.sqlite'}", tags)


def wandb(results: Path, tags: Tags) -> Tracker:
    return WeightsAndBiases(results / "wandb", tags)


MADE: dict[str, Callable[[Path, Tags], Tracker]] = {"mlflow": mlflow, "wandb": wandb}


class Trackers:
    """names: of `--log`. tags: of a run, besides its fields."""

    def __init__(self, names: Sequence[str], results: Path, tags: Tags = lambda spec: {}) -> None:
        self._curves = Curves(results / "tune" / "curves") if "tensorboard" in names else None
        self._others = [_Thread(name, partial(MADE[name], results, tags), results) for name in MADE if name in names]

    def add(self, specs: Sequence[RunSpec], report: EpochReport) -> None:
        """A job has reported."""
        if self._curves is not None:
            self._curves.add(specs, report)
        for other in self._others:
            for spec in specs:
                if spec.run_id in report.metrics:
                    other.put("log", spec, report.epoch, dict(report.metrics[spec.run_id]))
                if spec.run_id in report.stopped:
                    other.put("stop", spec)

    def end(self, entry: Entry) -> None:
        """A run has ended, and is in the ledger."""
        for other in self._others:
            other.put("end", entry)

    def lost(self) -> Iterator[tuple[str, str]]:
        """Name and reason of each tracker that is told nothing any more, once."""
        for other in list(self._others):
            if other.reason:
                self._others.remove(other)
                yield other.name, other.reason

    def close(self) -> Iterator[tuple[str, str]]:
        """The same of those that did not take all in time."""
        if self._curves is not None:
            self._curves.close()
        for other in self._others:
            other.close()
        yield from self.lost()


class _Thread:
    """Hands to a tracker what it is told, in a thread. A sweep never waits for it: a tracker that fails, or falls
    behind, is told nothing more. reason: why."""

    def __init__(self, name: str, make: Callable[[], Tracker], results: Path) -> None:
        self.name, self._make, self._results = name, make, results
        self.reason = ""
        self._told: queue.Queue[tuple[Any, ...]] = queue.Queue(MOST_WAITING)
        self._thread = threading.Thread(target=self._work, name=f"tracker-{name}", daemon=True)
        self._thread.start()

    def put(self, what: str, *about: Any) -> None:
        try:
            self._told.put_nowait((what, *about))
        except queue.Full:
            self.reason = self.reason or f"is {MOST_WAITING:,} epochs behind"

    def close(self) -> None:
        if not self.reason:
            self.put("")
            self._thread.join(time_limits.TRACKER)
        if self._thread.is_alive() and not self.reason:
            self.reason = f"did not take all in {time_limits.TRACKER} s"

    def _work(self) -> None:
        try:
            tracker = self._make()
            self._catch_up(tracker)
            while not self.reason:
                what, *about = self._told.get()
                if not what:
                    return
                getattr(tracker, what)(*about)
        except Exception as error:  # noqa: BLE001 - whatever a tracker raises, the sweep goes on
            self.reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]

    def _catch_up(self, tracker: Tracker) -> None:
        """End the runs whose end an earlier sweep did not tell, because it was killed."""
        unfinished = tracker.unfinished()
        if unfinished:
            with Ledger.open(self._results / "ledger.sqlite", readonly=True) as ledger:
                for entry in ledger.entries(unfinished).values():
                    tracker.end(entry)

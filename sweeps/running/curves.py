"""The curves that TensorBoard shows: a folder for each run, in which a later sweep goes on."""

from __future__ import annotations

import contextlib
import math
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tensorboardX.proto.event_pb2 import Event as CurveEvent  # type: ignore[import-untyped]
from tensorboardX.record_writer import RecordWriter  # type: ignore[import-untyped]
from tensorboardX.summary import hparams, scalar  # type: ignore[import-untyped]

from trainables.job import EpochReport
from trainables.run_names import name_of
from trainables.spec import RunSpec, flatten

TAG = "ray/tune/"
"""Before the name of a chart, as Tune's own logger has it."""


class CurveFile(RecordWriter):
    """A file of events that readers see at once. Not flushed to the disk, for which a driver of many runs has no time:
    when the power fails the ledger has the numbers."""

    def flush(self) -> None:
        self._writer.flush()


class Curves:
    """One file for each run under way. Where the disk is full the curves have gaps; the ledger has the numbers too.

    tensorboardX's SummaryWriter is not used: it writes in a thread, which ends at the first error; when its queue is
    full, whoever has a number waits for ever.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, CurveFile] = {}

    def add(self, specs: Sequence[RunSpec], report: EpochReport) -> None:
        """Add the numbers of an epoch; close the files of runs that have ended."""
        for spec in specs:
            if spec.run_id in report.metrics:
                numbers = {TAG + name: value for name, value in report.metrics[spec.run_id].items()}
                with contextlib.suppress(OSError):
                    self._write(spec, report.epoch, numbers)
        for run_id in (*report.finished, *report.failed, *report.stopped):
            self._close(run_id)

    def close(self) -> None:
        for run_id in list(self._files):
            self._close(run_id)

    def _write(self, spec: RunSpec, epoch: int, numbers: Mapping[str, float]) -> None:
        if spec.run_id not in self._files:
            folder = self._folder / name_of(spec)
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}"
            self._files[spec.run_id] = CurveFile(str(path))
            settings = {name: value for name, value in flatten(spec).items() if isinstance(value, str | int | float)}
            about = (CurveEvent(summary=part) for part in hparams(settings, numbers))
            self._append(spec.run_id, (CurveEvent(file_version="brain.Event:2"), *about))
        scalars = (scalar(tag, value) for tag, value in numbers.items() if not math.isnan(value))
        self._append(spec.run_id, (CurveEvent(summary=one, step=epoch) for one in scalars))

    def _append(self, run_id: str, events: Iterable[Any]) -> None:
        for event in events:
            event.wall_time = time.time()
            self._files[run_id].write(event.SerializeToString())
        self._files[run_id].flush()

    def _close(self, run_id: str) -> None:
        if run_id in self._files:
            with contextlib.suppress(OSError):
                self._files.pop(run_id).close()

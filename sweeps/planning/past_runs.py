"""What past runs took: the seconds of an epoch of runs like those of a plan, from the ledger's records."""

from __future__ import annotations

import statistics
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from analysis.record.entry import Entry
from analysis.record.ledger import Ledger
from sweeps.planning.plan import PlannedJob
from trainables.commands import count
from trainables.spec import RunSpec

NEWEST = 1000
"""Runs of a ledger that are looked at."""
Kind = tuple[object, ...]


@dataclass(frozen=True)
class PastRuns:
    """What the runs of a ledger took on one kind of device.

    shares: by kind of run, of each past one the seconds that it was charged: of an epoch for its training, and for the
    rest (tests, checkpoints); before the first (images, teacher). bytes: of a network's weights."""

    shares: Mapping[Kind, Sequence[tuple[float, float, float]]] = field(default_factory=dict)
    bytes: Mapping[str, int] = field(default_factory=dict)

    def words(self, known: Container[str], jobs: Iterable[PlannedJob], spared: Mapping[str, int]) -> str:
        """From how many runs the seconds of the `known` jobs come."""
        used = {
            _kind(spec, len(job.specs), spared.get(job.key, 0))
            for job in jobs
            if job.key in known
            for spec in job.specs
        }
        return f"from {count(sum(len(self.shares[kind]) for kind in used), 'past run')} of the ledger"

    def seconds_by_job(self, jobs: Iterable[PlannedJob], spared: Mapping[str, int]) -> dict[str, float]:
        """Of one device, for each job of whose runs the ledger has some alike. spared: the epochs whose answers a cache
        has."""
        found = {job.key: self._seconds(job, spared.get(job.key, 0)) for job in jobs}
        return {key: seconds for key, seconds in found.items() if seconds is not None}

    def _seconds(self, job: PlannedJob, spared: int) -> float | None:
        """By medians, since an interrupted run counts its pause among the rest."""
        total = 0.0
        for spec in job.specs:
            shares = self.shares.get(_kind(spec, len(job.specs), spared))
            if shares is None:
                return None
            trained, rest, prepared = map(statistics.median, zip(*shares, strict=True))
            total += spec.epochs * (trained + rest) + prepared
        return total


NO_RUNS = PastRuns()


def _kind(spec: RunSpec, students: int, read: int) -> Kind:
    """Runs of one kind take equally long: networks, images, batch, precision, method, mixed share; how many students
    train together, and whether most of the teacher's answers are read."""
    mixed = None if spec.mixing is None else (spec.mixing.operation, spec.mixing.rate)
    images = spec.dataset, spec.train_fraction, spec.imbalance, spec.holdout, spec.augmentation
    networks = spec.teacher, spec.student, spec.peer, spec.code
    steps = spec.method, mixed, spec.batch_size, spec.precision, spec.timing
    return (*images, *networks, *steps, students, 2 * read > spec.epochs)


def read_past_runs(results: Path, device: str | None, threads: int | None, *, graphs: bool = False) -> PastRuns:
    """Of the newest runs of a results folder.

    device: its name; None: the GPU of the newest run that had one. threads: of a processor. graphs: whether steps are
    recorded as CUDA graphs."""
    if not (results / "ledger.sqlite").exists():
        return NO_RUNS
    with Ledger.open(results / "ledger.sqlite", readonly=True) as ledger:
        entries = ledger.newest(NEWEST)
    on_gpus = [entry.provenance.get("device") for entry in entries if entry.provenance.get("driver")]
    wanted = device or next(iter(on_gpus), None)
    shares: dict[Kind, list[tuple[float, float, float]]] = {}
    stored: dict[str, int] = {}
    for entry in entries:
        found = entry.provenance
        alike = found.get("device") == wanted and bool(found.get("cuda_graphs")) == graphs
        if wanted is None or not alike or threads not in (None, found.get("threads")):
            continue
        share = _share(entry, found)
        if share is not None:
            read = int(found.get("answers_read") or 0)
            shares.setdefault(_kind(entry.spec, found["pack"], read), []).append(share)
            stored[entry.spec.student] = 4 * (entry.parameters or 0)
    return PastRuns(shares, stored)


def _share(entry: Entry, found: Mapping[str, Any]) -> tuple[float, float, float] | None:
    """Its seconds on one device, of an epoch's training and of an epoch's rest, and before the first; None where they
    are not recorded."""
    students, devices = found.get("pack"), found.get("devices")
    times = [found.get(name) or found.get("started") for name in ("began", "started", "ended")]
    if not (isinstance(students, int) and isinstance(devices, int) and all(times) and entry.seconds and entry.epochs):
        return None
    began, started, ended = (datetime.fromisoformat(str(text)).timestamp() for text in times)
    share = devices / students
    rest = share * (ended - started) - devices * entry.seconds
    return devices * entry.seconds / entry.epochs, max(0.0, rest) / entry.epochs, max(0.0, share * (started - began))

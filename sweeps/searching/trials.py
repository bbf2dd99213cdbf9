"""The trials of a search under way: what Optuna proposes becomes packs of runs, what becomes of them is told to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from analysis.record.entry import CURVE_FIELDS, Entry
from analysis.record.ledger import Ledger
from sweeps.planning.plan import JobKind, PlannedJob, job_of
from sweeps.running.events import EpochDone, Event, JobFailed, RunEnded
from sweeps.running.recovery import forget_end, ingest
from sweeps.searching.points import Search
from sweeps.searching.study import Study, score_of
from trainables.commands import count
from trainables.errors import UserError
from trainables.spec import RunSpec
from trainables.storage.checkpoints import drop_checkpoints
from trainables.storage.runs import stream_key
from trainables.storage.stopping import ask_to_stop, forget_stop

MOST_FAILURES = 3
"""Jobs that fail one after the other: no point is to blame then, and no further one is asked for."""


class Trials:
    """Asks the study for points until `most` are tried, and listens to what the engine says of their runs.

    pack: the most runs of a job. needs: what must be trained before. retry: train again what is recorded as failed.
    """

    def __init__(
        self,
        search: Search,
        study: Study,
        ledger: Ledger,
        results: Path,
        *,
        most: int,
        pack: int,
        needs: frozenset[str],
        retry: bool,
    ) -> None:
        self.search, self.study, self.ledger, self.results = search, study, ledger, results
        self._most, self._pack, self._needs, self._retry = most, pack, needs, retry
        self._retried: set[str] = set()
        self._kept: list[RunSpec] = []
        self._failures = 0

    @property
    def given_up(self) -> bool:
        return self._failures >= MOST_FAILURES

    @property
    def template(self) -> PlannedJob:
        """A job with the needs of every pack."""
        return job_of(JobKind.TRIALS, [self.search.trial({})], self._needs)

    def ask(self) -> PlannedJob | None:
        """The next pack: runs that share a stream. One that does not is kept, and begins the pack after."""
        if self.given_up:
            return None
        specs, self._kept = self._kept, []
        while len(specs) < self._pack and self.study.counted < self._most:
            if points := self.study.exhausted:
                if not specs:
                    _say([f"all {count(points, 'point')} of --space are tried: there is nothing else to try"])
                break
            spec = self._asked()
            if spec is not None and specs and stream_key(spec) != stream_key(specs[0]):
                self._kept = [spec]
                break
            specs += [spec] if spec is not None else []
        for spec in specs:
            forget_end(self.results, spec.run_id)
        return job_of(JobKind.TRIALS, specs, self._needs) if specs else None

    def _asked(self) -> RunSpec | None:
        """The run of the next trial; None where it is under way, in the ledger, or no run."""
        trial, fields = self.study.ask()
        try:
            spec = self.search.trial(fields)
        except UserError as error:
            _say([self.study.refuse(trial, str(error))])
            return None
        under_way, pruned = self.study.under_way(spec.run_id), self.study.pruned(spec.run_id)
        self.study.begin(trial, spec.run_id)
        if under_way:
            return None
        if pruned:
            _say(self.study.prune(spec.run_id))
            return None
        ingest(self.results, self.ledger, [spec.run_id])
        entry = self.ledger.get(spec.run_id)
        if entry is not None and (entry.done or not self._retry or spec.run_id in self._retried):
            self._end(entry)
            return None
        self._retried.add(spec.run_id)
        return spec

    def __call__(self, event: Event) -> None:
        match event:
            case EpochDone(_, report):
                for run_id, numbers in report.metrics.items():
                    if run_id not in report.stopped and self.study.report(run_id, report.epoch, numbers["top1"]):
                        ask_to_stop(self.results, run_id)
                for run_id in report.stopped:
                    _say(self.study.prune(run_id))
                    drop_checkpoints(self.results, run_id)
            case RunEnded(entry):
                self._failures = 0
                self._end(entry)
                forget_stop(self.results, entry.run_id)
            case JobFailed(job, reason):
                self._failures += 1
                for spec in job.specs:
                    _say(self.study.lose(spec.run_id, reason))
                    forget_stop(self.results, spec.run_id)
                if self._failures == MOST_FAILURES:
                    _say([f"{MOST_FAILURES} jobs failed one after the other: no further trial is begun"])

    def _end(self, entry: Entry) -> None:
        score = score_of(entry)
        if score is None:
            _say(self.study.fail(entry.run_id, entry.reason or "no reason recorded"))
        else:
            rows = [dict(zip(CURVE_FIELDS, row, strict=True)) for row in entry.curve]
            curve = {int(row["epoch"] or 0): float(row["top1"] or 0) for row in rows}
            _say(self.study.end(entry.run_id, score, curve))


def _say(lines: Sequence[str]) -> None:
    for line in lines:
        print(line, flush=True)

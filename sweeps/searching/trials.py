"""The trials of a search under way: what Optuna proposes becomes packs of runs, what becomes of them is told to it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from analysis.record.entry import CURVE_FIELDS, Entry
from analysis.record.ledger import Ledger
from sweeps.planning.plan import JobKind, PlannedJob, job_of
from sweeps.running.events import EpochDone, Event, JobFailed, RunEnded
from sweeps.running.recovery import forget_end, ingest
from sweeps.searching.goals import costs_of
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

    Where trials can be given up, the runs of a trial are trained one after the other: the first ones tell whether the
    others are worth it.

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
        self._waiting: list[RunSpec] = []
        self._next: dict[str, RunSpec] = {}
        self._specs: dict[str, RunSpec] = {}
        self._epochs: dict[str, int] = {}
        self._failures = 0
        self._asked_all = study.counted >= most

    @property
    def given_up(self) -> bool:
        return self._failures >= MOST_FAILURES

    @cached_property
    def _references(self) -> dict[tuple[object, ...], float]:
        """Top-1 of KD's trials by pair and seed, which are trained before all others."""
        entries = self.ledger.entries([spec.run_id for spec in self.search.reference_trials()])
        return {_place(entry.spec): score_of(entry) or 0.0 for entry in entries.values()}

    def _score(self, spec: RunSpec, top1: float) -> float:
        """Top-1, or its gain over KD where there are several pairs."""
        return top1 - self._references.get(_place(spec), 0.0)

    @property
    def over(self) -> bool:
        """Whether no further run will be handed out."""
        to_come = self._waiting or any(map(self.study.under_way, self._next))
        return self.given_up or (self._asked_all and not to_come)

    @property
    def template(self) -> PlannedJob:
        """A job with the needs of every pack."""
        return job_of(JobKind.TRIALS, [self.search.trial({})], self._needs)

    def ask(self) -> PlannedJob | None:
        """The next pack: runs that share a stream. Others wait for the packs after it."""
        if self.given_up:
            return None
        at_once = 1 if self.study.pruner != "none" else len(self.search.places)
        while len(self._alike()) < self._pack and len(self._waiting) < self._pack * at_once and not self._asked_all:
            self._ask_for_one()
        specs = self._alike()
        self._waiting = [spec for spec in self._waiting if spec not in specs]
        for spec in specs:
            forget_end(self.results, spec.run_id)
        return job_of(JobKind.TRIALS, specs, self._needs) if specs else None

    def _alike(self) -> list[RunSpec]:
        """The runs that wait, and share a stream with the first one."""
        self._waiting = [spec for spec in self._waiting if self.study.under_way(spec.run_id)]
        return [spec for spec in self._waiting if stream_key(spec) == stream_key(self._waiting[0])][: self._pack]

    def _ask_for_one(self) -> None:
        """The runs of the next trial wait, but those that are under way, in the ledger, or no runs."""
        points = self.study.exhausted
        self._asked_all = bool(points) or self.study.counted >= self._most
        if points:
            _say([f"all {count(points, 'point')} of --space are tried: there is nothing else to try"])
        if self._asked_all:
            return
        trial, fields = self.study.ask()
        try:
            specs = self.search.trials(fields)
        except UserError as error:
            _say([self.study.refuse(trial, str(error))])
            return
        runs = [spec.run_id for spec in specs]
        under_way, pruned = self.study.under_way(runs[0]), self.study.pruned(runs)
        self.study.begin(trial, *runs)
        self._specs |= zip(runs, specs, strict=True)
        if under_way:
            return
        if pruned:
            _say(self.study.prune(runs[0]))
        elif self.study.pruner != "none":
            self._next |= zip(runs, specs[1:], strict=False)
            self._begin(specs[0])
        else:
            for spec in specs:
                self._begin(spec)

    def _begin(self, spec: RunSpec) -> None:
        """The run waits for a pack, unless the ledger has its end or its trial has ended."""
        if not self.study.under_way(spec.run_id):
            return
        ingest(self.results, self.ledger, [spec.run_id])
        entry = self.ledger.get(spec.run_id)
        if entry is not None and (entry.done or not self._retry or spec.run_id in self._retried):
            self._end(entry)
            return
        self._retried.add(spec.run_id)
        self._waiting.append(spec)

    def __call__(self, event: Event) -> None:
        match event:
            case EpochDone(_, report):
                self._epochs |= dict.fromkeys(report.metrics, report.epoch)
                for run_id, numbers in report.metrics.items():
                    if run_id not in report.stopped and self._falls_behind(run_id, report.epoch, numbers["top1"]):
                        ask_to_stop(self.results, run_id)
                for run_id in report.stopped:
                    self._prune(run_id)
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

    def _falls_behind(self, run_id: str, epoch: int, top1: float) -> bool:
        spec = self._specs.get(run_id)
        return spec is not None and self.study.report(run_id, epoch, self._score(spec, top1))

    def _prune(self, run_id: str) -> None:
        runs = self.study.runs_beside(run_id)
        saved = sum(self._specs[run].epochs - self._epochs.get(run, 0) for run in runs)
        _say(self.study.prune(run_id, saved))

    def _end(self, entry: Entry) -> None:
        score = score_of(entry)
        if score is None:
            _say(self.study.fail(entry.run_id, entry.reason or "no reason recorded"))
        elif self.study.under_way(entry.run_id):
            rows = [dict(zip(CURVE_FIELDS, row, strict=True)) for row in entry.curve]
            curve = {int(row["epoch"] or 0): self._score(entry.spec, row["top1"] or 0) for row in rows}
            self._epochs[entry.run_id] = entry.spec.epochs
            costs = costs_of(entry, self.search.costs)
            _say(self.study.end(entry.run_id, self._score(entry.spec, score), curve, costs))
            if self.study.loses(entry.run_id):
                self._prune(entry.run_id)
        if (after := self._next.pop(entry.run_id, None)) is not None:
            self._begin(after)


def _place(spec: RunSpec) -> tuple[object, ...]:
    return spec.teacher, spec.student, spec.seed


def _say(lines: Sequence[str]) -> None:
    for line in lines:
        print(line, flush=True)

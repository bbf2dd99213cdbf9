"""A search with an engine that trains nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import fake_job
import optuna
import pytest
from optuna.storages import InMemoryStorage

from analysis.record.ledger import Ledger
from analysis.reporting.search_results import Searched
from sweeps import search
from sweeps.planning.job_queue import JobQueue, Outcome
from sweeps.planning.plan import Plan, PlannedJob
from sweeps.running.events import EpochDone, JobFailed, JobStarted, RunEnded
from sweeps.running.recovery import forget_end
from trainables.job import EpochReport
from trainables.spec import RunSpec
from trainables.storage.runs import run_dir, weights_path, write_result
from trainables.storage.stopping import forget_stop, is_asked_to_stop, is_stopped

COMMON = ("--pair", "resnet20/resnet8", "--dataset", "digits", "--gpus", "0", "--epochs", "3", "--seeds", "1")
SPACE = ("--space", "T=3:8", "lr=0.01:0.1:log", "--sampler", "tpe", "--top", "1")


class MachineError(Exception):
    """Ends the job."""


def score(spec: RunSpec) -> float:
    """The less, the further from lr = 0.05."""
    return round(90 - 100 * abs(spec.lr - 0.05), 4)


EMPTY = hashlib.sha256(b"").hexdigest()


@dataclass
class Engine:
    """In place of Ray's: trains jobs at once, `wide` of them taken together. fate: of a run, a score or the reason why
    it diverges; it may raise MachineError. epochs: the numbers of every epoch, to be stopped by."""

    results: Path
    fate: Callable[[RunSpec], float | str] = score
    wide: int = 1
    most: int = 99
    jobs: list[PlannedJob] = field(default_factory=list)
    plans: list[Plan] = field(default_factory=list)
    pruned: list[str] = field(default_factory=list)

    def __call__(
        self, plan: Plan, ledger: Ledger, place: Any, resources: Any, tell: Callable[[Any], None], **rest: Any
    ) -> Outcome:
        queue: JobQueue = rest["queue"]
        self.plans.append(plan)
        for spec in (spec for job in plan.jobs for spec in job.specs):
            forget_end(self.results, spec.run_id)
        while len(self.jobs) < self.most:
            taken = [job for _ in range(self.wide) if (job := queue.take()) is not None]
            if not taken:
                assert queue.exhausted
                return queue.outcome()
            self.jobs += taken
            for job in taken:
                tell(JobStarted(job))
                self._train(job, queue, ledger, tell)
        return queue.outcome("stopped by Ctrl-C")

    def _train(self, job: PlannedJob, queue: JobQueue, ledger: Ledger, tell: Callable[[Any], None]) -> None:
        for spec in job.specs:
            folder = run_dir(self.results, spec.run_id)
            folder.mkdir(parents=True, exist_ok=True)
            assert not is_asked_to_stop(self.results, spec.run_id)
            assert not is_stopped(self.results, spec.run_id)
            assert not (folder / "result.json").exists()
            try:
                ends = self.fate(spec)
            except MachineError as error:
                queue.close_job(job, str(error))
                tell(JobFailed(job, str(error)))
                return
            if isinstance(ends, float) and self._stopped(job, spec, ends, tell):
                queue.mark_stopped(spec.run_id)
                continue
            numbers = {"best_top1": ends, "last_top1": ends, "weights_sha256": EMPTY} if isinstance(ends, float) else {}
            result = fake_job.result(spec, ends if isinstance(ends, str) else None) | numbers
            write_result(self.results, result)
            weights_path(self.results, spec.run_id).touch()
            ledger.record(result)
            entry = ledger.get(spec.run_id)
            assert entry is not None
            queue.mark_done(spec.run_id) if entry.done else queue.mark_failed(spec.run_id, entry.reason or "")
            tell(RunEnded(entry))
        queue.close_job(job, None)

    def _stopped(self, job: PlannedJob, spec: RunSpec, ends: float, tell: Callable[[Any], None]) -> bool:
        """As a job does: it sees the file after an epoch whose numbers the driver does not know yet."""
        for epoch in range(1, spec.epochs + 1):
            stop = is_asked_to_stop(self.results, spec.run_id)
            ids = (spec.run_id,) if stop else ()
            forget_stop(self.results, spec.run_id)
            tell(EpochDone(job, EpochReport(epoch, spec.epochs, {spec.run_id: {"top1": ends}}, stopped=ids)))
            if stop:
                self.pruned.append(spec.run_id)
                return True
        return False

    @property
    def trials(self) -> list[RunSpec]:
        return [spec for job in self.jobs for spec in job.specs if spec.holdout]

    @property
    def finals(self) -> list[RunSpec]:
        return [spec for job in self.jobs if job.kind == "distilled" for spec in job.specs]


class Studies(dict[str, InMemoryStorage]):
    """In place of SQLite files, whose tables take longer than a search: what a file keeps, until it is removed."""

    def __call__(self, url: str, **_: Any) -> InMemoryStorage:
        path = Path(unquote(url.removeprefix("sqlite:///")))
        if not path.exists():
            path.touch()
            self[str(path)] = InMemoryStorage()
        return self[str(path)]


@dataclass
class Bench:
    results: Path
    patch: pytest.MonkeyPatch
    capture: pytest.CaptureFixture[str]
    shown: list[Searched] = field(default_factory=list)
    studies: Studies = field(default_factory=Studies)

    def __post_init__(self) -> None:
        self.patch.setattr("sweeps.searching.study.RDBStorage", self.studies)

    def __call__(self, *words: str, **how: Any) -> tuple[int, Engine, str]:
        """Search: exit status, what the engine was given, what was printed."""
        engine = Engine(self.results, **how)
        self.patch.setattr("sweeps.running.engine.execute", engine)
        self.patch.setattr("sweeps.search.write_search", lambda found, folder: self.shown.append(found) or [])
        usual = (*COMMON[2 * ("--pair" in words) :], *SPACE[3 * ("--space" in words) :])
        status = search.main([*usual, "--results", str(self.results), *words])
        return status, engine, self.capture.readouterr().out

    @property
    def study(self) -> optuna.Study:
        (path,) = self.results.glob("search/*/study.sqlite")
        return optuna.load_study(study_name=path.parent.name, storage=self.studies[str(path)])

    def states(self) -> list[str]:
        return [trial.state.name for trial in self.study.get_trials()]

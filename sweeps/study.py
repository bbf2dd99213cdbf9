"""An Optuna study in one SQLite file: what was tried, with what result, and what to try next."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.importance import FanovaImportanceEvaluator
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from analysis.entry import Entry
from sweeps.space import Point, Scalar, Space
from trainables.errors import UserError

FIRST_AT_RANDOM = 8
FEWEST = 4
"""Trials that say how much each field matters."""
FIELDS, RUN, ORIGIN, FAILED = "fields", "run", "origin", "failed"


def score_of(entry: Entry) -> float | None:
    """Top-1 of the held-out images after the last epoch: the best of all epochs would be chosen by them."""
    return entry.last_top1 if entry.done else None


def sampler(name: str, seed: int) -> BaseSampler:
    """With every argument that decides where it looks; the defaults of Optuna have changed between versions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if name == "gp":
            return GPSampler(seed=seed, n_startup_trials=FIRST_AT_RANDOM, deterministic_objective=False)
        return TPESampler(
            seed=seed,
            n_startup_trials=FIRST_AT_RANDOM,
            n_ei_candidates=24,
            multivariate=True,
            group=False,
            constant_liar=True,
        )


def pruner(grace: int | None) -> BasePruner:
    """None prunes nothing. Else a trial is pruned that is worse than the median at its epoch, after `grace` epochs:
    before the first fall of the learning rate the order of students says little."""
    if grace is None:
        return NopPruner()
    return MedianPruner(n_startup_trials=FIRST_AT_RANDOM, n_warmup_steps=grace, n_min_trials=4)


@dataclass(frozen=True)
class Tried:
    """A trial that has ended. score: of the held-out images; None where it failed. fields: of the run."""

    number: int
    state: str
    score: float | None
    fields: dict[str, Scalar]
    run: str
    origin: str


class Study:
    """The study of a search. Only this process writes it."""

    def __init__(
        self,
        path: Path,
        name: str,
        space: Space,
        base: float,
        make_sampler: Callable[[int], BaseSampler],
        pruner: BasePruner,
    ) -> None:
        """make_sampler: from a seed, which is another one each time that the study goes on."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            storage = RDBStorage(f"sqlite:///{path}")
            self.study = optuna.create_study(
                storage=storage,
                study_name=name,
                direction="maximize",
                pruner=pruner,
                load_if_exists=True,
            )
        except Exception as error:
            raise UserError(f"{path} cannot be used as a study: {_line(error)}; move it away to begin anew") from error
        self.path, self.space, self.base = path, space, base
        self._open: dict[str, list[Trial]] = {}
        self.study.sampler = make_sampler(len(self._trials()))
        self._orphans()

    def _orphans(self) -> None:
        """Trials that were under way when an earlier search was killed: ended here, and asked for once more."""
        found = [trial for trial in self._trials() if trial.state == TrialState.RUNNING]
        for trial in found:
            self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
            self._ask_again(trial)

    def _ask_again(self, trial: FrozenTrial | Trial) -> None:
        self.study.enqueue_trial(trial.params, user_attrs={ORIGIN: trial.user_attrs.get(ORIGIN, "")})

    def _trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    @property
    def counted(self) -> int:
        """Trials with an end of their own, or under way: what a search's number of trials counts."""
        ends = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
        return sum(trial.state in ends or FAILED in trial.user_attrs for trial in self._trials())

    def propose(self, point: Point, origin: str) -> bool:
        """Have a point tried first, if it lies in the space and was not proposed before."""
        if any(trial.user_attrs.get(ORIGIN) == origin for trial in self._trials()):
            return True
        if not self.space.holds(point):
            return False
        self.study.enqueue_trial(self.space.asked(point, self.base), user_attrs={ORIGIN: origin})
        return True

    def ask(self) -> tuple[Trial, dict[str, Scalar]]:
        """The next trial and the fields of its run."""
        trial = self.study.ask(self.space.distributions())
        fields = self.space.point(trial.params, self.base)
        trial.set_user_attr(FIELDS, json.dumps(fields))
        return trial, fields

    def begin(self, trial: Trial, run_id: str) -> None:
        trial.set_user_attr(RUN, run_id)
        self._open.setdefault(run_id, []).append(trial)

    def report(self, run_id: str, epoch: int, score: float) -> bool:
        """An epoch's score; whether the run should stop."""
        prune = False
        for trial in self._open.get(run_id, []):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # An epoch that is trained again after a stop was reported before.
                trial.report(score, epoch)
            prune = trial.should_prune()
        return prune

    def end(self, run_id: str, score: float | None, *, pruned: bool = False, reason: str = "") -> list[str]:
        """A run has ended: with a score, pruned at its last report, or failed for a reason. Says so, a line a trial."""
        said = []
        for trial in self._open.pop(run_id, []):
            if pruned:
                self.study.tell(trial, state=TrialState.PRUNED)
                how = "pruned"
            elif score is None:
                trial.set_user_attr(FAILED, reason)
                self.study.tell(trial, state=TrialState.FAIL)
                how = f"failed: {' '.join(reason.split())}"
            else:
                self.study.tell(trial, score)
                how = f"held-out top-1 {score:.2f}"
            fields = json.loads(trial.user_attrs[FIELDS])
            words = ", ".join(f"{name} {value}" for name, value in fields.items())
            said.append(f"trial {trial.number:<4d} {how}  ({words})")
        return said

    def tried(self) -> list[Tried]:
        """The trials that ended, in their order."""
        return [
            Tried(
                trial.number,
                trial.state.name.lower(),
                trial.value if trial.state in (TrialState.COMPLETE, TrialState.PRUNED) else None,
                json.loads(trial.user_attrs.get(FIELDS, "{}")),
                trial.user_attrs.get(RUN, ""),
                trial.user_attrs.get(ORIGIN, ""),
            )
            for trial in self._trials()
            if trial.state.is_finished() and RUN in trial.user_attrs
        ]

    def best(self, count: int, without: Sequence[Mapping[str, Any]] = ()) -> list[Tried]:
        """The `count` best distinct points that were trained to their end; not those of `without`."""
        found: list[Tried] = []
        for one in sorted(self.tried(), key=lambda one: -(one.score or 0)):
            if one.state == "complete" and one.fields not in [*without, *(other.fields for other in found)]:
                found.append(one)
        return found[:count]

    def importances(self) -> dict[str, float]:
        """By parameter (T- by its share), of trials that were trained to their end; none where they say too little."""
        complete = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if len(complete) < FEWEST or len({trial.value for trial in complete}) < 2:
            return {}
        evaluator = FanovaImportanceEvaluator(seed=0)
        return optuna.importance.get_param_importances(self.study, evaluator=evaluator)

    def close(self) -> None:
        """Leave no trial under way: what a stopped search has not finished is asked for again by the next one."""
        for trial in (trial for trials in self._open.values() for trial in trials):
            self.study.tell(trial, state=TrialState.FAIL)
            self._ask_again(trial)
        self._open.clear()


@contextlib.contextmanager
def opened(study: Study) -> Iterator[Study]:
    try:
        yield study
    finally:
        study.close()


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__

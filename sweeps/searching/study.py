"""An Optuna study in one SQLite file: what was tried, with what result, and what to try next."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from urllib.parse import quote

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.samplers import BaseSampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from analysis.record.entry import Entry
from analysis.record.sqlite_errors import WAIT_SECONDS, check_beside, meaning
from analysis.record.study import importances_of
from analysis.record.trial import (
    FAILED,
    FIELDS,
    GOALS,
    INSTEAD,
    LOST,
    ORIGIN,
    PRUNER,
    RUNS,
    SAVED,
    Scalar,
    TrialRecord,
    find_replaced,
    records_of,
)
from sweeps.searching.goals import Goal
from sweeps.searching.space import Distribution, Point, Space
from sweeps.searching.strategies import pruner
from sweeps.searching.untried import Untried, grid_of
from trainables.errors import UserError, causes

ANEW = "move it away to begin anew"
ASKED = "asked"
"""User attribute of a trial: its point as Optuna's parameters."""


def score_of(entry: Entry) -> float | None:
    """Top-1 of the held-out images after the last epoch: the best of all epochs would be chosen by them."""
    return entry.last_top1 if entry.done else None


@dataclass
class _UnderWay:
    """A point whose runs are trained.

    runs: their ids, in the order in which they are trained.
    trials: that asked for it; several where Optuna proposed it again.
    reported: to Optuna, by step: the scores of the first run by epoch, or those of the runs by their place.
    values: of the runs that ended. losing: whether the pruner gives it up.
    """

    runs: tuple[str, ...]
    reported: dict[int, float]
    trials: list[Trial] = field(default_factory=list)
    values: dict[str, tuple[float, ...]] = field(default_factory=dict)
    losing: bool = False


class Study:
    """The study of a search. Only this process writes it.

    A point of which a run cannot be trained is told to Optuna as complete with the worst values so far, or the goals'
    own if these are worse: samplers pass over what is told as failed, and would go on looking there.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        space: Space,
        base: float,
        make_sampler: Callable[[int], BaseSampler],
        pruned_by: str,
        lengths: tuple[int, int],
        goals: Sequence[Goal],
    ) -> None:
        """make_sampler: from a seed, which is another one each time that the study goes on. pruned_by: the name of the
        pruner; lengths: the epochs before which it gives nobody up, and those of a run."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        path.parent.mkdir(parents=True, exist_ok=True)
        check_beside(path)
        self.path, self.space, self.base, self.goals = path, space, base, goals
        self.pruner = pruned_by
        self._open: dict[str, _UnderWay] = {}
        self._lost = 0
        self._grid = grid_of(space.distributions(), space.branches, ASKED)
        try:
            url = f"sqlite:///{quote(str(path), safe='/ ')}"
            self.study = optuna.create_study(
                storage=RDBStorage(url, engine_kwargs={"connect_args": {"timeout": WAIT_SECONDS}}),
                study_name=name,
                directions=[goal.direction for goal in goals],
                pruner=pruner(pruned_by, *lengths),
                load_if_exists=True,
            )
            self.study.set_user_attr(GOALS, {goal.name: goal.words for goal in goals})
            proposing = make_sampler(len(self._trials()))
            self.study.sampler = Untried(proposing, self._grid, self._trials) if self._grid else proposing
            self._orphans()
        except Exception as error:
            known = _explain(error, path)
            raise UserError(known or f"the study {path} cannot be used: {_line(error)}; {ANEW}") from error

    def _orphans(self) -> None:
        """Points that an earlier search asked for and did not try, are asked for again."""
        for trial in self._trials():
            if trial.state == TrialState.RUNNING:
                self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
        self._ask_again([trial for trial in self._trials() if trial.state == TrialState.FAIL])

    def retry(self) -> None:
        """Ask again for the points whose runs could not be trained."""
        self._ask_again([trial for trial in self._trials() if FAILED in trial.user_attrs])

    def _ask_again(self, trials: Sequence[FrozenTrial]) -> None:
        """Once for each: the trial that is asked for instead names it."""
        replaced = self._replaced()
        for trial in trials:
            asked = trial.user_attrs.get(ASKED, {}) | trial.params
            if asked and trial.number not in replaced:
                attrs = {ORIGIN: trial.user_attrs.get(ORIGIN, ""), INSTEAD: trial.number, ASKED: asked}
                self.study.enqueue_trial(asked, user_attrs=attrs)

    def _replaced(self) -> set[int]:
        return find_replaced(self._trials())

    def _trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    @property
    def counted(self) -> int:
        """What a search's number of trials counts: those with an end of their own, those under way, and those that were
        lost since this search began, which the next one asks for again."""
        ends, replaced = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING), self._replaced()
        return self._lost + sum(trial.state in ends and trial.number not in replaced for trial in self._trials())

    def propose(self, point: Point, origin: str) -> bool:
        """Try a point first, unless it was before. False if it lies outside the space."""
        if not self.space.holds(point):
            return False
        asked = self.space.asked(point, self.base)
        self.study.enqueue_trial(asked, user_attrs={ORIGIN: origin, ASKED: asked}, skip_if_exists=True)
        return True

    def ask(self) -> tuple[Trial, dict[str, Scalar]]:
        """The next trial and the fields of its run."""
        trial = self.study.ask()
        if self.space.rules:
            _suggest(trial, "rule", self.space.distributions()["rule"])
        for name, values in self.space.distributions(trial.params).items():
            _suggest(trial, name, values)
        fields = self.space.point(trial.params, self.base)
        trial.set_user_attr(FIELDS, json.dumps(fields))
        return trial, fields

    @property
    def exhausted(self) -> int:
        """How many points the space has, if all of them were asked for; else 0."""
        trials = self._trials()
        if self._grid is None or any(trial.state == TrialState.WAITING for trial in trials):
            return 0
        return self._grid.size if len(self._grid.taken(trials)) == self._grid.size else 0

    def under_way(self, run_id: str) -> bool:
        return run_id in self._open

    def pruned(self, runs: Sequence[str]) -> bool:
        """Whether a trial of the same runs was given up, and would be again."""
        known = [trial.user_attrs.get(RUNS) for trial in self._trials() if trial.state == TrialState.PRUNED]
        return self.pruner != "none" and " ".join(runs) in known

    def begin(self, trial: Trial, *runs: str) -> None:
        """The trial shares the end of its runs, and the scores that another one reported of the same runs."""
        trial.set_user_attr(RUNS, " ".join(runs))
        before = trial.user_attrs.get(INSTEAD)
        if runs[0] not in self._open:
            reported = {} if before is None else dict(self._trials()[before].intermediate_values)
            self._open |= dict.fromkeys(runs, _UnderWay(runs, reported))
        point = self._open[runs[0]]
        point.trials.append(trial)
        for step, score in point.reported.items():
            trial.report(score, step)

    def refuse(self, trial: Trial, reason: str) -> str:
        """The point of a trial that has not begun is no run."""
        self._tell_failed(trial, reason)
        return _say_how(trial, f"failed: {' '.join(reason.split())}")

    def report(self, run_id: str, epoch: int, score: float) -> bool:
        """An epoch's score; whether the run should stop. The first run of a point speaks for the others."""
        point = self._open.get(run_id)
        if point is None or run_id != point.runs[0] or self.pruner == "wilcoxon":
            return False
        return self._report(point, epoch, score)

    def _report(self, point: _UnderWay, step: int, score: float) -> bool:
        if len(self.goals) > 1:  # Optuna has no pruning there.
            return False
        if step not in point.reported:  # Else an epoch that is trained again after a stop.
            point.reported[step] = score
            for trial in point.trials:
                trial.report(score, step)
        return any(trial.should_prune() for trial in point.trials)

    def end(
        self, run_id: str, score: float, curve: Mapping[int, float] | None = None, costs: Sequence[float] = ()
    ) -> list[str]:
        """A run was trained to its end: a line for each of its trials, if it is their last. curve: its scores by epoch,
        if not reported."""
        point = self._open.get(run_id)
        if point is None:
            return []
        for epoch, reached in (curve or {}).items():
            self.report(run_id, epoch, reached)
        point.values[run_id] = (score, *costs)
        losing = self.pruner == "wilcoxon" and self._report(point, point.runs.index(run_id), score)
        if len(point.values) < len(point.runs):
            point.losing = losing
            return []
        values = [fmean(each) for each in zip(*point.values.values(), strict=True)]
        said = ", ".join(goal.say(value) for goal, value in zip(self.goals, values, strict=True))
        return self._close(run_id, lambda trial: self.study.tell(trial, values), said)

    def loses(self, run_id: str) -> bool:
        """Whether the pruner gives up the point of a run that has ended."""
        return run_id in self._open and self._open[run_id].losing

    def runs_beside(self, run_id: str) -> tuple[str, ...]:
        """All runs of the point that a run is of, if it is under way."""
        return self._open[run_id].runs if run_id in self._open else ()

    def prune(self, run_id: str, saved: int = 0) -> list[str]:
        """The point of a run is given up. saved: the epochs that are not trained."""
        left = [saved]

        def tell(trial: Trial) -> None:
            trial.set_user_attr(PRUNER, self.pruner)
            trial.set_user_attr(SAVED, left.pop() if left else 0)
            self.study.tell(trial, state=TrialState.PRUNED)

        return self._close(run_id, tell, "pruned")

    def fail(self, run_id: str, reason: str) -> list[str]:
        """A run cannot be trained, for a reason of its own."""
        return self._close(
            run_id, lambda trial: self._tell_failed(trial, reason), f"failed: {' '.join(reason.split())}"
        )

    def lose(self, run_id: str, reason: str) -> list[str]:
        """A run was not trained, for no reason of its own: its trials are asked for again by the next search."""

        def tell(trial: Trial) -> None:
            self._lost += 1
            trial.set_user_attr(LOST, reason)
            self.study.tell(trial, state=TrialState.FAIL)

        return self._close(run_id, tell, f"lost: {' '.join(reason.split())}")

    def _close(self, run_id: str, tell: Callable[[Trial], object], how: str) -> list[str]:
        point = self._open.get(run_id)
        if point is None:
            return []
        for run in point.runs:
            del self._open[run]
        for trial in point.trials:
            tell(trial)
        return [_say_how(trial, how) for trial in point.trials]

    def _tell_failed(self, trial: Trial, reason: str) -> None:
        trial.set_user_attr(FAILED, reason)
        known = [each.values for each in self._complete()]
        self.study.tell(
            trial,
            [
                (min if goal.direction == "maximize" else max)([*(values[place] for values in known), goal.worst])
                for place, goal in enumerate(self.goals)
            ],
        )

    def _complete(self) -> list[FrozenTrial]:
        """The trials that were trained to their end."""
        found = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return [trial for trial in found if FAILED not in trial.user_attrs]

    def tried(self) -> list[TrialRecord]:
        """The trials that ended, in their order."""
        return records_of(self._trials(), [goal.name for goal in self.goals[1:]])

    def best(self, count: int | None = None) -> list[TrialRecord]:
        """The `count` best distinct points that were trained to their end, or all, the best first."""
        found: list[TrialRecord] = []
        for one in sorted(self.tried(), key=lambda one: -(one.score or 0)):
            if one.state == "complete" and one.fields not in [other.fields for other in found]:
                found.append(one)
        return found[:count]

    def front(self) -> list[TrialRecord]:
        """The distinct points that no other one beats in all goals, the best score first."""
        numbers = {trial.number for trial in self.study.best_trials}
        return [one for one in self.best() if one.number in numbers]

    def importances(self) -> dict[str, float]:
        """See `importances_of`."""
        return importances_of(self._complete(), self.study.directions)

    def close(self) -> None:
        """Leave no trial under way: what a stopped search has not finished is asked for again by the next one."""
        for run_id in list(self._open):
            self.lose(run_id, "the search was stopped")


def _suggest(trial: Trial, name: str, values: Distribution) -> None:
    if isinstance(values, CategoricalDistribution):
        trial.suggest_categorical(name, values.choices)
    else:
        trial.suggest_float(name, values.low, values.high, step=values.step, log=values.log)


def _say_how(trial: Trial, how: str) -> str:
    fields = json.loads(trial.user_attrs[FIELDS])
    return f"trial {trial.number:<4d} {how}  ({', '.join(f'{name} {value}' for name, value in fields.items())})"


@contextlib.contextmanager
def opened(study: Study) -> Iterator[Study]:
    """A study that is closed at the end. A file that cannot be written is one line."""
    try:
        with contextlib.closing(study):
            yield study
    except Exception as error:
        known = _explain(error, study.path)
        if known is None:
            raise
        raise UserError(f"{known}; nothing that was finished is lost") from error


def _explain(error: Exception, path: Path) -> str | None:
    """What an error of the study's file means; None of any other, and of one that was told already."""
    each = next((each for each in causes(error) if isinstance(each, sqlite3.Error)), None)
    if each is None or isinstance(error, UserError):
        return None
    foreign = f"is no study of this program, or is damaged: {ANEW}"
    return f"the study {path} {meaning(each, path, foreign=foreign, damaged=ANEW)}"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__

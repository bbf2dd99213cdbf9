"""An Optuna study in one SQLite file: what was tried, with what result, and what to try next."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.importance import FanovaImportanceEvaluator
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from analysis.record.entry import Entry
from analysis.record.sqlite_errors import WAIT_SECONDS, check_beside, meaning
from analysis.record.trial import Scalar, TrialRecord
from sweeps.searching.space import Distribution, Point, Space
from sweeps.searching.untried import Untried, grid_of
from trainables.errors import UserError, causes

FIRST_AT_RANDOM = 8
ANEW = "move it away to begin anew"
FEWEST = 4
"""Trials that say how much each field matters."""
FIELDS, ASKED, RUN, ORIGIN = "fields", "asked", "run", "origin"
FAILED, LOST, INSTEAD = "failed", "lost", "instead of trial"
"""User attributes of a trial. ASKED: its point as Optuna's parameters. FAILED: why its point has no score. LOST: why it
ended without being tried."""


def score_of(entry: Entry) -> float | None:
    """Top-1 of the held-out images after the last epoch: the best of all epochs would be chosen by them."""
    return entry.last_top1 if entry.done else None


def sampler(name: str, seed: int, *, parted: bool = False) -> BaseSampler:
    """With every argument that decides where it looks; the defaults of Optuna have changed between versions.

    parted: whether not all trials have the same parameters.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if name == "gp":
            return GPSampler(seed=seed, n_startup_trials=FIRST_AT_RANDOM, deterministic_objective=False)
        return TPESampler(
            seed=seed,
            n_startup_trials=FIRST_AT_RANDOM,
            n_ei_candidates=24,
            multivariate=True,
            group=parted,
            constant_liar=True,
        )


def pruner(grace: int | None) -> BasePruner:
    """None prunes nothing. Else a trial is pruned that is worse than the median at its epoch, after `grace` epochs:
    before the first fall of the learning rate the order of students says little."""
    if grace is None:
        return NopPruner()
    return MedianPruner(n_startup_trials=FIRST_AT_RANDOM, n_warmup_steps=grace, n_min_trials=4)


class Study:
    """The study of a search. Only this process writes it.

    A point whose run cannot be trained is told to Optuna as complete with the least score so far, or `chance` if that
    is less: samplers pass over what is told as failed, and would go on looking there.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        space: Space,
        base: float,
        make_sampler: Callable[[int], BaseSampler],
        pruner: BasePruner,
        chance: float,
    ) -> None:
        """make_sampler: from a seed, which is another one each time that the study goes on."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        path.parent.mkdir(parents=True, exist_ok=True)
        check_beside(path)
        self.path, self.space, self.base, self.chance = path, space, base, chance
        self._open: dict[str, list[Trial]] = {}
        self._scores: dict[str, dict[int, float]] = {}
        self._lost = 0
        self._grid = grid_of(space.distributions(), space.branches, ASKED)
        try:
            url = f"sqlite:///{quote(str(path), safe='/ ')}"
            self.study = optuna.create_study(
                storage=RDBStorage(url, engine_kwargs={"connect_args": {"timeout": WAIT_SECONDS}}),
                study_name=name,
                direction="maximize",
                pruner=pruner,
                load_if_exists=True,
            )
            proposing = make_sampler(len(self._trials()))
            self.study.sampler = Untried(proposing, self._grid) if self._grid else proposing
            self._orphans()
        except Exception as error:
            known = _meaning(error, path)
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
        return {trial.user_attrs[INSTEAD] for trial in self._trials() if INSTEAD in trial.user_attrs}

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

    def pruned(self, run_id: str) -> bool:
        """Whether the run was stopped at an earlier trial, and would be again."""
        if isinstance(self.study.pruner, NopPruner):
            return False
        return any(trial.state == TrialState.PRUNED and trial.user_attrs.get(RUN) == run_id for trial in self._trials())

    def begin(self, trial: Trial, run_id: str) -> None:
        """The trial shares the end of its run, and the scores that another one reported of the same run."""
        trial.set_user_attr(RUN, run_id)
        before = trial.user_attrs.get(INSTEAD)
        if run_id not in self._open:
            self._scores[run_id] = {} if before is None else dict(self._trials()[before].intermediate_values)
        self._open.setdefault(run_id, []).append(trial)
        for epoch, score in self._scores[run_id].items():
            trial.report(score, epoch)

    def refuse(self, trial: Trial, reason: str) -> str:
        """The point of a trial that has not begun is no run."""
        self._tell_failed(trial, reason)
        return _said(trial, f"failed: {' '.join(reason.split())}")

    def report(self, run_id: str, epoch: int, score: float) -> bool:
        """An epoch's score; whether the run should stop."""
        trials = self._open.get(run_id, [])
        if trials and epoch not in self._scores[run_id]:  # Else an epoch that is trained again after a stop.
            self._scores[run_id][epoch] = score
            for trial in trials:
                trial.report(score, epoch)
        return any(trial.should_prune() for trial in trials)

    def end(self, run_id: str, score: float, curve: Mapping[int, float] | None = None) -> list[str]:
        """A run was trained to its end: a line for each of its trials. curve: its scores by epoch, if not reported."""
        for epoch, reached in (curve or {}).items():
            self.report(run_id, epoch, reached)
        return self._close(run_id, lambda trial: self.study.tell(trial, score), f"held-out top-1 {score:.2f}")

    def prune(self, run_id: str) -> list[str]:
        """A run was stopped at its last report."""
        return self._close(run_id, lambda trial: self.study.tell(trial, state=TrialState.PRUNED), "pruned")

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
        trials = self._open.pop(run_id, [])
        for trial in trials:
            tell(trial)
        return [_said(trial, how) for trial in trials]

    def _tell_failed(self, trial: Trial, reason: str) -> None:
        scores = [each.value for each in self._complete() if each.value is not None]
        trial.set_user_attr(FAILED, reason)
        self.study.tell(trial, min([*scores, self.chance]))

    def _complete(self) -> list[FrozenTrial]:
        """The trials that were trained to their end."""
        found = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return [trial for trial in found if FAILED not in trial.user_attrs]

    def tried(self) -> list[TrialRecord]:
        """The trials that ended, in their order."""
        replaced = self._replaced()
        return [_tried(trial, trial.number in replaced) for trial in self._trials() if trial.state.is_finished()]

    def best(self, count: int | None = None) -> list[TrialRecord]:
        """The `count` best distinct points that were trained to their end, or all, the best first."""
        found: list[TrialRecord] = []
        for one in sorted(self.tried(), key=lambda one: -(one.score or 0)):
            if one.state == "complete" and one.fields not in [other.fields for other in found]:
                found.append(one)
        return found[:count]

    def importances(self) -> dict[str, float]:
        """By parameter (T- by its share), of trials that were trained to their end; none where they say too little."""
        complete = self._complete()
        if len(complete) < FEWEST or len({trial.value for trial in complete}) < 2:
            return {}
        scored = optuna.create_study(direction="maximize")
        scored.add_trials(complete)
        return optuna.importance.get_param_importances(scored, evaluator=FanovaImportanceEvaluator(seed=0))

    def close(self) -> None:
        """Leave no trial under way: what a stopped search has not finished is asked for again by the next one."""
        for run_id in list(self._open):
            self.lose(run_id, "the search was stopped")


def _suggest(trial: Trial, name: str, values: Distribution) -> None:
    if isinstance(values, CategoricalDistribution):
        trial.suggest_categorical(name, values.choices)
    else:
        trial.suggest_float(name, values.low, values.high, step=values.step, log=values.log)


def _tried(trial: FrozenTrial, replaced: bool) -> TrialRecord:
    reason = trial.user_attrs.get(FAILED) or trial.user_attrs.get(LOST, "")
    failed = "retried" if replaced else "failed"
    state = failed if FAILED in trial.user_attrs else trial.state.name.lower()
    if trial.state == TrialState.FAIL:
        state, reason = "lost", reason or "the search was killed"
    return TrialRecord(
        trial.number,
        state,
        trial.value if state in ("complete", "pruned") else None,
        json.loads(trial.user_attrs.get(FIELDS, "{}")),
        origin=trial.user_attrs.get(ORIGIN, ""),
        reason=reason,
        run=trial.user_attrs.get(RUN, ""),
    )


def _said(trial: Trial, how: str) -> str:
    fields = json.loads(trial.user_attrs[FIELDS])
    return f"trial {trial.number:<4d} {how}  ({', '.join(f'{name} {value}' for name, value in fields.items())})"


@contextlib.contextmanager
def opened(study: Study) -> Iterator[Study]:
    """A study that is closed at the end. A file that cannot be written is one line."""
    try:
        with contextlib.closing(study):
            yield study
    except Exception as error:
        known = _meaning(error, study.path)
        if known is None:
            raise
        raise UserError(f"{known}; nothing that was finished is lost") from error


def _meaning(error: Exception, path: Path) -> str | None:
    """What an error of the study's file means; None of any other, and of one that was told already."""
    each = next((each for each in causes(error) if isinstance(each, sqlite3.Error)), None)
    if each is None or isinstance(error, UserError):
        return None
    foreign = f"is no study of this program, or is damaged: {ANEW}"
    return f"the study {path} {meaning(each, path, foreign=foreign, damaged=ANEW)}"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__

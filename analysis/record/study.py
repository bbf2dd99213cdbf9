"""The study of a search, read beside the search that writes it. The only file of this package that knows Optuna."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import optuna
from optuna.importance import FanovaImportanceEvaluator
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from analysis.record.beside import connect_beside, read_undisturbed
from analysis.record.trial import COSTS, FAILED, FIELDS, GOALS, RUNS, TrialRecord, records_of
from trainables.errors import UserError

FEWEST = 4
"""Trials that say how much each field matters."""


@dataclass(frozen=True)
class StudyRecord:
    """A study as it was read.

    goals: its goals, and the words before their numbers; a study of an earlier version names none.
    best: the numbers of the trials that no other one beats.
    """

    name: str
    goals: dict[str, str]
    directions: tuple[StudyDirection, ...]
    kept: tuple[FrozenTrial, ...]
    best: tuple[int, ...]

    @property
    def costs(self) -> tuple[str, ...]:
        names = tuple(self.goals)[1:] or tuple(COSTS)
        return names[: len(self.directions) - 1]

    @cached_property
    def trials(self) -> tuple[TrialRecord, ...]:
        """Those that have ended."""
        return tuple(records_of(self.kept, self.costs))

    @property
    def under_way(self) -> list[TrialRecord]:
        """With their latest scores."""
        return [
            TrialRecord(
                trial.number,
                "running",
                trial.intermediate_values[max(trial.intermediate_values)] if trial.intermediate_values else None,
                json.loads(trial.user_attrs[FIELDS]),
                runs=tuple(trial.user_attrs.get(RUNS, "").split()),
            )
            for trial in self.kept
            if trial.state == TrialState.RUNNING and FIELDS in trial.user_attrs
        ]

    @cached_property
    def importances(self) -> dict[str, float]:
        complete = [trial for trial in self.kept if trial.state == TrialState.COMPLETE]
        return importances_of([trial for trial in complete if FAILED not in trial.user_attrs], self.directions)


def read_study(path: Path) -> StudyRecord:
    """Read it without a write or a lock: neither tables are made nor a killed writer's transaction is undone."""
    try:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        return read_undisturbed(path, lambda: _load_study(path))
    except Exception as error:
        raise UserError(f"the study {path} cannot be read: {' '.join(str(error).split())[:200]}") from error


def _load_study(path: Path) -> StudyRecord:
    options = {"creator": lambda: connect_beside(path)}
    storage = RDBStorage("sqlite:///study", options, skip_compatibility_check=True, skip_table_creation=True)
    try:
        study = optuna.load_study(study_name=None, storage=storage)
        kept = tuple(study.get_trials(deepcopy=False))
        goals = study.user_attrs.get(GOALS, {})
        best = tuple(trial.number for trial in study.best_trials)
        return StudyRecord(study.study_name, goals, tuple(study.directions), kept, best)
    finally:
        storage.engine.dispose()


def importances_of(complete: Sequence[FrozenTrial], directions: Sequence[StudyDirection]) -> dict[str, float]:
    """By parameter (T- by its share) for the score, of trials that were trained to their end; none where they say too
    little."""
    if len(complete) < FEWEST or len({trial.values[0] for trial in complete}) < 2:
        return {}
    scored = optuna.create_study(directions=directions)
    scored.add_trials(complete)
    return optuna.importance.get_param_importances(
        scored, evaluator=FanovaImportanceEvaluator(seed=0), target=lambda trial: trial.values[0]
    )

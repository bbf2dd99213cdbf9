"""One trial of a search that has ended, and what its study keeps of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

Scalar = float | str
COSTS = {"seconds": "Seconds", "parameters": "Parameters", "flops": "Multiply-adds", "epochs": "Epochs"}
"""What a search can keep low, and how it is called."""
FIELDS, RUNS, ORIGIN = "fields", "run", "origin"
FAILED, LOST, INSTEAD = "failed", "lost", "instead of trial"
PRUNER, SAVED = "pruner", "epochs not trained"
"""User attributes of a trial. FAILED: why its point has no score. LOST: why it ended without being tried."""
GOALS = "goals"
"""User attribute of a study: its goals, and the words before their numbers."""


def cost_words(value: float) -> str:
    """`4.4`, `78,042`"""
    return f"{value:,.0f}" if value.is_integer() else f"{value:,.1f}"


@dataclass(frozen=True)
class TrialRecord:
    """What was tried, and with what result.

    number: Optuna's, from 0.
    state: `complete` or `pruned`, with a score; `failed`: the run cannot be trained; `lost`: a machine failed or the
        search was stopped, so the point is asked for again; `retried`: failed, then asked for again.
    score: top-1 of the held-out images or its gain over KD, the mean over the trial's runs; None without one.
    fields: the values of the searched fields.
    origin: whose point it is, empty for one that Optuna proposed.
    reason: why there is no score.
    runs: the ids of the trial's runs.
    costs: by name, in the order in which they were asked for.
    pruner: that gave the trial up. saved: the epochs that were not trained then.
    """

    number: int
    state: str
    score: float | None
    fields: Mapping[str, Scalar]
    origin: str = ""
    reason: str = ""
    runs: tuple[str, ...] = ()
    costs: Mapping[str, float] = field(default_factory=dict)
    pruner: str = ""
    saved: int = 0


def find_replaced(trials: Iterable[Any]) -> set[int]:
    """Of Optuna's trials the numbers of those instead of which others were asked for."""
    return {trial.user_attrs[INSTEAD] for trial in trials if INSTEAD in trial.user_attrs}


def records_of(trials: Iterable[Any], costs: Sequence[str]) -> list[TrialRecord]:
    """Those of Optuna's trials that have ended."""
    trials = list(trials)
    replaced = find_replaced(trials)
    return [_record_of(trial, trial.number in replaced, costs) for trial in trials if trial.state.is_finished()]


def _record_of(trial: Any, replaced: bool, costs: Sequence[str]) -> TrialRecord:
    reason = trial.user_attrs.get(FAILED) or trial.user_attrs.get(LOST, "")
    state = trial.state.name.lower()
    if FAILED in trial.user_attrs:
        state = "retried" if replaced else "failed"
    if state == "fail":
        state, reason = "lost", reason or "the search was killed"
    values = trial.values or [] if state in ("complete", "pruned") else []
    if trial.user_attrs.get(PRUNER) == "wilcoxon":
        values = [fmean(trial.intermediate_values.values())]
    return TrialRecord(
        trial.number,
        state,
        values[0] if values else None,
        json.loads(trial.user_attrs.get(FIELDS, "{}")),
        origin=trial.user_attrs.get(ORIGIN, ""),
        reason=reason,
        runs=tuple(trial.user_attrs.get(RUNS, "").split()),
        costs=dict(zip(costs, values[1:], strict=False)),
        pruner=trial.user_attrs.get(PRUNER, ""),
        saved=trial.user_attrs.get(SAVED, 0),
    )

"""One trial of a search that has ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Scalar = float | str


@dataclass(frozen=True)
class TrialRecord:
    """What was tried, and with what result.

    number: Optuna's, from 0.
    state: `complete` or `pruned`, with a score; `failed`: the run cannot be trained; `lost`: a machine failed or the
        search was stopped, so the point is asked for again; `retried`: failed, then asked for again.
    score: top-1 of the held-out images, None without one.
    fields: the values of the searched fields.
    origin: whose point it is, empty for one that Optuna proposed.
    reason: why there is no score.
    run: the id of the trial's run.
    """

    number: int
    state: str
    score: float | None
    fields: Mapping[str, Scalar]
    origin: str = ""
    reason: str = ""
    run: str = ""

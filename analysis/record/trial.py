"""One trial of a search that has ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Scalar = float | str
COSTS = {"seconds": "Seconds", "parameters": "Parameters", "flops": "Multiply-adds", "epochs": "Epochs"}
"""What a search can keep low, and how it is called."""


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

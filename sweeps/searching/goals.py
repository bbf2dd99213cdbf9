"""What a search looks for: a high top-1 on held-out images, and low costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from analysis.record.entry import Entry
from analysis.record.trial import COSTS, cost_words
from trainables import datasets
from trainables.errors import UserError
from trainables.spec import RunSpec

WORST_COST = 1e12


@dataclass(frozen=True)
class Goal:
    """words: before its number. worst: what Optuna is told of a trial that cannot be trained, if no other is worse."""

    name: str
    words: str
    worst: float
    direction: Literal["maximize", "minimize"] = "minimize"

    def say(self, value: float) -> str:
        return f"{self.words} {f'{value:.2f}' if self.direction == 'maximize' else cost_words(value)}"


def goals(costs: tuple[str, ...], chance: float, *, gain: bool) -> tuple[Goal, ...]:
    """chance: the top-1 of guesses. gain: whether the gain over KD counts, which may be negative."""
    first = Goal("top1", "held-out gain over KD", chance - 100, "maximize")
    first = first if gain else Goal("top1", "held-out top-1", chance, "maximize")
    return (first, *(Goal(name, COSTS[name].lower(), WORST_COST) for name in costs))


def costs_of(entry: Entry, names: tuple[str, ...]) -> tuple[float, ...]:
    return tuple(_MEASURES[name](entry) for name in names)


def _flops(entry: Entry) -> float:
    from trainables.models.cost import cost_of  # With torch.

    counts = datasets.find(entry.spec.dataset).published
    assert counts is not None
    return float(cost_of(entry.spec.student, counts.num_classes, counts.side).multiply_adds)


def check_costs(names: tuple[str, ...], spec: RunSpec, searched: Mapping[str, str]) -> None:
    """Refuse a cost that all trials share, and one that cannot be known. searched: the paths of the space."""
    for name in names:
        field = "epochs" if name == "epochs" else "student"
        if name != "seconds" and field not in searched.values():
            raise UserError(f"--objective {name}: all trials would have the same; vary it: --space {field}=A,B ...")
    if "flops" in names and datasets.find(spec.dataset).published is None:
        raise UserError("--objective flops: it depends on the number of classes, which own images vary")


_MEASURES: dict[str, Callable[[Entry], float]] = {
    "seconds": lambda entry: float(entry.seconds or 0),
    "parameters": lambda entry: float(entry.parameters or 0),
    "flops": _flops,
    "epochs": lambda entry: float(entry.spec.epochs),
}

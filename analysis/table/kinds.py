"""The four kinds of table: of accuracies, of cost, of hyperparameters, and pictures of weights and images."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from analysis.record.entry import Entry
from analysis.record.settings import Settings
from trainables.errors import UserError
from trainables.spec import Temperature

TIMING_EPOCHS = 4
_REPORTED = {"best": "the best test epoch", "last": "the last epoch"}
_IN_THE_PAPER = {"best": ", which the paper's released trainer reports"}


@dataclass(frozen=True)
class TableKind:
    """What all kinds have, with the answers that most of them give."""

    trains: ClassVar[bool] = True
    """Runs are trained for it."""
    timed: ClassVar[bool] = False
    """Its runs are timed: they share nothing while they train."""
    needs_weights: ClassVar[bool] = False
    """It is drawn from weights and images rather than from numbers of the ledger."""
    compares_accuracies: ClassVar[bool] = False
    """Its rows are accuracies, of which the best of a block is marked."""
    baselines: tuple[str, ...] = ()
    """The rows over which the increase of the others is shown."""
    by_rate: bool = False
    """Drawn as curves against the rate of the mixing, not as a row of dots each."""

    def own_settings(self, table: str, settings: Settings) -> Settings:
        """By which settings such a table trains."""
        return settings

    def measure(self, entry: Entry, metric: str, number: str) -> float | None:
        """A finished run's top-1 (or `number`). The best top-5 is that of the epoch with the best top-1."""
        found: float | None = getattr(entry, f"{metric}_{number}")
        return found

    def describe(self, metric: str, seeds: int, epochs: str, devices: Sequence[str], *, of_paper: bool) -> str:
        """What its numbers are, for a caption."""
        spread = f"Mean ± standard deviation over {seeds} seeds" if seeds > 1 else "One seed"
        return f"{spread} of {_REPORTED[metric]}{_IN_THE_PAPER.get(metric, '') if of_paper else ''}."


@dataclass(frozen=True)
class AccuracyTable(TableKind):
    """Accuracies in per cent."""

    compares_accuracies: ClassVar[bool] = True


ACCURACY = AccuracyTable()


@dataclass(frozen=True)
class CostTable(TableKind):
    """Seconds per epoch."""

    timed: ClassVar[bool] = True
    by_rate: bool = True

    def own_settings(self, table: str, settings: Settings) -> Settings:
        """Few epochs, but more than the first, which warms up."""
        if settings.epochs is None:
            return replace(settings, epochs=TIMING_EPOCHS)
        if settings.epochs < 2:
            raise UserError(f"{table} measures seconds per epoch without the first: use --epochs 2 or more")
        return settings

    def measure(self, entry: Entry, metric: str, number: str) -> float | None:
        """The median seconds per epoch without the first."""
        later = entry.epoch_seconds[1:]
        return statistics.median(later) if later else None

    def describe(self, metric: str, seeds: int, epochs: str, devices: Sequence[str], *, of_paper: bool) -> str:
        spread = f"Mean ± standard deviation over {seeds} runs" if seeds > 1 else "One run"
        device = f" Measured on {' and on '.join(devices)}." if devices else ""
        mixed = " The devices differ: the numbers cannot be compared." if len(devices) > 1 else ""
        return f"{spread} of {epochs}, each the median of its epochs after the first.{device}{mixed}"


@dataclass(frozen=True)
class HyperparameterTable(TableKind):
    """The hyperparameters of the runs of a part's one row (Tables 9 to 12), read from the specs of the runs."""

    trains: ClassVar[bool] = False
    lines: ClassVar[dict[str, tuple[str, Callable[[Temperature], float]]]] = {
        "plus": ("T(+)", lambda temperature: temperature.plus),
        "minus": ("|T(-)|", lambda temperature: abs(temperature.minus)),
        "rate": ("r", lambda temperature: temperature.rate),
    }
    """By key: the label of a line and what stands in it."""

    def describe(self, metric: str, seeds: int, epochs: str, devices: Sequence[str], *, of_paper: bool) -> str:
        return "As the runs are trained here."


@dataclass(frozen=True)
class PictureTable(TableKind):
    """A picture that is drawn from weights and images, of one seed."""

    needs_weights: ClassVar[bool] = True
    shows: str = "images"
    """`images`, `predictions`, `embedding` or `correlation`."""

    @property
    def shows_teachers(self) -> bool:
        return self.shows != "embedding"

    def own_settings(self, table: str, settings: Settings) -> Settings:
        return replace(settings, seeds=1)

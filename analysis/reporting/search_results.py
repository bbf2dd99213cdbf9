"""What a search found: its finalists beside the paper's point, as a table; its trials as CSV and pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from analysis.figure import search_plots as draw
from analysis.figure.style import saved
from analysis.record.entry import Entry
from analysis.record.trial import Scalar, TrialRecord
from analysis.table import names
from analysis.table.latex import latex
from analysis.table.render import markdown, text
from analysis.table.sheet import NOTHING, Line, Panel, Sheet, Shown, percent
from analysis.table.stats import Summary, summarise
from trainables.storage.runs import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Finalist:
    """A point that was trained again on all training images. score: of its trial; entries: of its seeds."""

    name: str
    fields: Mapping[str, Scalar]
    score: float | None
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Searched:
    """A search and its results.

    what: a row of the paper, a pair and a data set in words.
    space: the ranges.
    held_out: the share of the training images that scored the trials.
    seeds: of each finalist.
    importances: by field; empty where there are too few trials.
    by_rule: whether the best of each rule are among the finalists.
    trial_epochs: where trials have others than finalists.
    deviations: from the paper's data and protocol, in words.
    """

    what: str
    space: str
    trials: tuple[TrialRecord, ...]
    held_out: float
    seeds: int
    finalists: tuple[Finalist, ...]
    importances: Mapping[str, float]
    trial_epochs: int | None = None
    by_rule: bool = False
    deviations: tuple[str, ...] = ()

    @property
    def scored(self) -> tuple[TrialRecord, ...]:
        """The trials that pictures show."""
        return tuple(trial for trial in self.trials if trial.score is not None)


def sheet_of(found: Searched) -> Sheet:
    """A line for each finalist: its fields, its trial's score, and both accuracies on the test images."""
    fields = list(dict.fromkeys(name for one in found.finalists for name in one.fields))
    numbers = [
        [summarise(getattr(entry, which) for entry in one.entries) for one in found.finalists]
        for which in ("best_top1", "last_top1")
    ]
    best = [max((one.mean for one in column if one.n == found.seeds), default=None) for column in numbers]
    lines = [
        Line(
            one.name,
            (
                *(Shown(_word(one.fields.get(name))) for name in fields),
                Shown(NOTHING if one.score is None else percent(one.score)),
                *(_shown(column[place], highest, found.seeds) for column, highest in zip(numbers, best, strict=True)),
            ),
        )
        for place, one in enumerate(found.finalists)
    ]
    heads = ("Point", *fields, "Held out", "Test, best", "Test, last")
    return Sheet("search", f"Search: {found.what}", (Panel("", (heads,), (tuple(lines),)),), _caption(found), ())


def _caption(found: Searched) -> str:
    states = Counter(one.state for one in found.trials)
    counts = {"pruned": states["pruned"], "failed": states["failed"]}
    others = [f"{count} {state}" for state, count in counts.items() if count]
    length = f" and {names.epochs(found.trial_epochs)}" if found.trial_epochs else ""
    spread = f"mean ± standard deviation over {found.seeds} seeds" if found.seeds > 1 else "one seed"
    sentences = [
        f"{sum(counts.values(), states['complete'])} trials of one seed{length} over {found.space}"
        f"{f' ({names.listed(others)})' if others else ''}, scored on {found.held_out:.0%} of the training images, "
        "which they did not train on (Held out, last epoch).",
        f"Then the best{', also of each rule,' if found.by_rule else ''} and the paper's point, trained on all "
        "training images: top-1 (%) on the test images, "
        f"{spread}, of the best and of the last epoch.",
        "The trials did not see the test images.",
    ]
    different = [f"Differs from the paper: {'; '.join(found.deviations)}."] if found.deviations else []
    return " ".join([*sentences, *different])


def _shown(measured: Summary, best: float | None, seeds: int) -> Shown:
    if not measured.n:
        return Shown(NOTHING, note=f"0/{seeds}")
    note = "" if measured.n == seeds else f"{measured.n}/{seeds} seeds"
    spread = "" if measured.std is None else percent(measured.std)
    is_best = measured.n == seeds and measured.mean == best
    return Shown(percent(measured.mean), spread, note=note, best=is_best)


def _word(value: Scalar | None) -> str:
    return NOTHING if value is None else value if isinstance(value, str) else f"{value:g}"


def write_search(found: Searched, folder: Path) -> list[Path]:
    """Print the table; write it, the trials and the pictures. The files' paths."""
    sheet = sheet_of(found)
    print(f"\n{text(sheet)}\n")
    files = {
        "table.tex": latex(sheet).encode(),
        "table.md": markdown(sheet).encode(),
        "trials.csv": _csv(found.trials).encode(),
        **{f"{name}.{form}": saved(made, form, name) for name, made in _pictures(found) for form in ("png", "pdf")},
    }
    for name, content in files.items():
        write_atomically(folder / name, content)
    return [folder / name for name in files]


def _csv(trials: Sequence[TrialRecord]) -> str:
    rows = [
        {"trial": one.number, "state": one.state, "held_out_top1": one.score, "origin": one.origin}
        | {**one.fields, "reason": one.reason}
        for one in trials
    ]
    written: str = pd.DataFrame(rows).to_csv(index=False, lineterminator="\n")
    return written


def _pictures(found: Searched) -> Iterator[tuple[str, Figure]]:
    """As far as there is something to see."""
    if any(trial.state == "complete" for trial in found.scored):
        yield "history", draw.history(found.scored, f"{found.what}: trials in their order")
        yield "slices", draw.slices(found.scored, f"{found.what}: each field by itself")
        yield "parallel", draw.parallel(found.scored, f"{found.what}: all fields of each trial")
    if found.importances:
        yield "importances", draw.importances(found.importances, f"{found.what}: how much each field matters")

"""What a search found: its finalists beside the paper's point, as a table; its trials as CSV and pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from analysis import search_drawings as draw
from analysis.drawings import saved
from analysis.entry import Entry
from analysis.latex import latex
from analysis.render import markdown, text
from analysis.search_drawings import Scalar, Trialed
from analysis.sheet import NOTHING, Line, Panel, Sheet, Shown, percent
from analysis.stats import summarise
from trainables.runs import write_atomically


@dataclass(frozen=True)
class Finalist:
    """A point that was trained again on all training images. score: of its trial; entries: of its seeds."""

    name: str
    fields: Mapping[str, Scalar]
    score: float | None
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Searched:
    """what: a row of the paper, a pair and a data set in words. space: the ranges. held_out: the share. importances: by
    field, none where there are too few trials."""

    what: str
    space: str
    trials: tuple[Trialed, ...]
    held_out: float
    seeds: int
    finalists: tuple[Finalist, ...]
    importances: Mapping[str, float]


def sheet_of(found: Searched) -> Sheet:
    """A line for each finalist: its fields, its trial's score, and both accuracies on the test images."""
    fields = list(dict.fromkeys(name for one in found.finalists for name in one.fields))
    numbers = {name: [_top1(one, name) for one in found.finalists] for name in ("best_top1", "last_top1")}
    best = {name: max((one[0] for one in shown if one), default=None) for name, shown in numbers.items()}
    lines = [
        Line(
            one.name,
            (
                *(Shown(_word(one.fields.get(name))) for name in fields),
                Shown(NOTHING if one.score is None else percent(one.score)),
                *(_shown(numbers[name][place], best[name], found.seeds) for name in ("best_top1", "last_top1")),
            ),
        )
        for place, one in enumerate(found.finalists)
    ]
    heads = ("Point", *fields, "Held out", "Test, best", "Test, last")
    caption = (
        f"{len(found.trials)} trials of one seed over {found.space}, scored on {found.held_out:.0%} of the training "
        "images, which they did not train on (Held out, last epoch). Then the best and the paper's point, trained on "
        f"all training images: top-1 (%) on the test images, mean ± standard deviation over {found.seeds} seeds, of "
        "the best and of the last epoch. Only these runs saw the test images."
    )
    return Sheet("search", f"Search: {found.what}", (Panel("", (heads,), (tuple(lines),)),), caption, ())


def _top1(one: Finalist, name: str) -> tuple[float, float | None, int] | None:
    numbers = summarise(getattr(entry, name) for entry in one.entries)
    return (numbers.mean, numbers.std, numbers.n) if numbers.n else None


def _shown(number: tuple[float, float | None, int] | None, best: float | None, seeds: int) -> Shown:
    if number is None:
        return Shown(NOTHING, note=f"0/{seeds}")
    mean, std, n = number
    note = "" if n == seeds else f"{n}/{seeds} seeds"
    return Shown(percent(mean), "" if std is None else percent(std), note=note, best=mean == best)


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


def _csv(trials: Sequence[Trialed]) -> str:
    rows = [
        {"trial": one.number, "state": one.state, "held_out_top1": one.score, "origin": one.origin, **one.fields}
        for one in trials
    ]
    written: str = pd.DataFrame(rows).to_csv(index=False, lineterminator="\n")
    return written


def _pictures(found: Searched) -> Iterator[tuple[str, Figure]]:
    """As far as there is something to see."""
    if any(trial.state == "complete" for trial in found.trials):
        yield "history", draw.history(found.trials, f"{found.what}: trials in their order")
        yield "slices", draw.slices(found.trials, f"{found.what}: each field by itself")
        yield "parallel", draw.parallel(found.trials, f"{found.what}: all fields of each trial")
    if found.importances:
        yield "importances", draw.importances(found.importances, f"{found.what}: how much each field matters")

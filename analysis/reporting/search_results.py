"""What a search found: its finalists beside the paper's point, as a table; its trials as CSV and pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import pandas as pd

from analysis.figure import search_plots as draw
from analysis.figure.style import render_figure
from analysis.record.entry import Entry
from analysis.record.trial import COSTS, Scalar, TrialRecord, cost_words
from analysis.table import names
from analysis.table.captions import SPREAD
from analysis.table.latex import latex
from analysis.table.render import markdown, text
from analysis.table.sheet import NOTHING, Line, Panel, Sheet, Shown, percent
from analysis.table.stats import Summary, summarise
from trainables.storage.runs import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Finalist:
    """A point that was trained again on all training images. trial: that found it; entries: of its seeds, by pair."""

    name: str
    fields: Mapping[str, Scalar]
    trial: TrialRecord | None
    entries: tuple[tuple[Entry, ...], ...]


@dataclass(frozen=True)
class Searched:
    """A search and its results.

    what: a row of the paper, pairs and a data set in words.
    space: the ranges.
    held_out: the share of the training images that scored the trials.
    seeds: of each finalist.
    importances: by field; empty where there are too few trials.
    by_rule: whether the best of each rule are among the finalists.
    trial_epochs: where trials have others than finalists.
    deviations: from the paper's data and protocol, in words.
    pairs: in words; the first finalist is KD where there are several.
    trial_seeds: of each pair and trial.
    costs: what was to be low; then the finalists are the front.
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
    pairs: tuple[str, ...] = ("",)
    trial_seeds: int = 1
    costs: tuple[str, ...] = ()

    @property
    def gains(self) -> bool:
        """Whether scores are gains over KD."""
        return len(self.pairs) > 1

    @property
    def axis(self) -> str:
        return "Held-out gain over KD (%)" if self.gains else "Held-out top-1 (%)"

    @property
    def scored(self) -> tuple[TrialRecord, ...]:
        """The trials that pictures show."""
        return tuple(trial for trial in self.trials if trial.score is not None)


def sheet_of(found: Searched) -> Sheet:
    """A line for each finalist: its fields, its trial's score and costs, its accuracies on the test images."""
    fields = list(dict.fromkeys(name for one in found.finalists for name in one.fields))
    columns = _tested(found)
    best = [max((one.mean for one in column if one.n == found.seeds), default=None) for column in columns.values()]
    lines = [
        Line(
            one.name,
            (
                *(Shown(_word(one.fields.get(name))) for name in fields),
                Shown(NOTHING if one.trial is None or one.trial.score is None else percent(one.trial.score)),
                *(Shown(cost_words(one.trial.costs[name]) if one.trial else NOTHING) for name in found.costs),
                *(
                    _show_cell(column[place], highest, found.seeds)
                    for column, highest in zip(columns.values(), best, strict=True)
                ),
            ),
        )
        for place, one in enumerate(found.finalists)
    ]
    heads = (
        "Point",
        *fields,
        "Gain, held out" if found.gains else "Held out",
        *(COSTS[name] for name in found.costs),
        *columns,
    )
    spread = f"{SPREAD} over {found.seeds} seeds" if found.seeds > 1 else "one seed"
    short = f"Search: {found.what}. Top-1 accuracy (%) on held-out and on test images, {spread}."
    return Sheet("search", f"Search: {found.what}", (Panel("", (heads,), (tuple(lines),)),), _caption(found), (), short)


def _tested(found: Searched) -> dict[str, list[Summary]]:
    """The columns of test accuracies, by their heads: of one pair the best and the last, of several the last of each
    and the mean gain over KD of the same pair and seed."""
    if not found.gains:
        return {
            f"Test, {which}": [
                summarise(getattr(entry, f"{which}_top1") for entry in one.entries[0]) for one in found.finalists
            ]
            for which in ("best", "last")
        }
    columns = {
        pair: [summarise(entry.last_top1 or 0 for entry in one.entries[place]) for one in found.finalists]
        for place, pair in enumerate(found.pairs)
    }
    return columns | {"Gain": [summarise(_gains(one, found.finalists[0])) for one in found.finalists]}


def _gains(one: Finalist, kd: Finalist) -> Iterator[float]:
    """By seed, the mean over the pairs; of the seeds that all pairs have."""
    tops = [
        [{entry.spec.seed: entry.last_top1 or 0 for entry in entries} for entries in each.entries] for each in (one, kd)
    ]
    seeds = set.intersection(*({*pair} for each in tops for pair in each))
    for seed in sorted(seeds):
        yield fmean(own[seed] - plain[seed] for own, plain in zip(*tops, strict=True))


def _caption(found: Searched) -> str:
    states = Counter(one.state for one in found.trials)
    counts = {"pruned": states["pruned"], "failed": states["failed"]}
    others = [f"{count} {state}" for state, count in counts.items() if count]
    length = f" and {names.epochs(found.trial_epochs)}" if found.trial_epochs else ""
    spread = f"{SPREAD} over {found.seeds} seeds" if found.seeds > 1 else "one seed"
    many = "one seed" if found.trial_seeds == 1 else f"{found.trial_seeds} seeds"
    ranked = f"Trials are ranked by the mean gain over KD of {names.listed(found.pairs)}."
    low = names.listed(["top-1", *(COSTS[name].lower() for name in found.costs)])
    front = f"The trials shown are the Pareto front of {low}."
    which = "these" if found.costs else "the best" + (", also of each rule," if found.by_rule else "")
    sentences = [
        f"{sum(counts.values(), states['complete'])} trials of {many}{length} over {found.space}"
        f"{f' ({names.listed(others)})' if others else ''}, scored on {found.held_out:.0%} of the training images, "
        "which they did not train on (Held out, last epoch).",
        *([ranked] if found.gains else []),
        *([front] if found.costs else []),
        f"Then {which} and the paper's point, trained on all "
        "training images: top-1 (%) on the test images, "
        f"{spread}, {'of the last epoch' if found.gains else 'of the best and of the last epoch'}.",
        "The trials did not see the test images.",
    ]
    different = [f"Differs from the paper: {'; '.join(found.deviations)}."] if found.deviations else []
    return " ".join([*sentences, *different])


def _show_cell(measured: Summary, best: float | None, seeds: int) -> Shown:
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
    pictures = {name: make() for name, make in pictures_of(found).items()}
    files = {
        "table.tex": latex(sheet).encode(),
        "table.md": markdown(sheet).encode(),
        "trials.csv": _csv(found).encode(),
        **{
            f"{name}.{form}": render_figure(made, form, name)
            for name, made in pictures.items()
            for form in ("png", "pdf")
        },
    }
    for name, content in files.items():
        write_atomically(folder / name, content)
    return [folder / name for name in files]


def _csv(found: Searched) -> str:
    score = "held_out_gain" if found.gains else "held_out_top1"
    rows = [
        {"trial": one.number, "state": one.state, score: one.score, **one.costs, "origin": one.origin}
        | {**one.fields, "reason": one.reason}
        for one in found.trials
    ]
    written: str = pd.DataFrame(rows).to_csv(index=False, lineterminator="\n")
    return written


def pictures_of(found: Searched) -> dict[str, Callable[[], Figure]]:
    """What draws each, as far as there is something to see."""
    scored, axis, what = found.scored, found.axis, found.what
    pictures: dict[str, Callable[[], Figure]] = {}
    if any(trial.state == "complete" for trial in scored):
        shown = [one.trial.number for one in found.finalists if one.trial is not None]
        pictures = {
            "history": lambda: draw.history(scored, f"{what}: trials in their order", axis),
            "slices": lambda: draw.slices(scored, f"{what}: each field by itself", axis),
            "parallel": lambda: draw.parallel(scored, f"{what}: all fields of each trial", axis),
        }
        if found.costs:
            pictures["front"] = lambda: draw.front(scored, shown, f"{what}: what top-1 costs", axis)
    if found.importances:
        title = f"{what}: how much each field matters"
        pictures["importances"] = lambda: draw.importances(found.importances, title)
    return pictures

"""What a search found: its finalists beside the paper's point, as a table; its trials as CSV and pictures."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.drawings import saved
from analysis.entry import Entry
from analysis.latex import latex
from analysis.render import markdown, text
from analysis.sheet import NOTHING, Line, Panel, Sheet, Shown, percent
from analysis.stats import summarise
from trainables.runs import write_atomically

if TYPE_CHECKING:
    import optuna

Scalar = float | str
TITLES = {
    "history": "trials in their order",
    "slice": "each field by itself (T- share: 0 at the upper end of T-'s range, 1 at the lower)",
    "parallel": "all fields of each trial",
    "importance": "share of the scores' variance that each field explains",
}


@dataclass(frozen=True)
class Finalist:
    """A point that was trained again on all training images. score: of its trial; entries: of its seeds."""

    name: str
    fields: Mapping[str, Scalar]
    score: float | None
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Searched:
    """what: a row of the paper, a pair and a data set in words. space: the ranges. held_out: the share."""

    what: str
    space: str
    trials: int
    held_out: float
    seeds: int
    finalists: tuple[Finalist, ...]


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
        f"{found.trials} trials of one seed over {found.space}, scored on {found.held_out:.0%} of the training images, "
        "which they did not train on (Held out, last epoch). Then the best and the paper's point, trained on all "
        f"training images: top-1 (%) on the test images, mean ± standard deviation over {found.seeds} seeds, of the "
        "best and of the last epoch. Only these runs saw the test images."
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


def write_search(found: Searched, study: optuna.Study, folder: Path) -> list[Path]:
    """Print the table; write it, the trials and the pictures. The files' paths."""
    sheet = sheet_of(found)
    print(f"\n{text(sheet)}\n")
    files = {
        "table.tex": latex(sheet).encode(),
        "table.md": markdown(sheet).encode(),
        "trials.csv": study.trials_dataframe(attrs=("number", "state", "value", "params", "user_attrs"))
        .to_csv(index=False, lineterminator="\n")
        .encode(),
        **{f"{name}.{form}": content for name, form, content in _pictures(found, study)},
    }
    for name, content in files.items():
        write_atomically(folder / name, content)
    return [folder / name for name in files]


def _pictures(found: Searched, study: optuna.Study) -> Iterator[tuple[str, str, bytes]]:
    """What Optuna draws of a study, as far as its trials allow."""
    import matplotlib as mpl
    import matplotlib.pyplot as plt
    import optuna.visualization.matplotlib as draw

    complete = [trial for trial in study.get_trials(deepcopy=False) if trial.state.name == "COMPLETE"]
    parameters = {name for trial in complete for name in trial.params}
    wanted: dict[str, Any] = {"history": draw.plot_optimization_history, "slice": draw.plot_slice}
    if len(parameters) > 1:
        wanted["parallel"] = draw.plot_parallel_coordinate
    if len(complete) > 3 and len({trial.value for trial in complete}) > 1:
        wanted["importance"] = draw.plot_param_importances
    for name, function in wanted.items():
        with mpl.rc_context({"backend": "agg"}), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            drawn = function(study, **({} if name == "importance" else {"target_name": "Held-out top-1 (%)"}))
            axes = drawn.flat[0] if hasattr(drawn, "flat") else drawn
            figure = axes.figure
            figure.set_size_inches(max(7.0, 2.2 * len(parameters)), 4.2)
            figure.set_layout_engine("constrained")
            axes.set_title("")
            figure.suptitle(f"{found.what}: {TITLES[name]}", fontsize=9)
            for form in ("png", "pdf"):
                yield name, form, saved(figure, form, f"search-{name}", dpi=200)
            plt.close(figure)

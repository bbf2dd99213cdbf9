"""A table as a picture: dots with their spreads, or curves over the rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figure.style import BLUE, FORMATS, GRAPH, GREEN, RED, plain, render_figure, set_title
from analysis.figure.varied_charts import draw_varied
from analysis.table import captions, names
from analysis.table.command_line import write
from analysis.table.grid import Grid
from analysis.table.layout import Row, increase_key
from analysis.table.resolved import ResolvedPart
from analysis.table.sheet import show
from analysis.table.value import Value
from trainables.errors import UserError
from trainables.recipes import Pair
from trainables.spec import Mixing

SERIES = {
    "high": ("High energy", BLUE, "o", "-"),
    "half": ("Half high, half low", GREEN, "s", "--"),
    "low": ("Low energy", RED, "^", ":"),
}
LEVELS = (("#000000", (0, (7, 2))), ("#777777", (0, (1, 1.3))), ("#CC79A7", (0, (4, 1, 1, 1))))
STYLE = GRAPH | {
    "figure.titlesize": 10.5,
    "axes.titlesize": 9.5,
    "axes.labelsize": 8.5,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
}
BARS: dict[str, Any] = {"capsize": 2.5, "markersize": 5, "elinewidth": 1.1}
HOLLOW: dict[str, Any] = {
    "marker": "D",
    "linestyle": "none",
    "markerfacecolor": "none",
    "markeredgecolor": RED,
    "markersize": 5.5,
    "label": "paper",
}
WIDEST = 4


@rc_context(STYLE)
def draw(grid: Grid) -> Figure:
    """One panel for each pair of each part; a part begins a line of panels."""
    parts = grid.resolved.parts
    if not grid.values:
        raise UserError(f"no row of {grid.table.key} was asked for: there is nothing to draw")
    if any(row.varied for part in parts for row in part.rows):
        return draw_varied(grid)
    most = max(len(part.pairs) for part in parts)
    columns = most if most <= WIDEST else WIDEST - 1
    places = _places(parts, columns)
    lines = 1 + max(line for line, _ in places)
    curves = grid.table.kind.by_rate
    longest = max(len(part.rows) for part in parts)
    height = 4.0 if curves else max(2.2, 0.8 + 0.3 * longest)
    width = 6.4 if columns == 1 else 1.3 + (3.4 if columns < WIDEST else 2.8) * columns
    figure = Figure(figsize=(width, 1.1 + height * lines), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False)
    for place, (part, pair) in places.items():
        axes = panels[place]
        if not curves:
            _dots(axes, grid, part, pair, named=place[1] == 0)
        elif grid.table.kind.timed:
            _cost(axes, grid, part, pair)
        else:
            _curves(axes, grid, part, pair)
        axes.set_title(plain("\n".join(filter(None, (part.part.title, names.pair(pair))))))
    for place in set(np.ndindex(lines, columns)) - set(places):
        panels[place].remove()
    _title_and_legend(figure, grid, [panels[place] for place in places])
    return figure


def _places(parts: Sequence[ResolvedPart], columns: int) -> dict[tuple[int, int], tuple[ResolvedPart, Pair]]:
    """Which pair of which part stands in which line and column of panels."""
    places, line = {}, 0
    for part in parts:
        for number, pair in enumerate(part.pairs):
            places[line + number // columns, number % columns] = part, pair
        line += math.ceil(len(part.pairs) / columns)
    return places


def _title_and_legend(figure: Figure, grid: Grid, panels: list[Axes]) -> None:
    kind = {"best": ", best test epoch", "last": ", last epoch"}[grid.metric] if not grid.table.kind.timed else ""
    asides = [
        "mean ± standard deviation" if grid.settings.seeds > 1 else "",
        *captions.asides(grid.resolved, shortened=grid.shortened),
    ]
    lines = [grid.resolved.title, captions.training(grid) + kind, "; ".join(aside for aside in asides if aside)]
    set_title(figure, lines, width=int(12 * figure.get_figwidth()))
    labelled: dict[str, Any] = {}
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        labelled |= {label: handle for label, handle in zip(labels, handles, strict=True) if label not in labelled}
    if labelled:
        figure.legend(list(labelled.values()), list(labelled), loc="outside lower center", ncols=3)


def _rows(grid: Grid, part: ResolvedPart, pair: Pair) -> list[tuple[Row, Value]]:
    return [(row, grid.cells[part.key, row.key, pair]) for row in part.rows]


def _mixing(grid: Grid, part: ResolvedPart, row: Row, pair: Pair) -> Mixing | None:
    """Of the row's runs, which may have another rate than the row's label."""
    return grid.resolved.cells[part.key, row.key, pair][0].mixing


def _mark_missing(axes: Axes, value: Value, y: float) -> None:
    """What is not there, said above the dot (or the paper's), else in the middle of the row."""
    entry = show(value)
    style: dict[str, Any] = {"ha": "center", "fontsize": 8, "color": "#555555"}
    text = entry.remark if value.mean is not None else f"{entry.text} {entry.remark}".strip()
    known = value.paper if value.mean is None else value.mean
    if known is None:
        axes.text(0.5, y, text, transform=axes.get_yaxis_transform(), va="center", **style)
    else:
        axes.annotate(text, (known, y), xytext=(0, 5), textcoords="offset points", **style)


def _dots(axes: Axes, grid: Grid, part: ResolvedPart, pair: Pair, *, named: bool) -> None:
    """A row each, from top to bottom, with a gap between blocks; the paper's number hollow: a diamond, or a square
    where it is of another test epoch than ours."""
    y, ticks, labels = 0.0, [], []
    for block in part.blocks:
        for row in block.rows:
            value = grid.cells[part.key, row.key, pair]
            if value.paper is not None:
                other = {"label": f"paper ({value.paper_epoch} epoch)", "marker": "s"} if value.of_another_epoch else {}
                axes.plot([value.paper], [y], zorder=4, **(HOLLOW | other))
            if value.mean is not None:
                axes.errorbar([value.mean], [y], xerr=value.std, fmt="o", color=BLUE, label="measured", **BARS)
            if value.state != "done":
                _mark_missing(axes, value, y)
            ticks.append(y)
            labels.append(plain(row.label))
            y += 1
        y += 0.5
    axes.set_yticks(ticks, labels if named else [""] * len(labels))
    axes.set_ylim(y - 0.8, -0.8)
    axes.margins(x=0.12)
    axes.locator_params(axis="x", nbins=6)
    axes.set_xlabel("Top-1 accuracy (%)")


def _curves(axes: Axes, grid: Grid, part: ResolvedPart, pair: Pair) -> None:
    """Accuracy against the rate, a curve for each selection; rows without a rate are horizontal lines."""
    curves: dict[str, list[tuple[float, Value]]] = {}
    levels = []
    for row, value in _rows(grid, part, pair):
        mixing = _mixing(grid, part, row, pair)
        if mixing is None or mixing.selection == "all":
            levels.append(value)
        else:
            curves.setdefault(mixing.selection, []).append((mixing.rate, value))
    for value, (color, dashes) in zip(levels, LEVELS, strict=False):
        if value.mean is not None:
            axes.axhline(value.mean, color=color, linestyle=dashes, linewidth=1.4, label=plain(value.label))
            spread = value.std or 0.0
            axes.axhspan(value.mean - spread, value.mean + spread, color=color, alpha=0.1, linewidth=0)
    for place, (selection, points) in enumerate(curves.items()):
        label, color, marker, style = SERIES[selection]
        apart = [(rate + 0.004 * (place - 1), value) for rate, value in points]
        _line(axes, apart, color=color, marker=marker, linestyle=style, label=label)
    axes.set_xticks(sorted({rate for points in curves.values() for rate, _ in points}))
    axes.set_xlabel("Share of the images that is augmented")
    axes.set_ylabel("Top-1 accuracy (%)")
    _say_incomplete(axes, [value for _, value in _rows(grid, part, pair)])


def _line(axes: Axes, points: Sequence[tuple[float, Value]], **style: Any) -> None:
    """What was measured at each rate, with its standard deviation."""
    known = [(rate, value.mean, value.std or 0.0) for rate, value in points if value.mean is not None]
    rates, means, stds = zip(*known, strict=True) if known else ((), (), ())
    axes.errorbar(rates, means, yerr=stds, **style, **BARS)


def _cost(axes: Axes, grid: Grid, part: ResolvedPart, pair: Pair) -> None:
    """Seconds per epoch against the rate; the paper's increase on the measured baseline as hollow diamonds."""
    points = []
    for row, value in _rows(grid, part, pair):
        mixing = _mixing(grid, part, row, pair)
        points.append((mixing.rate if mixing else 0.0, value))
    for base in (value for _, value in points if value.row in grid.table.kind.baselines and value.mean is not None):
        keys = [(rate, (part.key, increase_key(value.row, base.row), pair)) for rate, value in points]
        increases = [(rate, grid.cells[key].paper) for rate, key in keys]
        printed = [(rate, (base.mean or 0.0) * (1 + paper / 100)) for rate, paper in increases if paper is not None]
        if printed:
            hollow = HOLLOW | {"label": f"paper's increase over {base.label}, from the one measured here"}
            axes.plot([rate for rate, _ in printed], [seconds for _, seconds in printed], zorder=4, **hollow)
    _line(axes, points, color=BLUE, marker="o", linestyle="-", label="measured")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("Share of the images that is augmented")
    axes.set_ylabel("Seconds per epoch")
    _say_incomplete(axes, [value for _, value in points])


def _say_incomplete(axes: Axes, values: list[Value]) -> None:
    """How many entries of a panel lack runs, below it."""
    short = sum(value.state != "done" for value in values)
    if short:
        axes.set_xlabel(f"{axes.get_xlabel()}\n{short} of {len(values)} entries incomplete")


def picture(grid: Grid, form: str) -> bytes:
    """The figure's file in one of FORMATS; the same numbers give the same bytes."""
    return render_figure(draw(grid), form, grid.table.key, dpi=200)


def write_figure(grid: Grid, path: Path) -> Path:
    """PNG, PDF or SVG by the name's ending."""
    write(path, picture(grid, form_of(path)))
    return path


def form_of(path: Path) -> str:
    """Which of FORMATS the ending of a file's name asks for."""
    form = path.suffix.removeprefix(".").lower()
    if form not in FORMATS:
        name = "" if path.suffix else "have a name and "
        raise UserError(f"{path} should {name}end in .{', .'.join(FORMATS)}")
    return form

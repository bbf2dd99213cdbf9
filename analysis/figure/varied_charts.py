"""Varied fields as a picture: a curve of one field, a heat map of two, small multiples and main effects of more."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis.figure.style import BLUE, GRAPH, GREEN, RED, plain, set_title
from analysis.record.settings import STUDENT, parse_value, word_of
from analysis.table import captions, names
from analysis.table.grid import Grid
from analysis.table.matrix import Axis, Point, Varied, effect, varied_of
from analysis.table.resolved import ResolvedPart
from analysis.table.value import Value
from trainables.recipes import Pair

CURVES = ((BLUE, "o", "-"), (RED, "s", "--"), (GREEN, "^", ":"), ("#CC79A7", "D", "-."), ("#56B4E9", "v", "-"))
LEVELS = (("#000000", (0, (7, 2))), ("#777777", (0, (1, 1.3))), ("#E69F00", (0, (4, 1, 1, 1))))
MOST_MAPS = 24
"""Heat maps of one row and pair; of more the main effects alone are drawn."""
ACROSS = 3
ACCURACY = "Top-1 accuracy (%)"
Panel = Callable[[Axes], None]


@rc_context(GRAPH)
def draw_varied(grid: Grid) -> Figure:
    """All panels of all pairs, ACROSS in a line."""
    panels = [panel for part in grid.resolved.parts for pair in part.pairs for panel in _panels(grid, part, pair)]
    across = min(ACROSS, len(panels))
    down = math.ceil(len(panels) / across)
    figure = Figure(figsize=(max(4.8, 3.7 * across), 1.0 + 3.2 * down), layout="constrained")
    places = figure.subplots(down, across, squeeze=False).flatten()
    for axes, panel in zip(places, panels, strict=False):
        panel(axes)
    for axes in places[len(panels) :]:
        axes.remove()
    aside = "mean ± standard deviation" if grid.settings.seeds > 1 else ""
    marks = "solid frame: the best; dotted: a paired test does not tell it from the best"
    several = len([path for path, _ in grid.settings.vary if path != STUDENT]) > 1
    framed = marks if several and any(value.near_best for value in grid.values) else ""
    aside = "; ".join(filter(None, [aside, *captions.asides(grid.resolved, shortened=grid.shortened)]))
    epoch = {"best": ", best test epoch", "last": ", last epoch"}[grid.metric]
    lines = [grid.resolved.title, captions.training(grid) + epoch, aside, framed]
    set_title(figure, lines, width=int(11 * figure.get_figwidth()))
    return figure


def _panels(grid: Grid, part: ResolvedPart, pair: Pair) -> Iterator[Panel]:
    varied = [*varied_of(grid, part, pair)]
    beside = [grid.cells[part.key, row.key, pair] for row in part.rows if not row.varies]
    curves = [each for each in varied if len(each.axes) == 1]
    for axis in dict.fromkeys(each.axes[0] for each in curves):
        own = [each for each in curves if each.axes[0] == axis]
        yield partial(_curves, axis=axis, rows=own, beside=beside, pair=pair)
    for each in varied:
        if len(each.axes) > 1:
            yield from _maps(each)
        if len(each.axes) > 2:
            for axis in each.axes:
                yield partial(_effect, axis=axis, varied=each)


def _positions(axis: Axis) -> tuple[list[float], bool]:
    """Where a field's values stand: at themselves where all are numbers, else side by side."""
    values = [parse_value(value) for value in axis.values]
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    return ([float(value) for value in values], True) if numeric else ([float(i) for i in range(len(values))], False)


def _curves(axes: Axes, axis: Axis, rows: Sequence[Varied], beside: Sequence[Value], pair: Pair) -> None:
    """A curve with its spread for each row; rows that are not varied are horizontal lines."""
    where, numeric = _positions(axis)
    for value, (color, dashes) in zip(beside, LEVELS, strict=False):
        if value.mean is not None:
            axes.axhline(value.mean, color=color, linestyle=dashes, linewidth=1.3, label=plain(value.label))
    for number, row in enumerate(rows):
        color, marker, style = CURVES[number % len(CURVES)]
        points = [(x, row.cells.get((value,))) for x, value in zip(where, axis.values, strict=True)]
        known = sorted((x, v.mean, v.std or 0.0) for x, v in points if v is not None and v.mean is not None)
        x, mean, std = (np.array(column) for column in zip(*known, strict=True)) if known else (np.empty(0),) * 3
        axes.fill_between(x, mean - std, mean + std, color=color, alpha=0.15, linewidth=0)
        axes.errorbar(
            x, mean, std, color=color, marker=marker, linestyle=style if numeric else "none", markersize=4.5,
            capsize=2.5, elinewidth=1, label=plain(f"{row.row.label}, {axis.name} varied"),
        )  # fmt: skip
    _ticks(axes, axis, where)
    axes.set_ylabel(ACCURACY)
    axes.set_title(plain(names.pair(pair)))
    axes.legend()


def _ticks(axes: Axes, axis: Axis, where: Sequence[float]) -> None:
    axes.set_xticks(where, [plain(word) for word in axis.words])
    axes.set_xlabel(plain(axis.name))


def _effect(axes: Axes, axis: Axis, varied: Varied) -> None:
    """The mean over all combinations with each value of one field."""
    where, numeric = _positions(axis)
    found = [(x, effect(varied, axis, value)) for x, value in zip(where, axis.values, strict=True)]
    known = [(x, one.mean, one.std or 0.0) for x, one in found if one.n]
    x, mean, std = zip(*known, strict=True) if known else ((), (), ())
    axes.errorbar(x, mean, std, color=BLUE, marker="o", linestyle="-" if numeric else "none", markersize=5, capsize=2.5)
    _ticks(axes, axis, where)
    axes.set_ylabel(f"Mean {ACCURACY[0].lower()}{ACCURACY[1:]}")
    axes.set_title(plain(f"Main effect of {axis.name}\n{varied.title}"))


def _maps(varied: Varied) -> Iterator[Panel]:
    """A heat map of the first two fields for every combination of the others, all with one scale of colours."""
    down, across, *others = varied.axes
    rest = list(product(*(axis.values for axis in others)))
    means = [value.mean for value in varied.cells.values() if value.mean is not None]
    ends = min(means, default=0.0), max(means, default=1.0)
    if len(rest) > MOST_MAPS:
        return
    for fixed in rest:
        words = [f"{axis.name} = {word_of(value)}" for axis, value in zip(others, fixed, strict=True)]
        title = "\n".join(filter(None, [varied.row.label, names.pair(varied.pair), ", ".join(words)]))
        yield partial(_map, varied=varied, down=down, across=across, fixed=fixed, title=title, ends=ends)


def _map(
    axes: Axes, varied: Varied, down: Axis, across: Axis, fixed: Point, title: str, ends: tuple[float, float]
) -> None:
    cells = [[varied.cells.get((first, second, *fixed)) for second in across.values] for first in down.values]
    numbers = np.array(
        [[np.nan if value is None or value.mean is None else value.mean for value in line] for line in cells]
    )
    image = axes.imshow(numbers, cmap="cividis", aspect="auto", vmin=ends[0], vmax=ends[1])
    axes.grid(visible=False)
    middle = sum(ends) / 2
    for (line, column), number in np.ndenumerate(numbers):
        value = cells[line][column]
        style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 7.5}
        if value is None or value.mean is None:
            axes.text(column, line, "—", color="#555555", **style)
            continue
        spread = "" if value.std is None else f"\n± {value.std:.2f}"
        color = "white" if number < middle else "black"
        weight = "bold" if value.best else "normal"
        axes.text(column, line, f"{value.mean:.2f}{spread}", color=color, fontweight=weight, **style)
        if value.best or value.near_best:
            dashes = "-" if value.best else ":"
            box = Rectangle((column - 0.47, line - 0.46), 0.94, 0.92, fill=False, edgecolor=color, linestyle=dashes)
            box.set_linewidth(1.8 if value.best else 1.0)
            axes.add_patch(box)
    axes.set_yticks(range(len(down.values)), [plain(word) for word in down.words])
    axes.set_ylabel(plain(down.name))
    _ticks(axes, across, range(len(across.values)))
    axes.set_title(plain(title))
    bar = axes.figure.colorbar(image, ax=axes, label=ACCURACY)
    bar.outline.set_visible(False)

"""Curves as inline SVG, made here: it needs no script, takes the page's colours and can be read by a screen reader."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator

WIDTH, HEIGHT = 720, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 16, 40
DASHES = ("", "7 3", "2 3", "9 3 2 3", "14 4")
COLOURS = 8
"""Of the page's style. Groups differ in dashes as well, so that nothing depends on colour."""


@dataclass(frozen=True)
class Curve:
    """points: (epoch, number), only finite ones. Curves of one group look alike."""

    group: str
    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Chart:
    title: str
    x: str
    y: str
    curves: tuple[Curve, ...]

    @property
    def styles(self) -> dict[str, tuple[int, str]]:
        """Colour and dashes of each group."""
        groups = dict.fromkeys(curve.group for curve in self.curves)
        return {group: (place % COLOURS, DASHES[place % len(DASHES)]) for place, group in enumerate(groups)}


@dataclass(frozen=True)
class Tick:
    at: float
    word: str


@dataclass(frozen=True)
class Drawing:
    """A chart in the units of its picture. lines: a curve, its colour and dashes, and where it goes."""

    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    lines: tuple[tuple[Curve, int, str, str], ...]


def draw(chart: Chart) -> Drawing:
    points = [point for curve in chart.curves for point in curve.points]
    across = _ticks([x for x, _ in points], whole=True)
    up = _ticks([y for _, y in points], whole=False)

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            LEFT + (WIDTH - LEFT - RIGHT) * _part(x, across),
            HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * _part(y, up),
        )

    lines = []
    for curve in chart.curves:
        colour, dash = chart.styles[curve.group]
        places = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in curve.points))
        lines.append((curve, colour, dash, places))
    return Drawing(
        tuple(Tick(place(number, up[0])[0], f"{number:g}") for number in across),
        tuple(Tick(place(across[0], number)[1], f"{number:g}") for number in up),
        tuple(lines),
    )


def curve(group: str, name: str, points: Iterable[tuple[float | None, float | None]]) -> Curve:
    """The points that have two numbers."""
    kept = tuple((x, y) for x, y in points if x is not None and y is not None and math.isfinite(x) and math.isfinite(y))
    return Curve(group, name, kept)


def _ticks(numbers: Sequence[float], *, whole: bool) -> list[float]:
    """Round numbers around all of some."""
    low, high = min(numbers, default=0.0), max(numbers, default=1.0)
    if low == high:
        low, high = low - 0.5, high + 0.5
    return [round(float(tick), 9) for tick in MaxNLocator(6, integer=whole, steps=[1, 2, 5, 10]).tick_values(low, high)]


def _part(number: float, ticks: Sequence[float]) -> float:
    return (number - ticks[0]) / (ticks[-1] - ticks[0])

"""How many seeds a difference needs to be seen, by the power of the t-test."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations

from scipy.special import nctdtr, nctdtrinc, stdtrit  # type: ignore[import-untyped]

from analysis.table.grid import Grid
from analysis.table.stats import ALPHA, paired, summarise

POWER = 0.8
DIFFERENCES = (0.3, 0.5, 1.0)
MOST_SEEDS = 100_000


@dataclass(frozen=True)
class Spread:
    """Standard deviations in points of accuracy. run: of a run between seeds. difference: of the difference of two
    rows' runs of one seed. source: where they are from, in words."""

    run: float
    difference: float
    source: str


def spread_of_runs(std: float, source: str) -> Spread:
    """Where the spread of runs alone is known, pairing is taken to gain nothing: a difference varies by sqrt(2) std."""
    return Spread(std, math.sqrt(2) * std, source)


def spread(grids: Iterable[Grid], source: str) -> Spread | None:
    """Pooled over the cells of some tables, and over all pairs of rows in a column; None where there is too little.

    The pooled variance is the sum of squares over the sum of the degrees of freedom (n - 1 each). Cells that several
    tables show count once. Of a table of top-1 and top-5, top-1 alone counts.
    """
    runs: dict[tuple[str, ...], Mapping[int, float]] = {}
    columns: dict[tuple[str, str, object], set[tuple[str, ...]]] = {}
    for grid in grids:
        top1 = {part.key for part in grid.table.parts if part.number == "top1"}
        for value in grid.values:
            if value.kind == "row" and value.unit == "%" and value.measured and value.part in top1:
                runs[value.runs] = value.by_seed
                columns.setdefault((grid.table.key, value.part, value.pair), set()).add(value.runs)
    couples = {tuple(sorted(two)) for column in columns.values() for two in combinations(column, 2)}
    compared = [paired(runs[left], runs[right]) for left, right in couples]
    run = _pooled(cell.values() for cell in runs.values())
    difference = _pooled([number for _, number in one.by_seed] for one in compared if one)
    return Spread(run, difference, source) if run and difference else None


def _pooled(samples: Iterable[Iterable[float]]) -> float | None:
    found = [one for one in map(summarise, samples) if one.std is not None]
    freedom = sum(one.n - 1 for one in found)
    squares = math.fsum((one.n - 1) * one.std**2 for one in found if one.std is not None)
    return math.sqrt(squares / freedom) if freedom else None


def power(n: int, difference: float, std: float, *, paired: bool) -> float:
    """The probability that a two-sided t-test at ALPHA finds a true difference, with its sign.

    paired: n differences of standard deviation std; else n runs on each side, of standard deviation std. By the
    noncentral t distribution: noncentrality (difference / std) sqrt(n), or sqrt(n / 2) with 2 n - 2 degrees of freedom.
    """
    freedom, scale = _design(n, paired=paired)
    return 1 - float(nctdtr(freedom, difference / std * scale, -stdtrit(freedom, ALPHA / 2)))


def detectable_difference(n: int, std: float, *, paired: bool) -> float:
    """The difference that n seeds find with a probability of POWER."""
    freedom, scale = _design(n, paired=paired)
    return float(nctdtrinc(freedom, 1 - POWER, -stdtrit(freedom, ALPHA / 2))) * std / scale


def seeds_needed(difference: float, std: float, *, paired: bool) -> int:
    """The least number of seeds that finds a difference with a probability of POWER; at most MOST_SEEDS."""
    low, high = 2, 2
    while high < MOST_SEEDS and power(high, difference, std, paired=paired) < POWER:
        low, high = high + 1, min(2 * high, MOST_SEEDS)
    while low < high:
        middle = (low + high) // 2
        enough = power(middle, difference, std, paired=paired) >= POWER
        low, high = (low, middle) if enough else (middle + 1, high)
    return low


def _design(n: int, *, paired: bool) -> tuple[int, float]:
    """Degrees of freedom, and noncentrality over effect size."""
    return (n - 1, math.sqrt(n)) if paired else (2 * n - 2, math.sqrt(n / 2))


def sensitivity(seeds: int, found: Spread) -> str:
    """What so many seeds can tell apart."""
    if seeds < 2:
        return "1 seed cannot show that rows differ: use --seeds 2 or more"
    return (
        f"{seeds} seeds see differences of "
        f"{detectable_difference(seeds, found.difference, paired=True):.1f} points and more "
        f"({POWER:.0%} power, paired t-test at {ALPHA:.0%}; a difference of two rows varies by "
        f"{found.difference:.2f} points between seeds, {found.source})"
    )


def report(found: Spread, seeds: int) -> list[str]:
    """How many seeds each of DIFFERENCES needs, and what `seeds` seeds see."""
    lines = [
        f"Standard deviation between seeds: {found.run:.2f} points of a run, {found.difference:.2f} points of a paired "
        f"difference ({found.source}).",
        f"Seeds needed ({POWER:.0%} power, two-sided t-test at {ALPHA:.0%}):",
        "  difference      paired  unpaired",
    ]
    for difference in DIFFERENCES:
        needed = [seeds_needed(difference, std, paired=same) for std, same in _list_spreads(found)]
        words = [f"> {MOST_SEEDS}" if seeds == MOST_SEEDS else str(seeds) for seeds in needed]
        lines.append(f"  {difference:<4g} points  {words[0]:>8}  {words[1]:>8}")
    least = [f"{detectable_difference(seeds, std, paired=same):.1f}" for std, same in _list_spreads(found)]
    return [*lines, f"{seeds} seeds see differences of {least[0]} points and more if paired, of {least[1]} if not."]


def _list_spreads(found: Spread) -> tuple[tuple[float, bool], ...]:
    return (found.difference, True), (found.run, False)

"""Whether measured differences show what a claim says: the rule of each kind of claim.

Every difference is paired over seeds and tested by a paired t-test at 5 %; Holm's correction is over all comparisons of
one claim (every pair, every row that may be the best, every row that it must beat).

- `Above` all (most) pairs. Contradicted: in a pair (at least half of the pairs), one of the other rows is
  significantly above all of the claim's rows. Supported: no pair is lacking, the mean difference is above 0 in every
  pair (more than half of them), and the average over the pairs is significantly above 0. Several candidate rows: the
  average is that of the row with the smallest p-value, which is multiplied by their number; several rows to beat: of
  the one with the largest. With a margin, -margin stands for 0.
- `Above` some pairs. Supported: significantly above in a pair. Contradicted: significantly below in every pair.
- `UpTo` x points. Supported: the largest gain is significantly above 0, and x is not above its interval; where x is
  below it, the gain is larger than claimed, which is said. Contradicted: no pair is lacking, and x is above the
  intervals of all. These intervals have Bonferroni's correction.
- `Alike`. Supported: no pair is lacking, and every difference is significantly within the margin (two one-sided tests;
  all of them must be, so they need no correction). Contradicted: a difference is significantly beyond it.

Anything else is not shown: too few seeds, too much spread, or nothing there to be seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.claim.kinds import MOST, SOME, Above, Alike, Kind, UpTo
from analysis.table.stats import ALPHA, Estimate, Paired, average, holm
from trainables.recipes import Pair

SUPPORTED, CONTRADICTED, NOT_SHOWN = "supported", "contradicted", "not shown"


@dataclass(frozen=True)
class Unit:
    """One contest in one column. differences: each of its rows minus each of the others, row by row.

    pair, place: the column, and in words. rows, over: the labels. unlike: why it cannot be compared with the paper's.
    """

    pair: Pair
    place: str
    rows: tuple[str, ...]
    over: tuple[str, ...]
    differences: tuple[tuple[Paired, ...], ...]
    unlike: str = ""

    @property
    def means(self) -> np.ndarray:
        """(rows, others)."""
        return np.array([[one.summary.mean for one in row] for row in self.differences])

    @property
    def closest(self) -> tuple[int, int]:
        """The row of the largest difference to its strongest opponent, and that opponent."""
        means = self.means
        i = int(means.min(axis=1).argmax())
        return i, int(means[i].argmin())

    @property
    def difference(self) -> Paired:
        i, j = self.closest
        return self.differences[i][j]

    @property
    def n(self) -> int:
        return min(one.summary.n for row in self.differences for one in row)


@dataclass(frozen=True)
class Measured:
    """A unit with its tests. above, below: significantly, after Holm's correction. p: corrected, of its difference."""

    unit: Unit
    p: float | None = None
    above: bool = False
    below: bool = False


@dataclass(frozen=True)
class Finding:
    """word: one of the three above. estimate: the difference that decides. p: of its test, corrected where the rule
    corrects it.

    of: what it is of, in words. measured: every unit. why: what the word does not say.
    """

    word: str
    estimate: Estimate
    p: float | None
    of: str
    measured: tuple[Measured, ...]
    why: str = ""


def decide(kind: Kind, units: Sequence[Unit], lacking: int) -> Finding:
    """What one unit or more show of a claim. lacking: units of which runs are missing."""
    if isinstance(kind, Alike):
        found = _judge_alike(kind, units, lacking)
    elif isinstance(kind, UpTo):
        found = _judge_up_to(kind, units, lacking)
    elif kind.scope == SOME:
        found = _judge_some(kind, units, lacking)
    else:
        found = _judge_everywhere(kind, units, lacking)
    return replace(found, why=_reason(found, lacking))


def _reason(found: Finding, lacking: int) -> str:
    """The rule's own reason, and what is missing."""
    reasons = [found.why]
    if found.word == NOT_SHOWN and any(one.unit.n < 2 for one in found.measured):
        reasons.append("no test with one seed")
    if lacking:
        total = lacking + len(found.measured)
        reasons.append(f"{lacking} of {total} {counted([one.unit.pair for one in found.measured])} not run")
    return "; ".join(filter(None, reasons))


def _p_values(units: Sequence[Unit], test: Callable[[Estimate], float | None]) -> np.ndarray:
    """Of all comparisons (units, rows, others), of which every unit of a claim has as many; NaN without a test."""
    return np.array([[[test(one.estimate) for one in row] for row in unit.differences] for unit in units], dtype=float)


def _correct_by_holm(p: np.ndarray) -> np.ndarray:
    """Holm's correction over all tests that there are."""
    known = ~np.isnan(p)
    p[known] = holm(p[known].tolist())
    return p


def _measured(units: Sequence[Unit], least: float) -> list[Measured]:
    """Each unit against `least` points."""
    p = _correct_by_holm(_p_values(units, lambda one: one.p(least)))
    means = np.array([unit.means for unit in units])
    above = np.any(np.all((p < ALPHA) & (means > least), axis=2), axis=1)
    below = np.any(np.all((p < ALPHA) & (means < least), axis=1), axis=1)
    return [
        Measured(unit, _drop_nan(p[number, *unit.closest]), bool(above[number]), bool(below[number]))
        for number, unit in enumerate(units)
    ]


def _drop_nan(p: float) -> float | None:
    return None if math.isnan(p) else float(p)


def counted(pairs: Sequence[Pair]) -> str:
    """What such contests are called."""
    return "pairs" if len({*pairs}) == len(pairs) else "comparisons"


def _average(units: Sequence[Unit], chosen: Sequence[Paired]) -> Estimate:
    """Of one comparison of each unit, over the pairs.

    Units of one pair share seeds, and may share runs: they are averaged seed by seed. Pairs count as independent. That
    is an approximation: runs of one seed have the same order of images, and those of one student network the same
    initial weights.
    """
    by_pair: dict[Pair, list[dict[int, float]]] = {}
    for unit, one in zip(units, chosen, strict=True):
        by_pair.setdefault(unit.pair, []).append(dict(one.by_seed))
    estimates = []
    for found in by_pair.values():
        seeds = [seed for seed in found[0] if all(seed in one for one in found)]
        means = tuple((seed, sum(one[seed] for one in found) / len(found)) for seed in seeds)
        estimates.append(Paired(means).estimate)
    return average(estimates)


def _average_of_best(units: Sequence[Unit], least: float) -> tuple[Estimate, float | None, str]:
    """The average over the pairs of the row that is most significantly above `least`, against its strongest opponent;
    its p-value times the number of rows; and which two rows these are."""
    averages = [
        [(i, j, _average(units, [unit.differences[i][j] for unit in units])) for j in range(len(units[0].over))]
        for i in range(len(units[0].rows))
    ]
    known = all(one.error is not None for row in averages for _, _, one in row)

    def p_of(one: Estimate) -> float:
        return (one.p(least) or 0.0) if one.mean > least else 1.0

    def weakness(place: tuple[int, int, Estimate]) -> tuple[float, float]:
        return p_of(place[2]) if known else 0.0, -place[2].mean

    i, j, best = min((max(row, key=weakness) for row in averages), key=weakness)
    several = len(averages) * len(averages[0]) > 1
    words = f"of {units[0].rows[i]} over {units[0].over[j]} " if several else ""
    return best, min(1.0, p_of(best) * len(averages)) if known else None, words


def _judge_everywhere(kind: Above, units: Sequence[Unit], lacking: int) -> Finding:
    least = -kind.margin
    measured = _measured(units, least)
    same = counted([unit.pair for unit in units]) == "pairs"
    below = [one.unit.place if same else _describe_unit(one.unit) for one in measured if one.below]
    higher = sum(unit.difference.summary.mean > least for unit in units)
    total = len(units) + lacking
    shown, p, of_rows = _average_of_best(units, least)
    if kind.scope == MOST:
        against, enough = 2 * len(below) >= total, 2 * higher > total
    else:
        against, enough = bool(below), higher == total
    word, why = NOT_SHOWN, ""
    if against:
        word, why = CONTRADICTED, f"significantly below in {'; '.join(below)}"
        p = min(one.p for one in measured if one.below and one.p is not None)
    elif not lacking and enough and p is not None and p < ALPHA:
        word = SUPPORTED
    if word != CONTRADICTED and len(units) > 1:
        least_words = "above" if not kind.margin else f"no more than {kind.margin:g} below"
        why = f"{least_words} in {higher} of {len(units)}, significantly in {sum(one.above for one in measured)}"
    of = f"({_describe_unit(units[0])})"
    if len(units) > 1:
        of = f"{of_rows}on average over {len(units)} {counted([unit.pair for unit in units])}"
    return Finding(word, shown, p, of, tuple(measured), why)


def _by_largest(word: str, largest: Measured, measured: Sequence[Measured], why: str = "") -> Finding:
    """A finding that is about the largest difference."""
    unit = largest.unit
    of = f"(the largest: {_describe_unit(unit)})" if len(measured) > 1 else f"({_describe_unit(unit)})"
    return Finding(word, unit.difference.estimate, largest.p, of, tuple(measured), why)


def _judge_some(kind: Above, units: Sequence[Unit], lacking: int) -> Finding:
    measured = _measured(units, -kind.margin)
    word = NOT_SHOWN
    if any(one.above for one in measured):
        word = SUPPORTED
    elif not lacking and all(one.below for one in measured):
        word = CONTRADICTED
    return _by_largest(word, max(measured, key=lambda one: one.unit.difference.summary.mean), measured)


def _judge_up_to(kind: UpTo, units: Sequence[Unit], lacking: int) -> Finding:
    measured = _measured(units, 0.0)
    largest = max(measured, key=lambda one: one.unit.difference.summary.mean)
    alpha = ALPHA / sum(len(unit.rows) * len(unit.over) for unit in units)
    half = rounding(kind.points)
    word, why = NOT_SHOWN, ""
    if largest.above and _highest(largest.unit, alpha) >= kind.points - half:
        word = SUPPORTED
        low = largest.unit.difference.estimate.interval()
        why = f"larger than {kind.points:g}" if low and low[0] > kind.points + half else ""
    elif not lacking and all(_highest(unit, alpha) < kind.points - half for unit in units):
        word, why = CONTRADICTED, f"no gain reaches {kind.points:g}"
    return _by_largest(word, largest, measured, why)


def rounding(points: float) -> float:
    """Half of the last printed decimal: 0.05 of 1.6, 0.005 of 0.93."""
    return 0.5 * 10.0 ** -len(f"{points:g}".partition(".")[2])


def _highest(unit: Unit, alpha: float) -> float:
    """How large the difference of the unit's best row to all others may be; NaN where an interval is not known."""
    intervals = [[one.estimate.interval(alpha) or (math.nan, math.nan) for one in row] for row in unit.differences]
    return float(np.array(intervals)[..., 1].min(axis=1).max())


def _judge_alike(kind: Alike, units: Sequence[Unit], lacking: int) -> Finding:
    margin = kind.margin
    inside = _p_values(units, lambda one: max(_test_one_sided(one, -margin, 1), _test_one_sided(one, margin, -1)))
    outside = _correct_by_holm(
        _p_values(units, lambda one: min(_test_one_sided(one, margin, 1), _test_one_sided(one, -margin, -1)))
    )
    word = NOT_SHOWN
    if (outside < ALPHA).any():
        word = CONTRADICTED
    elif not lacking and (inside < ALPHA).all():
        word = SUPPORTED
    measured = [Measured(unit, _drop_nan(inside[number, *unit.closest])) for number, unit in enumerate(units)]
    return _by_largest(word, max(measured, key=lambda one: abs(one.unit.difference.summary.mean)), measured)


def _test_one_sided(one: Estimate, least: float, sign: int) -> float:
    """The p-value of mean - least being 0, against its having this sign; NaN without a test."""
    p = one.p(least)
    if p is None:
        return math.nan
    return p / 2 if sign * (one.mean - least) > 0 else 1 - p / 2


def _describe_unit(unit: Unit) -> str:
    i, j = unit.closest
    return f"{unit.rows[i]} over {unit.over[j]}, {unit.place}"

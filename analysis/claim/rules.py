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

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

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
    def closest(self) -> tuple[int, int]:
        """The row of the largest difference to its strongest opponent, and that opponent."""
        means = [[one.summary.mean for one in row] for row in self.differences]
        i = max(range(len(means)), key=lambda i: min(means[i]))
        return i, means[i].index(min(means[i]))

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
        found = _alike(kind, units, lacking)
    elif isinstance(kind, UpTo):
        found = _up_to(kind, units, lacking)
    elif kind.scope == SOME:
        found = _some(kind, units, lacking)
    else:
        found = _everywhere(kind, units, lacking)
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


def _measured(units: Sequence[Unit], least: float) -> list[Measured]:
    """Each unit against `least` points."""
    ps = _corrected(units, lambda one: one.p(least))
    found = []
    for number, unit in enumerate(units):

        def beyond(i: int, j: int, sign: int, number: int = number, unit: Unit = unit) -> bool:
            p = ps[number, i, j]
            return p is not None and p < ALPHA and sign * (unit.differences[i][j].summary.mean - least) > 0

        rows, over = range(len(unit.rows)), range(len(unit.over))
        found.append(
            Measured(
                unit,
                ps[number, *unit.closest],
                above=any(all(beyond(i, j, 1) for j in over) for i in rows),
                below=any(all(beyond(i, j, -1) for i in rows) for j in over),
            )
        )
    return found


def _corrected(
    units: Sequence[Unit], test: Callable[[Estimate], float | None]
) -> dict[tuple[int, int, int], float | None]:
    """`_tested` with Holm's correction."""
    places = _tested(units, test)
    known = {place: p for place, p in places.items() if p is not None}
    return places | dict(zip(known, holm([*known.values()]), strict=True))


def _tested(
    units: Sequence[Unit], test: Callable[[Estimate], float | None]
) -> dict[tuple[int, int, int], float | None]:
    """The p-values of all comparisons by unit, row and opponent; None where there is no test."""
    return {
        (number, i, j): test(one.estimate)
        for number, unit in enumerate(units)
        for i, row in enumerate(unit.differences)
        for j, one in enumerate(row)
    }


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
    rows, over = range(len(units[0].rows)), range(len(units[0].over))
    averages = {(i, j): _average(units, [unit.differences[i][j] for unit in units]) for i in rows for j in over}

    def p_of(place: tuple[int, int]) -> float:
        one = averages[place]
        return (one.p(least) or 0.0) if one.mean > least else 1.0

    known = all(one.error is not None for one in averages.values())
    hardest = [max(((i, j) for j in over), key=lambda at: (p_of(at) if known else 0, -averages[at].mean)) for i in rows]
    best = min(hardest, key=lambda at: (p_of(at) if known else 0, -averages[at].mean))
    several = len(rows) * len(over) > 1
    words = f"of {units[0].rows[best[0]]} over {units[0].over[best[1]]} " if several else ""
    return averages[best], min(1.0, p_of(best) * len(rows)) if known else None, words


def _everywhere(kind: Above, units: Sequence[Unit], lacking: int) -> Finding:
    least = -kind.margin
    measured = _measured(units, least)
    same = counted([unit.pair for unit in units]) == "pairs"
    below = [one.unit.place if same else _in(one.unit) for one in measured if one.below]
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
    return Finding(word, shown, p, _average_words(units, of_rows), tuple(measured), why)


def _some(kind: Above, units: Sequence[Unit], lacking: int) -> Finding:
    measured = _measured(units, -kind.margin)
    largest = max(measured, key=lambda one: one.unit.difference.summary.mean)
    word = NOT_SHOWN
    if any(one.above for one in measured):
        word = SUPPORTED
    elif not lacking and all(one.below for one in measured):
        word = CONTRADICTED
    of = _largest_words(largest.unit, units)
    return Finding(word, largest.unit.difference.estimate, largest.p, of, tuple(measured))


def _up_to(kind: UpTo, units: Sequence[Unit], lacking: int) -> Finding:
    measured = _measured(units, 0.0)
    largest = max(measured, key=lambda one: one.unit.difference.summary.mean)
    reaches = [_highest(unit, ALPHA / sum(len(one.rows) * len(one.over) for one in units)) for unit in units]
    reach = reaches[measured.index(largest)]
    printed = kind.points - rounding(kind.points)
    word, why = NOT_SHOWN, ""
    if largest.above and reach is not None and reach >= printed:
        word = SUPPORTED
        low = largest.unit.difference.estimate.interval()
        why = f"larger than {kind.points:g}" if low and low[0] > kind.points + rounding(kind.points) else ""
    elif not lacking and all(high is not None and high < printed for high in reaches):
        word, why = CONTRADICTED, f"no gain reaches {kind.points:g}"
    of = _largest_words(largest.unit, units)
    return Finding(word, largest.unit.difference.estimate, largest.p, of, tuple(measured), why)


def rounding(points: float) -> float:
    """Half of the last printed decimal: 0.05 of 1.6, 0.005 of 0.93."""
    return 0.5 * 10.0 ** -len(f"{points:g}".partition(".")[2])


def _highest(unit: Unit, alpha: float) -> float | None:
    """How large the difference of the unit's best row to all others may be."""
    intervals = [[one.estimate.interval(alpha) for one in row] for row in unit.differences]
    if any(one is None for row in intervals for one in row):
        return None
    return max(min(one[1] for one in row if one) for row in intervals)


def _alike(kind: Alike, units: Sequence[Unit], lacking: int) -> Finding:
    margin = kind.margin

    def within(one: Estimate) -> float | None:
        sides = [_one_sided(one, -margin, 1), _one_sided(one, margin, -1)]
        return max((p for p in sides if p is not None), default=None)

    def beyond(one: Estimate) -> float | None:
        return _one_sided(one, margin, 1) if one.mean > 0 else _one_sided(one, -margin, -1)

    inside, outside = _tested(units, within), _corrected(units, beyond)
    word = NOT_SHOWN
    if any(p is not None and p < ALPHA for p in outside.values()):
        word = CONTRADICTED
    elif not lacking and all(p is not None and p < ALPHA for p in inside.values()):
        word = SUPPORTED
    measured = [Measured(unit, inside[number, *unit.closest]) for number, unit in enumerate(units)]
    largest = max(measured, key=lambda one: abs(one.unit.difference.summary.mean))
    of = _largest_words(largest.unit, units)
    return Finding(word, largest.unit.difference.estimate, largest.p, of, tuple(measured))


def _one_sided(one: Estimate, least: float, sign: int) -> float | None:
    """The p-value of mean - least being 0, against its having this sign."""
    p = one.p(least)
    if p is None:
        return None
    return p / 2 if sign * (one.mean - least) > 0 else 1 - p / 2


def _in(unit: Unit) -> str:
    i, j = unit.closest
    return f"{unit.rows[i]} over {unit.over[j]}, {unit.place}"


def _average_words(units: Sequence[Unit], of_rows: str) -> str:
    if len(units) == 1:
        return f"({_in(units[0])})"
    return f"{of_rows}on average over {len(units)} {counted([unit.pair for unit in units])}"


def _largest_words(unit: Unit, units: Sequence[Unit]) -> str:
    return f"(the largest: {_in(unit)})" if len(units) > 1 else f"({_in(unit)})"

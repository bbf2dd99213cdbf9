"""Measured against the paper: whether a difference is more than the noise between seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from scipy.special import ndtri, stdtr, stdtrit  # type: ignore[import-untyped]

from analysis.table.published import UNKNOWN
from analysis.table.stats import ALPHA, NO_SPREAD, Summary
from analysis.table.value import Value

WITHIN, ABOVE, BELOW = "within noise", "above", "below"
ONE_SEED, NOT_RUN, NOT_COMPARABLE = "one seed", "not run", "not comparable"
WORDS = (WITHIN, ABOVE, BELOW, ONE_SEED, NOT_RUN, NOT_COMPARABLE)
TESTED = (WITHIN, ABOVE, BELOW)

PAPER_RUNS = 3
"""Taken where no source says of how many runs a number of the paper is the mean."""
EPOCH_UNKNOWN = "epoch not known"
"""Said of a verdict beside a number of the paper whose test epoch no source names."""
SEED_STD = 0.6
"""Points of top-1 between seeds, of the size that people report who trained these networks again: for one seed."""
ROUNDING = 0.005
"""The paper prints two decimals: two numbers that are nearer than this print alike."""


@dataclass(frozen=True)
class Verdict:
    """word: one of WORDS. difference: measured minus the paper's. noise: how far apart chance alone would put them.

    p: of the test; None where there was none. why: what the word does not say.
    """

    word: str
    difference: float | None = None
    noise: float | None = None
    p: float | None = None
    why: str = ""


@dataclass(frozen=True)
class Tally:
    """Of cells that were tested: how many, how many differ, and how many would if nothing but chance were at work."""

    tested: int
    different: int

    @property
    def by_chance(self) -> float:
        return ALPHA * self.tested

    @property
    def any_by_chance(self) -> float:
        """The probability that one cell or more differs by chance, were all cells independent."""
        return 1 - (1 - ALPHA) ** self.tested


def compared(value: Value) -> Summary | None:
    """What is compared with the paper's number: the runs at its own test epoch, where that is known."""
    return value.alike or value.summary


def verdict(value: Value, unlike: str = "") -> Verdict:
    """Whether an entry's mean m over n seeds differs from the paper's number p; `unlike`: why it cannot be compared.

    m is at the test epoch of p, best or last; where that is not known, at the one shown, and `why` says so. p is a
    mean of k runs (`PAPER_RUNS` where that is not known; a teacher is one network) whose spread is not printed. Were
    both from one normal distribution, m - p would have the variance s^2 (1/n + 1/k), with the measured sample standard
    deviation s on n - 1 degrees of freedom, so

        t = (m - p) / (s sqrt(1/n + 1/k))

    follows Student's t with n - 1 degrees of freedom, and the two-sided test at `ALPHA` is wrong in 5 % of cells that
    are alike. Where s = 0 it is the test's limit: different if the two print differently. One seed has no s and is
    not tested; `why` says whether it lies within the band 1.96 SEED_STD sqrt(1 + 1/k) (1.36 points for k = 3).
    """
    measured = compared(value)
    if measured is None:
        return Verdict(NOT_RUN, why=f"{value.failed} of {value.asked} failed" if value.failed else "")
    difference = None if value.paper is None else measured.mean - value.paper
    if unlike or difference is None:
        return Verdict(NOT_COMPARABLE, difference, why=unlike or "the paper has no number here")
    doubt = EPOCH_UNKNOWN if value.paper_epoch == UNKNOWN else ""
    both = math.sqrt(1 / measured.n + 1 / (value.paper_runs or PAPER_RUNS))
    if measured.n == 1 or measured.std is None:
        noise = float(-ndtri(ALPHA / 2)) * SEED_STD * both
        return Verdict(ONE_SEED, difference, noise, why=_join_reasons(_describe_place(difference, noise), doubt))
    error, freedom = measured.std * both, measured.n - 1
    alike = error < NO_SPREAD
    p = float(abs(difference) < ROUNDING) if alike else 2 * float(stdtr(freedom, -abs(difference) / error))
    word = WITHIN if p >= ALPHA else ABOVE if difference > 0 else BELOW
    noise = 0.0 if alike else float(-stdtrit(freedom, ALPHA / 2)) * error
    return Verdict(word, difference, noise, p, _join_reasons("the seeds do not differ" if alike else "", doubt))


def _join_reasons(*reasons: str) -> str:
    return ", ".join(filter(None, reasons))


def _describe_place(difference: float, noise: float) -> str:
    """Where one seed lies."""
    if abs(difference) <= noise:
        return "inside the band"
    return "above the band" if difference > 0 else "below the band"


def tally(judged: Iterable[tuple[Value, Verdict]]) -> Tally:
    """Tests counted once each, where several tables show the same runs beside the same number."""
    words = {(value.runs, value.paper): verdict.word for value, verdict in judged if verdict.word in TESTED}
    return Tally(len(words), sum(word != WITHIN for word in words.values()))

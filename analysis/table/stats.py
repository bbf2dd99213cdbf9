"""Runs as numbers: mean and spread over the seeds, and differences paired over the seeds that two cells share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

ALPHA = 0.05
NO_SPREAD = 1e-9


@dataclass(frozen=True)
class Summary:
    """n values: their mean (NaN of none) and their sample standard deviation (n - 1; None of fewer than two)."""

    n: int
    mean: float
    std: float | None


def summarise(values: Iterable[float]) -> Summary:
    """Refuses NaN and infinity, which no finished run has."""
    numbers = [float(value) for value in values]
    n = len(numbers)
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"{numbers} are not all finite")
    if n == 0:
        return Summary(0, math.nan, None)
    mean = math.fsum(numbers) / n
    if n == 1:
        return Summary(1, mean, None)
    return Summary(n, mean, math.sqrt(math.fsum((number - mean) ** 2 for number in numbers) / (n - 1)))


@dataclass(frozen=True)
class Estimate:
    """A mean difference with its standard error and degrees of freedom.

    error is None where there is no t-test: fewer than two differences, or differences without any spread, which
    accuracies on a small test set have by chance.
    """

    mean: float
    error: float | None
    freedom: float

    def p(self, least: float = 0.0) -> float | None:
        """Two-sided p-value of the t-test of mean = least: t = (mean - least) / error."""
        if self.error is None:
            return None
        from scipy.special import stdtr  # type: ignore[import-untyped]  # slow to load, and most tables need no test

        return 2 * float(stdtr(self.freedom, -abs(self.mean - least) / self.error))

    def interval(self, alpha: float = ALPHA) -> tuple[float, float] | None:
        """The 1 - alpha confidence interval of the mean."""
        if self.error is None:
            return None
        from scipy.special import stdtrit

        reach = float(-stdtrit(self.freedom, alpha / 2)) * self.error
        return self.mean - reach, self.mean + reach


@dataclass(frozen=True)
class Paired:
    """Differences between two cells by seed: their mean, their sample standard deviation, and how many there are."""

    by_seed: tuple[tuple[int, float], ...]

    @property
    def summary(self) -> Summary:
        return summarise(difference for _, difference in self.by_seed)

    @property
    def estimate(self) -> Estimate:
        """Mean d and standard error s_d / sqrt(n) with n - 1 degrees of freedom: the paired t-test."""
        found = self.summary
        varies = found.std is not None and found.std > NO_SPREAD
        error = found.std / math.sqrt(found.n) if varies and found.std is not None else None
        return Estimate(found.mean, error, found.n - 1)


def paired(left: Mapping[int, float], right: Mapping[int, float]) -> Paired | None:
    """left - right over the seeds that both have; None where they share none.

    Runs of one seed see the same images in the same order with the same crops, and start from the same weights, so
    what they share cancels in the difference.
    """
    common = tuple((seed, left[seed] - right[seed]) for seed in left if seed in right)
    return Paired(common) if common else None


def average(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of k independent estimates.

    Its squared error is the sum of theirs over k^2, its degrees of freedom are Welch and Satterthwaite's
    (sum e_i^2)^2 / sum(e_i^4 / f_i). One estimate is its own average.
    """
    k = len(estimates)
    mean = math.fsum(one.mean for one in estimates) / k
    squares = [one.error**2 for one in estimates if one.error is not None]
    if len(squares) < k:
        return Estimate(mean, None, 0)
    total = math.fsum(squares)
    freedom = total**2 / math.fsum(square**2 / one.freedom for square, one in zip(squares, estimates, strict=True))
    return Estimate(mean, math.sqrt(total) / k, freedom)


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values: the k-th smallest of m times m - k + 1, never below the one before, at most 1."""
    adjusted, highest = [0.0] * len(ps), 0.0
    for place, index in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        highest = max(highest, min(1.0, (len(ps) - place) * ps[index]))
        adjusted[index] = highest
    return adjusted

"""A few runs as one number: mean and sample standard deviation over the seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Summary:
    """n values: their mean, and their sample standard deviation (n - 1), None where one value has none."""

    n: int
    mean: float
    std: float | None

    @property
    def error(self) -> float | None:
        """The standard error of the mean."""
        return None if self.std is None else self.std / math.sqrt(self.n)


def summarise(values: Iterable[float]) -> Summary | None:
    """None where there is no value. Refuses NaN and infinity, which no finished run has."""
    numbers = [float(value) for value in values]
    if not numbers:
        return None
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"{numbers} are not all finite")
    n = len(numbers)
    mean = math.fsum(numbers) / n
    mean += math.fsum(number - mean for number in numbers) / n
    if n == 1:
        return Summary(1, mean, None)
    return Summary(n, mean, math.sqrt(math.fsum((number - mean) ** 2 for number in numbers) / (n - 1)))


def difference(left: Summary, right: Summary) -> Summary:
    """left - right of independent runs: their variances add, so std is the spread of one run minus another.

    n is the smaller of the two: as many pairs of runs could be compared.
    """
    std = None if left.std is None or right.std is None else math.hypot(left.std, right.std)
    return Summary(min(left.n, right.n), left.mean - right.mean, std)


def relative(left: Summary, right: Summary) -> Summary:
    """left / right - 1, for costs; std to first order. `right` must not have mean 0."""
    ratio = left.mean / right.mean
    n = min(left.n, right.n)
    if left.std is None or right.std is None:
        return Summary(n, ratio - 1, None)
    return Summary(n, ratio - 1, math.hypot(left.std, ratio * right.std) / abs(right.mean))

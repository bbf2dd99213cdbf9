"""A few runs as one number: mean and sample standard deviation over the seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


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


def difference(left: Summary, right: Summary) -> Summary:
    """left - right of independent runs: their variances add, so std is the spread of one run minus another.

    n is the smaller of the two: so many pairs of runs could be compared.
    """
    std = None if left.std is None or right.std is None else math.hypot(left.std, right.std)
    return Summary(min(left.n, right.n), left.mean - right.mean, std)

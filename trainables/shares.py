"""How many images a run really sets apart: of low energy, of high energy, and mixed. Free of torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from trainables.spec import RunSpec

FIELDS = ("low", "high", "mixed")
"""A row has the number of the epoch, then these shares of the images that the run trained on in it."""
MOST_OFF = 0.02

Row = Sequence[float | None]
Shares = tuple[float | None, float | None, float | None]


def requested_shares(spec: RunSpec) -> Shares:
    """The shares that a run asks for, by FIELDS; None for what it does not use."""
    used = {spec.mixing.selection} if spec.mixing is not None else set()
    if spec.temperature is not None and spec.temperature.end is not None:
        used = {spec.temperature.rule}
    low = None if used <= {"plain", "high", "all"} else spec.end
    high = None if used <= {"plain", "low", "all"} else spec.end
    return low, high, None if spec.mixing is None else spec.mixing.rate


def means(rows: Iterable[Row]) -> Shares:
    """The mean over the epochs of each of FIELDS."""
    columns = list(zip(*rows, strict=True))[1:] or [(None,)] * len(FIELDS)
    low, high, mixed = (_mean([share for share in column if share is not None]) for column in columns)
    return low, high, mixed


def _mean(shares: Sequence[float]) -> float | None:
    return math.fsum(shares) / len(shares) if shares else None


def describe_deviation(spec: RunSpec, rows: Iterable[Row]) -> str:
    """A sentence that names the shares which are more than MOST_OFF from what the run asks for; empty if none is."""
    words = [
        f"{100 * share:.1f} % {_WORDS[name]} instead of {100 * wanted:.3g} %"
        for name, wanted, share in zip(FIELDS, requested_shares(spec), means(rows), strict=True)
        if wanted is not None and share is not None and abs(share - wanted) > MOST_OFF
    ]
    return f"{spec.name}: of its training images, {', '.join(words)}" if words else ""


def in_words(runs: Iterable[Shares]) -> str:
    """The shares of some runs: of each of FIELDS their range, or one number where they print alike."""
    words = []
    for name, column in zip(FIELDS, zip(*runs, strict=True), strict=False):
        printed = [f"{100 * share:.1f}" for share in sorted(share for share in column if share is not None)]
        if printed:
            words.append(f"{name} {' to '.join(dict.fromkeys((printed[0], printed[-1])))} %")
    return ", ".join(words)


_WORDS = {"low": "had low energy", "high": "had high energy", "mixed": "were mixed"}

"""Which training images are used: the long tail, thinning and the hold-out, by the labels alone. Free of torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from trainables.data.counts import counts_in_words
from trainables.data.random_streams import Purpose, generator
from trainables.errors import UserError


@dataclass(frozen=True)
class Subset:
    """Positions in a training split, each array ascending."""

    kept: np.ndarray
    """What the long tail and the fraction leave."""
    held_out: np.ndarray
    """The part of `kept` that is tested on, in place of the test images; empty where nothing is held out."""
    sentence: str
    """What was left out, to follow the data set's source; empty where nothing was."""

    @property
    def train(self) -> np.ndarray:
        """The part of `kept` that is trained on."""
        return np.setdiff1d(self.kept, self.held_out, assume_unique=True)


def select(
    labels: Sequence[int] | np.ndarray,
    num_classes: int,
    *,
    imbalance: float = 1.0,
    train_fraction: float = 1.0,
    holdout: float = 0.0,
) -> Subset:
    """Make a training split long-tailed (`long_tailed`), thin it, then hold out a share of what is left.

    Thinning keeps the first ceil(fraction * n_c) of the n_c images of each class; no seed changes which. The held-out
    images of a class are floor(holdout * n_c), drawn at random, the same ones every time.
    """
    check_shares(imbalance, train_fraction)
    own = np.asarray(labels, dtype=np.int64)
    present = np.bincount(own, minlength=num_classes)
    tail = long_tailed(present.tolist(), imbalance)
    counts = [count_kept(count, train_fraction) for count in tail]
    by_class = np.split(np.argsort(own, kind="stable"), np.cumsum(present)[:-1])
    chosen = [positions[:count] for positions, count in zip(by_class, counts, strict=True)]
    held = [_hold_out(positions, label, holdout) for label, positions in enumerate(chosen) if holdout]
    subset = np.sort(np.concatenate(chosen)), np.sort(np.concatenate([np.empty(0, np.int64), *held]))
    sentence = ""
    if imbalance < 1:
        sentence += f"; long-tailed (imbalance {imbalance:g}): {counts_in_words(tail)} of {len(own):,}"
    if train_fraction < 1:
        sentence += f"; {sum(counts):,} of {sum(tail):,} training images"
    if holdout:
        sentence += f"; {len(subset[1]):,} training images held out, in place of the test images"
    return Subset(*subset, sentence)


def check_shares(imbalance: float, train_fraction: float) -> None:
    if not 0 < train_fraction <= 1:
        raise UserError(f"the train fraction {train_fraction:g} must be in (0, 1]")
    if not 0 < imbalance <= 1:
        raise UserError(f"the imbalance {imbalance:g} (smallest class / largest class) must be in (0, 1]")


def _hold_out(positions: np.ndarray, label: int, share: float) -> np.ndarray:
    """Of the images of one class, at random."""
    count = math.floor(_exact(share) * len(positions))
    return generator(0, Purpose.HELD_OUT_IMAGES, label).permutation(positions)[:count]


def count_kept(count: int, fraction: float) -> int:
    """ceil(fraction * count)."""
    return math.ceil(_exact(fraction) * count)


def _exact(fraction: float) -> Fraction:
    """The fraction as it is written: 0.07 of 100 is 7 (in floats its ceiling would be 8)."""
    return Fraction(repr(float(fraction)))


def long_tailed(counts: Sequence[int], imbalance: float) -> tuple[int, ...]:
    """The exponential profile of K. Cao et al., 2019: of C classes, class c keeps int(n * imbalance ** (c / (C - 1))).

    n is the largest class; a class that has fewer images than its share keeps them all.
    """
    last = max(len(counts) - 1, 1)
    profile = [min(count, int(max(counts) * imbalance ** (c / last))) for c, count in enumerate(counts)]
    if imbalance < 1 and 0 in profile:
        first = f"{profile.index(0)} of 0 to {last}"
        raise UserError(f"the imbalance {imbalance:g} leaves class {first} no training image: use a larger one")
    return tuple(profile)

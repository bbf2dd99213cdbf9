"""Which samples are mixed: those that a mixing's thresholds choose, in steps where they are two or more."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from ekd_core import select
from trainables.spec import Mixing


class Selection(NamedTuple):
    """Chosen samples of consecutive steps.

    rows: (m,) ascending.
    bounds: where each step's samples lie among the chosen ones.
    """

    rows: Tensor
    bounds: tuple[tuple[int, int], ...]


def select_all(bounds: Sequence[int], device: torch.device) -> Selection:
    """All samples of steps that lie between `bounds`."""
    return Selection(torch.arange(bounds[-1], device=device), tuple(pairwise(bounds)))


def select_by_score(
    scores: Tensor, step: Tensor, steps: int, mixing: Mixing, thresholds: tuple[Tensor, Tensor]
) -> Selection:
    """Of `steps` steps whose samples have scores (n,), as the thresholds have, and belong to step (n,). Waits for the
    device."""
    marked = select(scores, mixing.selection, *thresholds)
    counts = marked.new_zeros(steps, dtype=step.dtype).index_add_(0, step, marked.to(step.dtype))
    marked = marked & (counts >= 2)[step]
    sizes = [size if size >= 2 else 0 for size in counts.tolist()]
    return Selection(marked.nonzero().squeeze(1), tuple(pairwise(accumulate(sizes, initial=0))))

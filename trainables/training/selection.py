"""Which samples are mixed: those that a mixing's thresholds choose, in steps where they are two or more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from ekd_core import select
from trainables.spec import Mixing


@dataclass(frozen=True)
class Selection:
    """Chosen samples of consecutive steps. rows: (m,) ascending; sizes: how many of each step."""

    rows: Tensor
    sizes: tuple[int, ...]

    def part(self, first_step: int, steps: int, first_row: int) -> Selection:
        """Of some of the steps, with rows counted from the first of them. Waits for nothing."""
        before = sum(self.sizes[:first_step])
        sizes = self.sizes[first_step : first_step + steps]
        return Selection(self.rows[before : before + sum(sizes)] - first_row, sizes)

    @property
    def bounds(self) -> tuple[tuple[int, int], ...]:
        """Where each step's samples lie among the chosen ones."""
        ends = accumulate(self.sizes)
        return tuple((end - size, end) for end, size in zip(ends, self.sizes, strict=True))


def everything(bounds: Sequence[int], device: torch.device) -> Selection:
    """All samples of steps that lie between `bounds`."""
    return Selection(torch.arange(bounds[-1], device=device), tuple(end - start for start, end in pairwise(bounds)))


def chosen(scores: Tensor, step: Tensor, steps: int, mixing: Mixing, thresholds: tuple[Tensor, Tensor]) -> Selection:
    """Of `steps` steps whose samples have scores (n,), as the thresholds have, and belong to step (n,). Waits for the
    device."""
    marked = select(scores, mixing.selection, *thresholds)
    counts = marked.new_zeros(steps, dtype=step.dtype).index_add_(0, step, marked.to(step.dtype))
    marked = marked & (counts >= 2)[step]
    return Selection(marked.nonzero().squeeze(1), tuple(size if size >= 2 else 0 for size in counts.tolist()))

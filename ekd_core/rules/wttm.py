"""Weighted transformed teacher matching (Zheng and Yang, ICLR 2024)."""

from __future__ import annotations

from dataclasses import dataclass

from torch.nn.functional import log_softmax

from ekd_core.rules import Samples
from ekd_core.rules.ttm import TTM
from ekd_core.softening import Softening


@dataclass(frozen=True)
class WTTM(TTM):
    """T_t = 1 / gamma, T_s = 1; factor sum_j p_t(j)^gamma, p_t the teacher's softmax at temperature 1."""

    def soften(self, samples: Samples) -> Softening:
        factor = (self.gamma * log_softmax(samples.teacher, dim=1)).exp().sum(dim=1)
        return Softening(1 / self.gamma, 1.0, factor)


RULE = WTTM

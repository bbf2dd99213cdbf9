"""Entropy-adaptive KD (Su et al. 2023, arXiv 2311.13621)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ekd_core.rules import Rule, Samples, check_above_0
from ekd_core.softening import Softening

EPSILON = 1e-10
"""Added to a probability before its logarithm, as in the released code."""


@dataclass(frozen=True)
class EAKD(Rule):
    """T for teacher and student; factor T^2 (H_t + H_t H_s / bound) / 2, without gradient.

    H: the entropies of the softmaxes at `entropy_temperature`, in nats.
    """

    STUDENT = True

    temperature: float
    entropy_temperature: float
    bound: float

    def __post_init__(self) -> None:
        check_above_0(temperature=self.temperature, entropy_temperature=self.entropy_temperature, bound=self.bound)

    def soften(self, samples: Samples) -> Softening:
        assert samples.student is not None
        teacher, student = self._entropy(samples.teacher), self._entropy(samples.student.detach())
        factor = self.temperature**2 * (teacher + teacher * student / self.bound) / 2
        return Softening(self.temperature, self.temperature, factor)

    def _entropy(self, logits: Tensor) -> Tensor:
        """(N, C) -> (N,)"""
        probabilities = (logits / self.entropy_temperature).softmax(dim=1)
        return -(probabilities * (probabilities + EPSILON).log()).sum(dim=1)


RULE = EAKD

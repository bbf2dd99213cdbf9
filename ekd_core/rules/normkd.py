"""NormKD (Chi et al. 2023, arXiv 2308.00520)."""

from __future__ import annotations

from dataclasses import dataclass

from ekd_core.rules import Samples
from ekd_core.rules.lskd import LSKD
from ekd_core.softening import Softening, deviation


@dataclass(frozen=True)
class NormKD(LSKD):
    """T = tau sigma, sigma the standard deviation over the classes of each network's logits; factor (tau sigma_t)^2.

    The gradient flows through the student's sigma. It has the softmaxes of LSKD and another weight.
    """

    def soften(self, samples: Samples) -> Softening:
        assert samples.student is not None
        teacher = self.tau * deviation(samples.teacher)
        return Softening(teacher, self.tau * deviation(samples.student), teacher**2)


RULE = NormKD

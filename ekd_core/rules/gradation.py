"""One of several temperatures by the energy of the sample  (Eq. 13, 17)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ekd_core.rules import Rule, Samples
from ekd_core.temperature import gradation_edges, gradation_temperature


@dataclass(frozen=True)
class Gradation(Rule):
    """One of `values` for each of as many equal segments of the training set, the lowest energies first."""

    SHARED = True

    values: tuple[float, ...]

    def cuts(self, scores: Tensor) -> Tensor:
        return gradation_edges(scores, len(self.values))

    def soften(self, samples: Samples) -> Tensor:
        assert samples.scores is not None
        assert samples.cuts is not None
        return gradation_temperature(samples.scores, samples.cuts, self.values)


RULE = Gradation

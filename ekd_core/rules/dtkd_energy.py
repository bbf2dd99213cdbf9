"""Dynamic temperature KD as its paper's text has it: by the energy instead of the largest logit."""

from __future__ import annotations

from dataclasses import dataclass

from ekd_core.rules.dtkd import DTKD


@dataclass(frozen=True)
class DTKDEnergy(DTKD):
    """`DTKD` whose sharpness is the logsumexp."""

    sharpness: str = "energy"


RULE = DTKDEnergy

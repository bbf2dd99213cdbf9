"""Which samples of a batch are mixed with others, and how: a part of a run's spec."""

from __future__ import annotations

from dataclasses import dataclass

from trainables.canonical import Canonical
from trainables.errors import UserError

OPERATIONS = ("cutmix", "mixup")
SELECTIONS = ("all", "high", "low", "half")
TARGETS = ("larger", "both")


@dataclass(frozen=True)
class Mixing(Canonical):
    """Which samples are mixed with others, and how.

    Attributes:
        operation: `cutmix` or `mixup`.
        selection: `all`, or those of `high` energy, of `low` energy, or `half` of each.
        rate: The share of the samples that is mixed.
        alpha: Of the Beta(alpha, alpha) distribution that the share of the first image is drawn from.
        target: The label of a mixed image for a loss that needs one (DKD's): of the `larger` part, or `both`.
    """

    operation: str
    selection: str = "all"
    rate: float = 1.0
    alpha: float = 1.0
    target: str = "larger"

    def validate(self) -> None:
        if self.operation not in OPERATIONS:
            raise UserError(f"unknown mixing {self.operation!r}: use one of {', '.join(OPERATIONS)}")
        if self.selection not in SELECTIONS:
            raise UserError(f"unknown selection {self.selection!r}: use one of {', '.join(SELECTIONS)}")
        if not 0 < self.rate <= 1:
            raise UserError(f"the augmentation rate {self.rate:g} must be in (0, 1]")
        if self.selection == "all" and self.rate != 1:
            raise UserError("mixing all samples has rate 1: choose high, low or half")
        if self.alpha <= 0:
            raise UserError(f"the mixing alpha {self.alpha:g} must be above 0")
        if self.target not in TARGETS:
            raise UserError(f"unknown target {self.target!r} of mixed images: use one of {', '.join(TARGETS)}")

    @property
    def end(self) -> float | None:
        """The share of the images at each end of the energies that is mixed; None where all are."""
        return {"all": None, "half": self.rate / 2}.get(self.selection, self.rate)

"""Rules that set temperatures, one file each. A file here that defines RULE is a rule under the file's name.

A rule is a frozen dataclass of its own numbers that inherits from Rule. Its `soften` maps the samples of a batch to a
temperature for the teacher, one for the student, and a factor for each sample's divergence: see `Softening`. `kd_loss`
and `dkd_loss` take what it returns.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from ekd_core.softening import Temperature


@dataclass(frozen=True)
class Samples:
    """What a rule may look at: the samples of a batch.

    Attributes:
        teacher: The teacher's logits, (N, C), float32 or float64.
        student: The student's logits, (N, C). None for a rule that does not ask for STUDENT.
        labels: (N,), int64. None for a rule that does not ask for LABELS.
        epoch: Counted from 1.
        scores: (N,), what decides whether a sample has low or high energy. None where the rule makes no cuts.
        cuts: What the rule's `cuts` found in the scores of the training set.
        learned: The rule's own module, if it LEARNS.
    """

    teacher: Tensor
    student: Tensor | None = None
    labels: Tensor | None = None
    epoch: int = 1
    scores: Tensor | None = None
    cuts: Tensor | None = None
    learned: nn.Module | None = None


class Rule(ABC):
    """A rule. Inherit from it as a frozen dataclass of the rule's numbers.

    A number called `temperature` is the T of a run, `plus`, `minus`, `rate` and `values` are what they are there.

    Attributes:
        STUDENT: It looks at the student's logits or learns, so it is computed in every step.
        LABELS: It looks at the labels. It is not defined on mixed images.
        COUPLED: It compares the samples of a batch, so that a batch cannot be split over devices.
        SHARED: Teacher and student have the same temperature T, one a sample, and the factor is T^2.
        CROSS_ENTROPY: Its divergence is a cross-entropy, so it is not defined for the two parts of DKD.
    """

    STUDENT: ClassVar[bool] = False
    LABELS: ClassVar[bool] = False
    COUPLED: ClassVar[bool] = False
    SHARED: ClassVar[bool] = False
    CROSS_ENTROPY: ClassVar[bool] = False

    @abstractmethod
    def soften(self, samples: Samples) -> Temperature:
        """Return the temperatures and the factor of each sample as a `Softening`; where SHARED, T alone."""

    def cuts(self, scores: Tensor) -> Tensor | None:
        """Return where the rule cuts the scores (M,) of a training set, ascending, or None if it does not."""
        return None

    def learned(self) -> nn.Module | None:
        """Return a module that trains with the student and is saved with it, or None."""
        return None

    def fixed(self, epoch: int) -> bool:
        """Whether the rule is the same function of its samples in this and in every later epoch."""
        return True


def names() -> tuple[str, ...]:
    """Return the names of all rules. None of them is imported."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")))


def find(name: str) -> type[Rule]:
    """Return the class of a rule.

    Raises:
        ValueError: If there is no rule of that name.
    """
    if name not in names():
        raise ValueError(f"unknown rule {name!r}; there is {', '.join(names())}")
    rule: type[Rule] = importlib.import_module(f"{__name__}.{name}").RULE
    return rule


def check_above_0(**numbers: float) -> None:
    """Raise ValueError if one of the numbers is not above 0."""
    for name, value in numbers.items():
        if not value > 0:
            raise ValueError(f"{name} is {value}; it must be above 0")

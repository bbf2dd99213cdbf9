"""Attention transfer (Zagoruyko and Komodakis 2017), with torchdistill's ATLoss (mode "code")."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import cross_entropy

from trainables.errors import UserError
from trainables.methods import Method, Setup, Step
from trainables.methods._features import of_one_size, paired, refusal
from trainables.methods._torchdistill import summed


@dataclass(frozen=True)
class AT(Method):
    """L = ce CE(labels, student) + weight sum_l mean (q(student_l) - q(teacher_l))^2,  q(F) = a / |a|_2.

    a: (N, H W), the mean over channels of |F|^power. The maps l are all but the first, matched from the last back
    where one network has more; the larger of two maps is averaged to the size of the smaller.
    """

    FEATURES = True

    ce: float
    weight: float
    power: float

    def __post_init__(self) -> None:
        if self.power < 2:
            raise UserError(f"at has a gradient everywhere only for a power of 2 or more, not {self.power:g}")

    def extra(self, setup: Setup) -> None:
        assert setup.teacher is not None
        student, teacher = setup.student.features, setup.teacher.features
        if not paired(student, teacher):
            raise refusal("at", "each network needs two features or more", student, teacher)

    def loss(self, step: Step) -> Tensor:
        pairs = [of_one_size(*pair) for pair in paired(step.student.features, step.taught.features)]
        attention = summed("ATLoss", [(self._root(student), self._root(teacher)) for student, teacher in pairs])
        return self.ce * cross_entropy(step.student.logits, step.labels) + self.weight * attention

    def _root(self, maps: Tensor) -> Tensor:
        """Maps whose square, which ATLoss takes, is |F|^power."""
        return maps if self.power == 2 else maps.abs() ** (self.power / 2)


METHOD = AT

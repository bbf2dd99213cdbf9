"""Attention transfer (Zagoruyko and Komodakis 2017), as in its authors' code."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from trainables.errors import UserError
from trainables.methods import Batch, Method, Setup
from trainables.methods._features import make_refusal, match_sizes, pair_maps
from trainables.models import Outputs


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
        if not pair_maps(student, teacher):
            raise make_refusal("at", "each network needs two features or more", student, teacher)

    def loss(self, student: Outputs, batch: Batch) -> Tensor:
        pairs = [match_sizes(*pair) for pair in pair_maps(student.features, batch.teacher_outputs.features)]
        transfer = student.logits.new_zeros(())
        for own, guide in pairs:
            transfer = transfer + (self._attention(own) - self._attention(guide)).square().mean()
        return self.ce * cross_entropy(student.logits, batch.labels) + self.weight * transfer

    def _attention(self, maps: Tensor) -> Tensor:
        """(N, K, H, W) to (N, H W), of length 1."""
        return normalize((maps.abs() ** self.power).mean(dim=1).flatten(1))


METHOD = AT

"""Multi-level logit distillation (Jin et al. 2023); with a temperature for each sample, Energy Multi KD."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from torch import Tensor
from torch.nn.functional import cross_entropy

from ekd_core import batch_correlation_loss, class_correlation_loss, kd_loss
from trainables.baselines import MULTI_BASE, MULTI_TEMPERATURES
from trainables.errors import UserError
from trainables.methods import Batch, Method
from trainables.models import Outputs

Loss = Callable[[Tensor, Tensor, float | Tensor], Tensor]

FROM_WEAK = (2, 6)


class Parts(NamedTuple):
    """What a loss is the sum of, weights included."""

    ce: Tensor
    instance: Tensor
    classes: Tensor
    batch: Tensor


@dataclass(frozen=True)
class Multi(Method):
    """L = ce sum_v CE(labels, student_v) + kd sum_v sum_T (KD + class + batch correlation)(student_v, teacher_v; T).

    v: the weak and the strong view of the batch. T: 2, 3, 4, 5, 6, all multiplied by T_i / 4 where T_i is the
    temperature of the run or, in Energy Multi KD, of the sample: T = 4 leaves them as they are. (A choice: the
    paper does not say how a sample's temperature meets five; T(-) = -2 added to each would leave 0 of the lowest.)

    released = 1: as in the code of Jin et al., where KD on the weak view and both correlations are multiplied by the
    share of samples (classes, for the class correlation) of at most median confidence, since their mask meets a loss
    that is a mean already; KD on the strong view takes the weak logits at T = 2 and 6; the strong view's correlations
    are left out. Confidence: the teacher's highest probability of a sample, its sum of probabilities of a class.

    strong = 0: without the strong view and its terms. In the released form those are all of KD on the strong view, also
    where it takes the weak logits.
    """

    TEMPERED = True
    COUPLED = True

    ce: float
    kd: float
    released: float
    strong: float

    def __post_init__(self) -> None:
        for name in ("released", "strong"):
            if getattr(self, name) not in (0, 1):
                raise UserError(f"multi takes {name} = 0 or 1, not {getattr(self, name):g}")

    @property
    def wants_strong(self) -> bool:
        return self.strong == 1

    def loss(self, student: Outputs, batch: Batch) -> Tensor:
        return sum_parts(self.parts(StudentView(student.logits, batch)))

    def two_view_loss(self, student: Outputs, strong: Outputs, batch: Batch) -> Tensor:
        assert batch.strong is not None
        return sum_parts(self.parts(StudentView(student.logits, batch), StudentView(strong.logits, batch.strong)))

    def parts(self, weak: StudentView, strong: StudentView | None = None) -> Parts:
        """The terms of the loss, with their weights."""
        views = [weak] if strong is None else [weak, strong]
        ce = _sum_over(views, lambda view: cross_entropy(view.student, view.batch.labels))
        if self.released:
            instance, classes, batch = _released_terms(weak, strong)
        else:
            instance, classes, batch = (
                _sum_over(views, partial(_sum_temperatures, loss))
                for loss in (kd_loss, class_correlation_loss, batch_correlation_loss)
            )
        return Parts(self.ce * ce, self.kd * instance, self.kd * classes, self.kd * batch)


class StudentView(NamedTuple):
    """The student's logits of a batch."""

    student: Tensor
    batch: Batch


def sum_parts(parts: Parts) -> Tensor:
    ce, instance, classes, batch = parts
    return ce + instance + classes + batch


def _sum_over(views: Sequence[StudentView], term: Callable[[StudentView], Tensor]) -> Tensor:
    first, *rest = map(term, views)
    return sum(rest, first)


def _sum_temperatures(loss: Loss, view: StudentView, temperatures: tuple[float, ...] = MULTI_TEMPERATURES) -> Tensor:
    teacher, total = view.batch.teacher_outputs.logits, view.student.new_zeros(())
    for temperature in temperatures:
        total = total + loss(view.student, teacher, view.batch.shared_temperature * (temperature / MULTI_BASE))
    return total


def _released_terms(weak: StudentView, strong: StudentView | None) -> tuple[Tensor, Tensor, Tensor]:
    certain = weak.batch.teacher_outputs.logits.softmax(dim=1)
    samples, classes = _unsure(certain.amax(dim=1)), _unsure(certain.sum(dim=0))
    instance = samples * _sum_temperatures(kd_loss, weak)
    if strong is not None:
        own = tuple(temperature for temperature in MULTI_TEMPERATURES if temperature not in FROM_WEAK)
        instance = instance + _sum_temperatures(kd_loss, strong, own) + _sum_temperatures(kd_loss, weak, FROM_WEAK)
    return (
        instance,
        classes * _sum_temperatures(class_correlation_loss, weak),
        samples * _sum_temperatures(batch_correlation_loss, weak),
    )


def _unsure(confidence: Tensor) -> Tensor:
    """The share of (n,) that is at most the median; of an even number, the lower one of the middle gives the same."""
    return (confidence <= confidence.median()).to(confidence.dtype).mean()


METHOD = Multi

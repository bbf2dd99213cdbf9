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
from trainables.methods import Method, Step

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

    def loss(self, step: Step) -> Tensor:
        ce, instance, classes, batch = self.parts(step)
        return ce + instance + classes + batch

    def parts(self, step: Step) -> Parts:
        views = [step] if step.strong is None else [step, step.strong]
        ce = _over(views, lambda view: cross_entropy(view.student.logits, view.labels))
        if self.released:
            instance, classes, batch = _released(step, step.strong)
        else:
            instance, classes, batch = (
                _over(views, partial(_summed, loss))
                for loss in (kd_loss, class_correlation_loss, batch_correlation_loss)
            )
        return Parts(self.ce * ce, self.kd * instance, self.kd * classes, self.kd * batch)


def _over(views: Sequence[Step], term: Callable[[Step], Tensor]) -> Tensor:
    first, *rest = map(term, views)
    return sum(rest, first)


def _summed(loss: Loss, view: Step, temperatures: tuple[float, ...] = MULTI_TEMPERATURES) -> Tensor:
    student, teacher = view.student.logits, view.taught.logits
    total = student.new_zeros(())
    for temperature in temperatures:
        total = total + loss(student, teacher, view.temperature * (temperature / MULTI_BASE))
    return total


def _released(weak: Step, strong: Step | None) -> tuple[Tensor, Tensor, Tensor]:
    certain = weak.taught.logits.softmax(dim=1)
    samples, classes = _unsure(certain.amax(dim=1)), _unsure(certain.sum(dim=0))
    instance = samples * _summed(kd_loss, weak)
    if strong is not None:
        own = tuple(temperature for temperature in MULTI_TEMPERATURES if temperature not in FROM_WEAK)
        instance = instance + _summed(kd_loss, strong, own) + _summed(kd_loss, weak, FROM_WEAK)
    return (
        instance,
        classes * _summed(class_correlation_loss, weak),
        samples * _summed(batch_correlation_loss, weak),
    )


def _unsure(confidence: Tensor) -> Tensor:
    """The share of (n,) that is at most the median; of an even number, the lower one of the middle gives the same."""
    return (confidence <= confidence.median()).to(confidence.dtype).mean()


METHOD = Multi

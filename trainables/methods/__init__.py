"""Distillation methods, one file each. A file here that defines METHOD is a method under the file's name.

A method is a frozen dataclass of its own numbers (the `params` of a run) that inherits from Method. Its `loss` maps the
student's outputs and a Batch (images, labels, the teacher's outputs, temperatures) to a scalar. What else it needs it
declares: class attributes for the networks' features and the like, `extra` for modules of its own that train with the
student.
"""

from __future__ import annotations

import dataclasses
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

from torch import Tensor, nn

from trainables.additions import load as load_addition
from trainables.commands import did_you_mean
from trainables.errors import UserError
from trainables.models import Outputs
from trainables.spec import Params, RunSpec


@dataclass(frozen=True)
class Batch:
    """One batch with all that a loss needs besides the student's outputs. Numbers are float32, whatever the precision
    of the networks; images are as the networks take them.

    images: (N, 3, H, W).
    labels: (N,); of a mixed image that of the image which fills at least half.
    epoch: from 1.
    temperature: a number or (N,); 1 for a run without one.
    teacher: logits (N, C) and, where the method asks for FEATURES, feature maps, pooled features and preactivations;
        None where there is no teacher.
    index: (N,) positions in the training set.
    others: (N,) the second label of mixed images, where the run asks for both.
    strong: the same samples under strong augmentation, where the method wants them.
    mixed: whether the images are mixed.
    weight: of the loss, where several devices share the batch.
    extra: the method's own modules.
    draw_seed: gives a seed that belongs to this run, epoch and step alone.
    """

    images: Tensor
    labels: Tensor
    epoch: int
    temperature: float | Tensor
    teacher: Outputs | None = None
    index: Tensor | None = None
    others: Tensor | None = None
    strong: Batch | None = None
    mixed: bool = False
    weight: float = 1.0
    extra: nn.Module | None = None
    draw_seed: Callable[[], int] = lambda: 0

    @property
    def teacher_outputs(self) -> Outputs:
        """The teacher's outputs, of which a method with a teacher can be sure."""
        assert self.teacher is not None
        return self.teacher


@dataclass(frozen=True)
class Setup:
    """What the modules of a method are made for.

    student, teacher: the networks' outputs for one image, for their shapes (teacher: None where there is none).
    teacher_norms: weight and bias of the norm before each of the teacher's preactivations but the first.
    labels: (M,) of the whole training set. peer: the network that learns beside the student, if the run names one.
    """

    student: Outputs
    teacher: Outputs | None
    teacher_norms: tuple[tuple[Tensor, Tensor], ...]
    labels: Tensor
    num_classes: int
    peer: str | None = None


class Method(ABC):
    """TEMPERED: it has a temperature. FEATURES: it looks at more than logits. TEACHER: it has a teacher.
    BATCH_STATISTICS: its teacher's norms use the statistics of the batch, not those of their training.

    PEER: another network learns beside the student. COUPLED: samples of a batch are compared with each other, so that
    a batch cannot be split over devices. MIXES: it has a loss on mixed images.
    """

    TEMPERED: ClassVar[bool] = False
    FEATURES: ClassVar[bool] = False
    TEACHER: ClassVar[bool] = True
    BATCH_STATISTICS: ClassVar[bool] = False
    PEER: ClassVar[bool] = False
    COUPLED: ClassVar[bool] = False
    MIXES: ClassVar[bool] = False

    @property
    def wants_strong(self) -> bool:
        """Whether it wants a strongly augmented view of the images too."""
        return False

    @abstractmethod
    def loss(self, student: Outputs, batch: Batch) -> Tensor:
        """The loss on the images as they are."""

    def mixed_loss(self, student: Outputs, batch: Batch) -> Tensor:
        """The loss on mixed images, added to the first; only of methods that MIX."""
        raise UserError(f"{type(self).__name__} has no loss on mixed images: choose kd or dkd")

    def two_view_loss(self, student: Outputs, strong: Outputs, batch: Batch) -> Tensor:
        """The loss on the images as they are and on `batch.strong`; only of methods that want strong views."""
        raise NotImplementedError

    def fixed(self, epoch: int) -> bool:
        """Whether the loss is the same function of a step's images, labels, temperatures and logits in every epoch from
        this one on, so that it can be recorded."""
        return False

    def remark(self, num_classes: int) -> str | None:
        """What a person should know of the method on a data set of so many classes, in a sentence."""
        return None

    def extra(self, setup: Setup) -> nn.Module | None:
        """Modules that train with the student, are saved with it and never count as its parameters.

        Initial weights come from torch's global generator, which is seeded for the call. A pair that the method cannot
        serve is refused with a UserError.
        """
        return None


def names() -> tuple[str, ...]:
    """The methods, by the files of this folder; none is imported."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")))


@cache
def find(name: str) -> type[Method]:
    """The method of that name; refuses an unknown one."""
    if name not in names():
        hint = f" ({near})" if (near := did_you_mean(name, names())) else ""
        raise UserError(f"unknown method {name!r}{hint}: use one of {', '.join(names())}")
    method: type[Method] = load_addition(__name__, name, "METHOD", Method)
    if "__dataclass_fields__" not in vars(method):
        raise UserError(f"the method {name} is no dataclass: write @dataclass(frozen=True) above its class")
    return method


def whole_batches(spec: RunSpec) -> bool:
    """Whether a step needs all samples of its batch in one place, so that several devices cannot share it."""
    method = find(spec.method)
    return spec.mixing is not None or method.COUPLED or method.BATCH_STATISTICS


def make(name: str, params: Params) -> Method:
    """The method with its numbers; refuses a missing number that has no default, or one that it does not have."""
    cls = find(name)
    items = dataclasses.fields(cls)  # type: ignore[arg-type]
    wanted = {item.name for item in items}
    needed = {item.name for item in items if item.default is dataclasses.MISSING}
    given = dict(params)
    if not needed <= set(given) <= wanted:
        raise UserError(
            f"method {name} takes the parameters {', '.join(sorted(wanted)) or 'none'}; "
            f"given: {', '.join(sorted(given)) or 'none'}"
        )
    return cls(**given)

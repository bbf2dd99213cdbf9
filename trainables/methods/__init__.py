"""Distillation methods, one file each. A file here that defines METHOD is a method under the file's name.

A method is a frozen dataclass of its own numbers (the `params` of a run) that inherits from Method. Its `loss` maps the
student's outputs and a Batch (images, labels, the teacher's outputs, temperatures) to a scalar. What else it needs it
declares: class attributes for the networks' features and the like, `extra` for modules of its own that train with the
student. `A+B` is the sum of two methods.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from ekd_core.rules import Rule
from ekd_core.softening import Softening, Temperature
from trainables.additions import load as load_addition
from trainables.additions import modules_in, remembered
from trainables.commands import did_you_mean
from trainables.data.stream import WHOLE, Share
from trainables.errors import UserError
from trainables.models import Outputs
from trainables.rules import rule_of
from trainables.spec import Params, RunSpec


@dataclass(frozen=True)
class Batch:
    """One batch: all that a loss needs besides the student's outputs.

    Numbers are float32, whatever the precision of the networks. Images are as the networks take them.

    Attributes:
        images: (N, 3, H, W), normalised.
        labels: (N,), int64. A mixed image has the label of the image that fills at least half of it.
        epoch: Counted from 1.
        temperature: What the run's rule makes of the batch, to hand to `kd_loss` and the like: a number or one for each
            sample, (N,), or, by a rule whose temperatures of teacher and student differ, a Softening. 1 if the run has
            none.
        base: The T of the run, a number.
        teacher: The teacher's outputs: logits (N, C) and, if the method asks for FEATURES, the rest. None without a
            teacher.
        index: Positions in the training set, (N,).
        others: The second labels of mixed images, (N,), if the run asks for both.
        strong: The same samples under strong augmentation, if the method wants them.
        mixed: Whether the images are mixed.
        weight: The weight of the loss, if several devices share the batch.
        extra: The method's own modules.
        draw_seed: Returns a seed that only this run, epoch and step have.
    """

    images: Tensor
    labels: Tensor
    epoch: int
    temperature: Temperature
    base: float = 1.0
    teacher: Outputs | None = None
    index: Tensor | None = None
    others: Tensor | None = None
    strong: Batch | None = None
    mixed: bool = False
    weight: float = 1.0
    extra: nn.Module | None = None
    draw_seed: Callable[[], int] = lambda: 0

    @property
    def shared_temperature(self) -> float | Tensor:
        """The temperature, of a method that takes only rules by which teacher and student share it."""
        assert not isinstance(self.temperature, Softening)
        return self.temperature

    @property
    def teacher_outputs(self) -> Outputs:
        """The teacher's outputs, of which a method with a teacher can be sure."""
        assert self.teacher is not None
        return self.teacher


@dataclass(frozen=True)
class Setup:
    """What a method's own modules are made for.

    Attributes:
        student: The student's outputs for one image, for their shapes.
        teacher: The same of the teacher. None if there is no teacher.
        teacher_norms: Weight and bias of the norm before each of the teacher's preactivations but the first.
        labels: The labels of the whole training set, (M,).
        num_classes: How many classes there are.
        peer: The name of the network that learns beside the student, if the run has one.
        side: Of the images, in pixels, for a network that is made for one size.
    """

    student: Outputs
    teacher: Outputs | None
    teacher_norms: tuple[tuple[Tensor, Tensor], ...]
    labels: Tensor
    num_classes: int
    peer: str | None = None
    side: int | None = None


class Method(ABC):
    """A distillation method. Inherit from it as a frozen dataclass of the method's numbers.

    Attributes:
        TEMPERED: It has a temperature.
        FEATURES: It looks at more than logits.
        TEACHER: It has a teacher.
        BATCH_STATISTICS: Its teacher's norms use the statistics of the batch, not those of their training.
        PEER: Another network learns beside the student.
        COUPLED: It compares the samples of a batch, so that a batch cannot be split over devices.
        MIXES: It has a loss on mixed images.
        MEASURES: It looks at the untrained student before the first step, see `measure`.
    """

    TEMPERED: ClassVar[bool] = False
    FEATURES: ClassVar[bool] = False
    TEACHER: ClassVar[bool] = True
    BATCH_STATISTICS: ClassVar[bool] = False
    PEER: ClassVar[bool] = False
    COUPLED: ClassVar[bool] = False
    MIXES: ClassVar[bool] = False
    MEASURES: ClassVar[bool] = False

    @property
    def wants_strong(self) -> bool:
        """Whether the method wants a strongly augmented view of the images too."""
        return False

    def takes(self, rule: Rule) -> bool:
        """Whether the loss is defined with a temperature rule. By default: where teacher and student share T."""
        return rule.SHARED

    @abstractmethod
    def loss(self, student: Outputs, batch: Batch) -> Tensor:
        """Return the loss on the images as they are.

        Args:
            student: The student's outputs for `batch.images`.
            batch: Everything else.

        Returns:
            Scalar, the mean over the batch.
        """

    def mixed_loss(self, student: Outputs, batch: Batch) -> Tensor:
        """Return the loss on mixed images, which is added to the first. Only methods that MIX have one."""
        raise UserError(f"{type(self).__name__} has no loss on mixed images: choose kd or dkd")

    def two_view_loss(self, student: Outputs, strong: Outputs, batch: Batch) -> Tensor:
        """Return the loss on the images as they are and on `batch.strong`. Only for methods that want strong views.

        Args:
            student: The student's outputs for `batch.images`.
            strong: The student's outputs for `batch.strong.images`.
            batch: Everything else.

        Returns:
            Scalar, the mean over the batch.
        """
        raise NotImplementedError

    def measure(self, student: Outputs, batch: Batch) -> None:
        """Note in `batch.extra` what the loss needs to know of the untrained student. Only for methods that MEASURE.

        Args:
            student: The untrained student's outputs for the first batch; a gradient can be taken by its logits.
            batch: The first batch.
        """
        raise NotImplementedError

    def fixed(self, epoch: int) -> bool:
        """Whether a CUDA graph may record the loss from this epoch on.

        It may if in every later epoch the loss is the same function of images, labels, temperatures and logits.
        """
        return False

    def remark(self, num_classes: int) -> str | None:
        """Return one sentence that people should know of the method on a data set of so many classes, or None."""
        return None

    def extra(self, setup: Setup) -> nn.Module | None:
        """Return modules that train with the student and are saved with it, or None.

        They never count as the student's parameters. Draw their initial weights from torch's global generator, which is
        seeded for the call.

        Raises:
            UserError: If the method cannot serve this pair of networks.
        """
        return None


def warm_up(epoch: int, warmup: float) -> float:
    """Return min(epoch / warmup, 1), the weight of a loss that rises over the first epochs; 1 without a warm-up."""
    return min(epoch / warmup, 1.0) if warmup > 0 else 1.0


def names() -> tuple[str, ...]:
    """The methods, by the files of this folder; none is imported."""
    return modules_in(__name__)


FLAGS = ("TEMPERED", "FEATURES", "COUPLED", "MIXES", "MEASURES")
"""What a sum has if one of its parts has it."""
FACTOR = "factor"


@dataclass(frozen=True)
class Sum(Method):
    """L = ce CE(labels, student) + sum_i factor_i (L_i without its cross-entropy), of the methods i of `A+B`.

    Its numbers: ce, A.factor and B.factor (1 where they are not given), and the methods' own as A.NAME and B.NAME. On
    mixed images: the methods that have a loss there.

    parts: by name, the factor, and the method, of which the first has all the cross-entropy and the others none.
    """

    parts: tuple[tuple[str, float, Method], ...]

    def takes(self, rule: Rule) -> bool:
        return all(method.takes(rule) for _, _, method in self.parts if method.TEMPERED)

    def loss(self, student: Outputs, batch: Batch) -> Tensor:
        terms = [factor * method.loss(student, _of_part(batch, name)) for name, factor, method in self.parts]
        return sum(terms[1:], terms[0])

    def mixed_loss(self, student: Outputs, batch: Batch) -> Tensor:
        mixing = [part for part in self.parts if part[2].MIXES]
        terms = [factor * method.mixed_loss(student, _of_part(batch, name)) for name, factor, method in mixing]
        return sum(terms[1:], terms[0])

    def measure(self, student: Outputs, batch: Batch) -> None:
        for name, _, method in self.parts:
            if method.MEASURES:
                method.measure(student, _of_part(batch, name))

    def fixed(self, epoch: int) -> bool:
        return all(method.fixed(epoch) for _, _, method in self.parts)

    def remark(self, num_classes: int) -> str | None:
        return next((said for _, _, method in self.parts if (said := method.remark(num_classes))), None)

    def extra(self, setup: Setup) -> nn.Module | None:
        made = {name: method.extra(setup) for name, _, method in self.parts}
        modules = {name: module for name, module in made.items() if module is not None}
        return nn.ModuleDict(modules) if modules else None


def _of_part(batch: Batch, name: str) -> Batch:
    """The batch with the modules of one method of a sum."""
    modules = batch.extra
    own = modules[name] if isinstance(modules, nn.ModuleDict) and name in modules else None
    return dataclasses.replace(batch, extra=own)


@remembered
def find(name: str) -> type[Method]:
    """The method of that name, or the sum `A+B`; refuses an unknown one."""
    if "+" in name:
        return _find_sum(name)
    if name not in names():
        hint = f" ({near})" if (near := did_you_mean(name, names())) else ""
        raise UserError(f"unknown method {name!r}{hint}: use one of {', '.join(names())}")
    method: type[Method] = load_addition(__name__, name, "METHOD", Method)
    if "__dataclass_fields__" not in vars(method):
        raise UserError(f"the method {name} is no dataclass: write @dataclass(frozen=True) above its class")
    return method


def _find_sum(name: str) -> type[Method]:
    parts = {part: find(part) for part in name.split("+")}
    if len(parts) < len(name.split("+")):
        raise UserError(f"the method {name} names one twice: a sum has different methods")
    for part, method in parts.items():
        if not method.TEACHER or method.PEER or method.BATCH_STATISTICS or "ce" not in numbers_of(part):
            raise UserError(
                f"{part} cannot be part of {name}: only a method with a teacher and a cross-entropy `ce` can"
            )
    return type("Sum", (Sum,), {flag: any(getattr(part, flag) for part in parts.values()) for flag in FLAGS})


def numbers_of(name: str) -> dict[str, bool]:
    """The numbers that a method takes, and whether each must be given."""
    if "+" not in name:
        fields = dataclasses.fields(find(name))  # type: ignore[arg-type]
        return {field.name: field.default is dataclasses.MISSING for field in fields}
    own = {part: {FACTOR: False} | numbers_of(part) for part in name.split("+")}
    inner = {f"{part}.{number}": must for part in own for number, must in own[part].items() if number != "ce"}
    return {"ce": True} | inner


def whole_batches(spec: RunSpec) -> bool:
    """Whether a step needs all samples of its batch in one place, so that several devices cannot share it."""
    method, rule = find(spec.method), rule_of(spec)
    coupled = method.COUPLED or (rule is not None and rule.COUPLED)
    return spec.mixing is not None or coupled or method.BATCH_STATISTICS or method.MEASURES


def make(name: str, params: Params) -> Method:
    """The method with its numbers; refuses a missing number that has no default, or one that it does not have."""
    cls, wanted, given = find(name), numbers_of(name), dict(params)
    if not {number for number, must in wanted.items() if must} <= given.keys() <= wanted.keys():
        raise UserError(
            f"method {name} takes the parameters {', '.join(sorted(wanted)) or 'none'}; "
            f"given: {', '.join(sorted(given)) or 'none'}"
        )
    return cls(_parts(name, given)) if issubclass(cls, Sum) else cls(**given)


def _parts(name: str, given: Mapping[str, float]) -> tuple[tuple[str, float, Method], ...]:
    """The methods of a sum. The first has the cross-entropy, divided by the factor that multiplies it."""
    parts: list[tuple[str, float, Method]] = []
    for part in name.split("+"):
        own = {key.removeprefix(f"{part}."): value for key, value in given.items() if key.startswith(f"{part}.")}
        factor = own.pop(FACTOR, 1.0)
        if not parts and factor <= 0:
            raise UserError(f"{part}.{FACTOR} of {name} is {factor:g}: that of the first method must be above 0")
        method = find(part)(**own | {"ce": 0.0 if parts else given["ce"] / factor})
        if method.wants_strong:
            raise UserError(f"{part} cannot be part of {name}: it wants strong views")
        parts.append((part, factor, method))
    return tuple(parts)


def check_method(method: Method, spec: RunSpec, share: Share) -> None:
    """Refuse a run that its method cannot serve."""
    if (spec.teacher is not None) != method.TEACHER:
        raise UserError(f"{spec.method} {'needs a teacher' if method.TEACHER else 'has no teacher'}")
    if (spec.peer is not None) != method.PEER:
        raise UserError(f"{spec.method} {'needs a peer network' if method.PEER else 'has no peer network'}")
    if method.TEMPERED and spec.temperature is None:
        raise UserError(f"{spec.method} needs a temperature")
    if (rule := rule_of(spec)) is not None:
        check_rule(method, rule, spec)
    if spec.mixing is not None and not method.MIXES:
        raise UserError(
            f"{spec.method} has no loss on mixed images: mix with kd or dkd (a method of your own: MIXES = True and a "
            "mixed_loss)"
        )
    if share != WHOLE and whole_batches(spec):
        what = "mixing" if spec.mixing is not None else spec.method
        raise UserError(f"{what} needs whole batches, which devices cannot share: --gpus-per-job 1")


def check_rule(method: Method, rule: Rule, spec: RunSpec) -> None:
    """Refuse a rule of the temperature with which the method's loss, or that on mixed images, is not defined."""
    assert spec.temperature is not None
    name = spec.temperature.rule
    if method.TEMPERED and not method.takes(rule):
        raise UserError(f"{spec.method} is not defined with the temperature rule {name}: use the method kd")
    if spec.mixing is not None and rule.LABELS:
        raise UserError(
            f"the temperature rule {name} looks at the label, of which a mixed image has two: use no mixing"
        )

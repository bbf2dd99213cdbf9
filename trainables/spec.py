"""RunSpec: everything that decides a trained student's weights, and nothing about where it is trained.

Two specs with equal fields are the same run: `run_id` is a hash of the canonical JSON. A field that still has its
default is left out of that JSON, so that a field added later (with the default that meant the old behaviour) leaves
every earlier id as it was.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import types
import typing
from dataclasses import dataclass
from typing import Any

from trainables.errors import UserError

TEMPERATURE_RULES = ("plain", "energy", "low", "high", "gradation", "reversed")
OPERATIONS = ("cutmix", "mixup")
SELECTIONS = ("all", "high", "low", "half")
AUGMENTATIONS = ("none", "crop", "crop_flip", "crop8_flip", "random_resized_crop_flip")
NORMALISATIONS = ("own", "imagenet")
TARGETS = ("larger", "both")
PRECISIONS = ("fp32", "bf16")

Params = tuple[tuple[str, float], ...]


def params(**values: float) -> Params:
    """A method's own numbers, in an order that does not depend on how they were written."""
    return tuple(sorted((name, float(value)) for name, value in values.items()))


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise UserError(message)


def _number(value: float) -> float:
    """A finite float equal to `value`, without the sign of zero: -0.0 and 0.0 are one number."""
    try:
        exact = float(value)
    except OverflowError:
        exact = math.inf
    _check(math.isfinite(exact), f"{exact} cannot be part of a run: only finite numbers can")
    _check(exact == value, f"{value} cannot be part of a run: it has too many digits")
    return exact + 0.0


@functools.cache
def _annotations(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def plain(value: Any, annotation: Any) -> Any:
    """`value` as its declared type (4 and 4.0 are one temperature); refuses what JSON cannot write exactly."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        inner = next(a for a in arguments if a is not type(None))
        return None if value is None else plain(value, inner)
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return tuple(plain(item, arguments[0]) for item in value)
        return tuple(plain(item, inner) for item, inner in zip(value, arguments, strict=True))
    if dataclasses.is_dataclass(annotation):
        cls = typing.cast(type, annotation)
        _check(isinstance(value, cls), f"{value!r} is no {cls.__name__}")
        return value
    if annotation is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return _number(value)
    if annotation is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    _check(
        type(value) is annotation,
        f"{value!r} should be of type {getattr(annotation, '__name__', annotation)}",
    )
    _check(annotation is not int or abs(value) < 2**63, "a whole number of a run has at most 63 bits")
    return value


class _Canonical:
    """Shared by the dataclasses below: typed fields in, canonical JSON out."""

    def __post_init__(self) -> None:
        hints = _annotations(typing.cast(Any, type(self)))
        for field in dataclasses.fields(typing.cast(Any, self)):
            object.__setattr__(self, field.name, plain(getattr(self, field.name), hints[field.name]))
        self.validate()

    def validate(self) -> None:
        """Raise UserError where the fields contradict each other."""

    def as_dict(self) -> dict[str, Any]:
        """The fields that differ from their defaults, nested, in JSON's own types."""
        out: dict[str, Any] = {}
        for field in dataclasses.fields(typing.cast(Any, self)):
            value = getattr(self, field.name)
            if field.default is not dataclasses.MISSING and value == field.default:
                continue
            out[field.name] = value.as_dict() if isinstance(value, _Canonical) else value
        if "params" in out:
            out["params"] = dict(out["params"])
        return out


@dataclass(frozen=True)
class Temperature(_Canonical):
    """Which temperature the logit losses give to each sample.

    plain: `base` for all. energy: base + plus at low energy, base + minus at high energy (Eq. 9). low / high: only
    one of the two (Eq. 15, 16). reversed: plus at high and minus at low energy (the released configurations).
    gradation: one of `values` for each of `len(values)` equal segments from the lowest to the highest energy (Eq. 13).
    `rate` is the paper's r: the share of the training set at each end.
    """

    base: float = 4.0
    rule: str = "plain"
    plus: float = 0.0
    minus: float = 0.0
    rate: float = 0.0
    values: tuple[float, ...] = ()

    def validate(self) -> None:
        _check(
            self.rule in TEMPERATURE_RULES,
            f"unknown temperature rule {self.rule!r}: use one of {', '.join(TEMPERATURE_RULES)}",
        )
        _check(self.base > 0, f"temperature T = {self.base:g} must be above 0")
        _check(
            self.rule == "gradation" or not self.values,
            f"the rule {self.rule!r} has no list of temperatures: choose the rule 'gradation'",
        )
        if self.rule == "plain":
            _check(
                (self.plus, self.minus, self.rate) == (0, 0, 0),
                "a plain temperature has no plus, minus or rate: choose the rule 'energy'",
            )
        elif self.rule == "gradation":
            _check(len(self.values) >= 2, "a temperature gradation needs two values or more")
            _check(
                min(self.values) > 0,
                f"every temperature of a gradation must be above 0, not {min(self.values):g}",
            )
            _check(
                (self.plus, self.minus, self.rate) == (0, 0, 0),
                "a temperature gradation has no plus, minus or rate: give all its values",
            )
        else:
            _check(self.plus >= 0, f"T+ = {self.plus:g} must not be negative")
            _check(self.minus <= 0, f"T- = {self.minus:g} must not be positive")
            _check(
                self.base + self.minus > 0,
                f"T + T- = {self.base + self.minus:g} must be above 0: raise T ({self.base:g}) or T- ({self.minus:g})",
            )
            _check(0 < self.rate <= 1, f"the energy rate r = {self.rate:g} must be in (0, 1]")


@dataclass(frozen=True)
class Mixing(_Canonical):
    """CutMix or MixUp of the samples that `selection` picks: all, the `rate` share of high or low energy, or both.

    target: what a loss that needs a label (DKD's) takes for a mixed image: the label of the `larger` part, or `both`.
    """

    operation: str
    selection: str = "all"
    rate: float = 1.0
    alpha: float = 1.0
    target: str = "larger"

    def validate(self) -> None:
        _check(
            self.operation in OPERATIONS,
            f"unknown mixing {self.operation!r}: use one of {', '.join(OPERATIONS)}",
        )
        _check(
            self.selection in SELECTIONS,
            f"unknown selection {self.selection!r}: use one of {', '.join(SELECTIONS)}",
        )
        _check(0 < self.rate <= 1, f"the augmentation rate {self.rate:g} must be in (0, 1]")
        _check(
            self.selection != "all" or self.rate == 1,
            "mixing all samples has rate 1: choose high, low or half",
        )
        _check(self.alpha > 0, f"the mixing alpha {self.alpha:g} must be above 0")
        _check(
            self.target in TARGETS,
            f"unknown target {self.target!r} of mixed images: use one of {', '.join(TARGETS)}",
        )


PLAIN = Temperature()


@dataclass(frozen=True)
class RunSpec(_Canonical):
    """One student trained once. A teacher, or a student alone, is a run whose method is `vanilla`.

    temperature: None for a method whose loss has no use for one.
    teacher_source: `run:<run_id>` of a teacher trained here, or `sha256:<digest>` of a weights file that was given.
    peer: a network that is trained from scratch beside the student (DML). imbalance: smallest class of the training
    set over its largest; below 1 the classes' sizes fall exponentially. holdout: the share of each class's training
    images that are not trained on and stand in for the test images, which such a run never sees.
    data: fingerprint of a user's own images; empty for the data sets whose content is fixed by their name.
    timing: the run exists for its seconds per epoch (Table 7): nothing is shared while it trains.
    peer_lr: the peer's learning rate, which falls with the student's; None: it is the student's. normalisation: by the
    mean and deviation of the data set's `own` training images, or by those of `imagenet`.
    """

    dataset: str
    student: str
    seed: int
    epochs: int
    milestones: tuple[int, ...]
    lr: float
    method: str = "vanilla"
    params: Params = ()
    temperature: Temperature | None = PLAIN
    mixing: Mixing | None = None
    teacher: str | None = None
    teacher_source: str | None = None
    augmentation: str = "crop_flip"
    batch_size: int = 64
    momentum: float = 0.9
    weight_decay: float = 5e-4
    lr_decay: float = 0.1
    precision: str = "fp32"
    train_fraction: float = 1.0
    data: str = ""
    timing: bool = False
    peer: str | None = None
    imbalance: float = 1.0
    holdout: float = 0.0
    peer_lr: float | None = None
    normalisation: str = "own"

    def validate(self) -> None:
        _check(self.seed >= 0, f"seed {self.seed} must not be negative")
        _check(self.epochs >= 1, f"epochs {self.epochs} must be at least 1")
        _check(self.batch_size >= 2, f"batch size {self.batch_size} must be at least 2")
        _check(self.lr > 0, f"learning rate {self.lr:g} must be above 0")
        _check(self.lr_decay > 0, f"learning-rate decay {self.lr_decay:g} must be above 0")
        _check(0 <= self.momentum < 1, f"momentum {self.momentum:g} must be in [0, 1)")
        _check(self.weight_decay >= 0, f"weight decay {self.weight_decay:g} must not be negative")
        _check(0 < self.train_fraction <= 1, f"train fraction {self.train_fraction:g} must be in (0, 1]")
        _check(
            self.precision in PRECISIONS,
            f"unknown precision {self.precision!r}: use one of {', '.join(PRECISIONS)}",
        )
        _check(
            self.augmentation in AUGMENTATIONS,
            f"unknown augmentation {self.augmentation!r}: use one of {', '.join(AUGMENTATIONS)}",
        )
        _check(
            self.normalisation in NORMALISATIONS,
            f"unknown normalisation {self.normalisation!r}: use one of {', '.join(NORMALISATIONS)}",
        )
        _check(self.peer_lr is None or self.peer is not None, "this run has no peer network whose learning rate to set")
        _check(self.peer_lr is None or self.peer_lr > 0, f"the peer's learning rate {self.peer_lr} must be above 0")
        _check(list(self.milestones) == sorted(set(self.milestones)), f"milestones {self.milestones} must rise")
        _check((self.teacher is None) == (self.teacher_source is None), "a teacher and its source go together")
        _check(
            self.method == "vanilla" or self.teacher is not None or self.peer is not None,
            f"{self.method} needs a teacher",
        )
        _check(
            self.method != "vanilla" or (self.teacher, self.peer, self.temperature) == (None, None, PLAIN),
            "a vanilla run has neither teacher nor temperature: choose a method",
        )
        _check(
            self.teacher is not None or self.temperature in (None, PLAIN),
            "a temperature softens a teacher's logits: this run has no teacher",
        )
        _check(0 < self.imbalance <= 1, f"the long-tail factor {self.imbalance:g} must be in (0, 1]")
        _check(0 <= self.holdout < 1, f"the held-out share {self.holdout:g} must be in [0, 1)")
        names = [name for name, _ in self.params]
        _check(names == sorted(set(names)), f"method parameters {names} must be in order, each once")
        _check(
            self.mixing is None or self.teacher is not None,
            "mixing adds a distillation term: it needs a teacher",
        )

    def canonical(self) -> str:
        """The JSON text that `run_id` hashes: sorted keys, no blanks, defaults left out."""
        return json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"), allow_nan=False)

    @functools.cached_property
    def run_id(self) -> str:
        return hashlib.sha256(self.canonical().encode()).hexdigest()[:16]

    @property
    def teacher_run(self) -> str | None:
        """The run that must finish before this one, if its teacher is trained here."""
        source = self.teacher_source or ""
        return source.removeprefix("run:") if source.startswith("run:") else None

    @property
    def treatment(self) -> str:
        """Method, temperature and mixing in one word: `kd`, `energy_dkd`, `kd-he_cutmix50`."""
        if self.method == "vanilla":
            return "vanilla"
        by = self.temperature.rule if self.temperature is not None else "plain"
        rule = {"plain": "", "energy": "energy_"}.get(by, f"{by}_")
        word = rule + self.method
        if self.mixing is not None:
            prefix = {"all": "", "high": "he_", "low": "le_", "half": "half_"}[self.mixing.selection]
            word += f"-{prefix}{self.mixing.operation}{self.mixing.rate * 100:g}"
        return word

    @property
    def name(self) -> str:
        """A name that people can read and that no two runs share."""
        other = self.teacher or self.peer
        pair = f"{other}-{self.student}" if other else self.student
        timing = "-timing" if self.timing else ""
        return f"{self.dataset}-{pair}-{self.treatment}{timing}-e{self.epochs}-s{self.seed}-{self.run_id[:6]}"


def _nested(cls: type, fields: dict[str, Any]) -> Any:
    known = {field.name for field in dataclasses.fields(cls)}
    unknown = sorted(set(fields) - known)
    _check(
        not unknown,
        f"unknown field {', '.join(unknown)} of a {cls.__name__}: it has {', '.join(sorted(known))}",
    )
    try:
        return cls(**fields)
    except (TypeError, ValueError) as error:
        raise UserError(f"cannot read a {cls.__name__}: {error}") from error


def from_dict(fields: dict[str, Any]) -> RunSpec:
    """The spec that `as_dict` wrote."""
    _check(isinstance(fields, dict), "a run is a JSON object of its fields")
    fields = dict(fields)
    for key, cls in (("temperature", Temperature), ("mixing", Mixing)):
        if isinstance(fields.get(key), dict):
            fields[key] = _nested(cls, fields[key])
    if isinstance(fields.get("params"), dict):
        fields["params"] = tuple(sorted(fields["params"].items()))
    spec: RunSpec = _nested(RunSpec, fields)
    return spec


def from_json(text: str) -> RunSpec:
    """The spec that `canonical` wrote."""
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"a run's JSON cannot be read: {error}") from error
    return from_dict(fields)


def flatten(spec: RunSpec) -> dict[str, Any]:
    """Every field, defaults included, under dotted names: one column each in an export."""
    out: dict[str, Any] = {}
    for field in dataclasses.fields(spec):
        value = getattr(spec, field.name)
        if field.name in ("temperature", "mixing"):
            for inner in dataclasses.fields(Temperature if field.name == "temperature" else Mixing):
                out[f"{field.name}.{inner.name}"] = getattr(value, inner.name, None)
        elif field.name == "params":
            out.update({f"params.{name}": number for name, number in value})
        else:
            out[field.name] = value
    return {key: list(value) if isinstance(value, tuple) else value for key, value in out.items()}

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
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainables.canonical import Canonical
from trainables.errors import NewerError, UserError

TEMPERATURE_RULES = ("plain", "energy", "low", "high", "gradation", "reversed")
OPERATIONS = ("cutmix", "mixup")
SELECTIONS = ("all", "high", "low", "half")
AUGMENTATIONS = ("none", "crop", "crop_flip", "crop8_flip", "random_resized_crop_flip")
NORMALISATIONS = ("own", "imagenet")
TARGETS = ("larger", "both")
MEMBERSHIPS = ("view", "image")
PRECISIONS = ("fp32", "bf16")
FIRST, SECOND = 1, 2
"""Revisions: what the same fields have meant. SECOND: thresholds on the images that training sees, one temperature for
both views of a sample, OFD's teacher with batch statistics, multi-level KD's strong view with a crop of its own."""
REVISED = ("multi", "ofd")
"""Methods that train otherwise since the second revision, whatever else a run has."""

Params = tuple[tuple[str, float], ...]


def params(**values: float) -> Params:
    """Return a method's own numbers for a run, sorted by name: `params(weight=2, ce=1)`."""
    return tuple(sorted((name, float(value)) for name, value in values.items()))


@dataclass(frozen=True)
class Temperature(Canonical):
    """Which temperature the losses on logits give to each sample.

    - `plain`: T for all.
    - `energy`: T + T+ at low energy, T + T- at high energy  (Eq. 9).
    - `low`, `high`: only one of the two  (Eq. 15, 16).
    - `reversed`: T+ at high energy and T- at low energy, as in the released configurations.
    - `gradation`: one of `values` for each of as many equal segments, the lowest energies first  (Eq. 13).

    Attributes:
        base: T.
        rule: One of these rules.
        plus: T+, 0 or more.
        minus: T-, 0 or less.
        rate: The paper's r: the share of the training set at each end.
        values: The temperatures of a gradation.
    """

    base: float = 4.0
    rule: str = "plain"
    plus: float = 0.0
    minus: float = 0.0
    rate: float = 0.0
    values: tuple[float, ...] = ()

    def validate(self) -> None:
        if self.rule not in TEMPERATURE_RULES:
            raise UserError(f"unknown temperature rule {self.rule!r}: use one of {', '.join(TEMPERATURE_RULES)}")
        if self.base <= 0:
            raise UserError(f"temperature T = {self.base:g} must be above 0")
        if self.rule != "gradation" and self.values:
            raise UserError(f"the rule {self.rule!r} has no list of temperatures: choose the rule 'gradation'")
        if self.rule == "plain":
            if (self.plus, self.minus, self.rate) != (0, 0, 0):
                raise UserError("a plain temperature has no plus, minus or rate: choose the rule 'energy'")
        elif self.rule == "gradation":
            if len(self.values) < 2:
                raise UserError("a temperature gradation needs two values or more")
            if min(self.values) <= 0:
                raise UserError(f"every temperature of a gradation must be above 0, not {min(self.values):g}")
            if (self.plus, self.minus, self.rate) != (0, 0, 0):
                raise UserError("a temperature gradation has no plus, minus or rate: give all its values")
        else:
            if self.plus < 0:
                raise UserError(f"T+ = {self.plus:g} must not be negative")
            if self.minus > 0:
                raise UserError(f"T- = {self.minus:g} must not be positive")
            if self.base + self.minus <= 0:
                raise UserError(
                    f"T + T- = {self.base + self.minus:g} must be above 0: "
                    f"raise T ({self.base:g}) or T- ({self.minus:g})"
                )
            if not 0 < self.rate <= 1:
                raise UserError(f"the energy rate r = {self.rate:g} must be in (0, 1]")

    @functools.cached_property
    def end(self) -> float | None:
        """The share of the images at each end that the rule sets apart; None where it does not ask for energies."""
        if self.rule == "gradation":
            return 1 / len(self.values)
        return None if self.rule == "plain" else self.rate

    @functools.cached_property
    def shifts(self) -> tuple[float, float]:
        """What is added to `base` at low and at high energy; of a rule other than a gradation."""
        low = 0.0 if self.rule == "high" else self.plus
        high = 0.0 if self.rule == "low" else self.minus
        return (high, low) if self.rule == "reversed" else (low, high)


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


PLAIN = Temperature()


@dataclass(frozen=True)
class RunSpec(Canonical):
    """One network trained once: all that decides its weights.

    A teacher, or a student alone, is a run whose method is `vanilla`.
    """

    dataset: str
    student: str
    seed: int
    epochs: int
    milestones: tuple[int, ...]
    """The epochs after which the learning rate falls, counted from 1."""
    lr: float
    method: str = "vanilla"
    params: Params = ()
    """The method's own numbers."""
    temperature: Temperature | None = PLAIN
    """None for a method whose loss has no use for one."""
    mixing: Mixing | None = None
    teacher: str | None = None
    teacher_source: str | None = None
    """`run:<run_id>` of a teacher trained here, or `sha256:<digest>` of a weights file that was given."""
    augmentation: str = "crop_flip"
    batch_size: int = 64
    momentum: float = 0.9
    weight_decay: float = 5e-4
    lr_decay: float = 0.1
    precision: str = "fp32"
    train_fraction: float = 1.0
    data: str = ""
    """Fingerprint of a user's own images; empty for the data sets whose content is fixed by their name."""
    timing: bool = False
    """The run exists for its seconds per epoch (Table 7): nothing is shared while it trains."""
    peer: str | None = None
    """A network that is trained from scratch beside the student (DML)."""
    imbalance: float = 1.0
    """Smallest class of the training set over its largest; below 1 the classes' sizes fall exponentially."""
    holdout: float = 0.0
    """The share of each class's training images that is not trained on and stands in for the test images."""
    peer_lr: float | None = None
    """The peer's learning rate, which falls with the student's; None: it is the student's."""
    normalisation: str = "own"
    """By the mean and deviation of the data set's `own` training images, or by those of `imagenet`."""
    code: str = ""
    """A hash of the user's own modules that train it; empty where there are none (`own_code`)."""
    membership: str = "view"
    """What decides whether a sample has low or high energy. `view`: its energy as augmented in this batch, against
    thresholds on augmented images (the released code, pseudo code A.2). `image`: the rank of its unaugmented image
    among all of them, once for the whole run (Eq. 9-11). Always `view` in a run that does not use energies."""
    revision: int = dataclasses.field(default=FIRST, init=False)
    """Which meaning of the fields the run was trained by. It is computed from the fields; only a run that is read from
    an old record has an earlier one."""

    def validate(self) -> None:
        if self.membership not in MEMBERSHIPS:
            raise UserError(f"unknown membership {self.membership!r}: use one of {', '.join(MEMBERSHIPS)}")
        if self.end is None:
            object.__setattr__(self, "membership", "view")
        if self.peer_lr == self.lr:
            object.__setattr__(self, "peer_lr", None)
        object.__setattr__(self, "revision", self._newest)
        if self.seed < 0:
            raise UserError(f"seed {self.seed} must not be negative")
        if self.epochs < 1:
            raise UserError(f"epochs {self.epochs} must be at least 1")
        if self.batch_size < 2:
            raise UserError(f"batch size {self.batch_size} must be at least 2")
        if self.lr <= 0:
            raise UserError(f"learning rate {self.lr:g} must be above 0")
        if self.lr_decay <= 0:
            raise UserError(f"learning-rate decay {self.lr_decay:g} must be above 0")
        if not 0 <= self.momentum < 1:
            raise UserError(f"momentum {self.momentum:g} must be in [0, 1)")
        if self.weight_decay < 0:
            raise UserError(f"weight decay {self.weight_decay:g} must not be negative")
        if not 0 < self.train_fraction <= 1:
            raise UserError(f"train fraction {self.train_fraction:g} must be in (0, 1]")
        if self.precision not in PRECISIONS:
            raise UserError(f"unknown precision {self.precision!r}: use one of {', '.join(PRECISIONS)}")
        if self.augmentation not in AUGMENTATIONS:
            raise UserError(f"unknown augmentation {self.augmentation!r}: use one of {', '.join(AUGMENTATIONS)}")
        if self.normalisation not in NORMALISATIONS:
            raise UserError(f"unknown normalisation {self.normalisation!r}: use one of {', '.join(NORMALISATIONS)}")
        if self.peer_lr is not None and self.peer is None:
            raise UserError("this run has no peer network whose learning rate to set")
        if self.peer_lr is not None and self.peer_lr <= 0:
            raise UserError(f"the peer's learning rate {self.peer_lr} must be above 0")
        if list(self.milestones) != sorted(set(self.milestones)):
            raise UserError(f"milestones {self.milestones} must rise")
        if (self.teacher is None) != (self.teacher_source is None):
            raise UserError("a teacher and its source go together")
        if self.method != "vanilla" and self.teacher is None and self.peer is None:
            raise UserError(f"{self.method} needs a teacher")
        if self.method == "vanilla" and (self.teacher, self.peer, self.temperature) != (None, None, PLAIN):
            raise UserError("a vanilla run has neither teacher nor temperature: choose a method")
        if self.teacher is None and self.temperature not in (None, PLAIN):
            raise UserError("a temperature softens a teacher's logits: this run has no teacher")
        if not 0 < self.imbalance <= 1:
            raise UserError(f"the long-tail factor {self.imbalance:g} must be in (0, 1]")
        if not 0 <= self.holdout < 1:
            raise UserError(f"the held-out share {self.holdout:g} must be in [0, 1)")
        if (names := [name for name, _ in self.params]) != sorted(set(names)):
            raise UserError(f"method parameters {names} must be in order, each once")
        if self.mixing is not None and self.teacher is None:
            raise UserError("mixing adds a distillation term: it needs a teacher")

    def canonical(self) -> str:
        """The JSON text that `run_id` hashes: sorted keys, no blanks, defaults left out."""
        return json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"), allow_nan=False)

    @functools.cached_property
    def run_id(self) -> str:
        return hashlib.sha256(self.canonical().encode()).hexdigest()[:16]

    @property
    def end(self) -> float | None:
        """The share of the images at each end of the energies that the run sets apart: its temperature's, else its
        mixing's; None where neither asks for energies."""
        for part in (self.temperature, self.mixing):
            if part is not None and part.end is not None:
                return part.end
        return None

    @property
    def _newest(self) -> int:
        return SECOND if self.end is not None or self.method in REVISED else FIRST

    @property
    def outdated(self) -> bool:
        """Whether the fields have come to mean another training since this run."""
        return self.revision < self._newest

    def as_of(self, revision: int) -> RunSpec:
        """The run with the same fields that an earlier revision trained."""
        if revision > SECOND:
            raise NewerError(f"revision {revision} of a run was written by a newer version: upgrade")
        if not FIRST <= revision <= self._newest:
            raise UserError(f"{self.name} has no revision {revision}: leave `revision` out")
        earlier = dataclasses.replace(self)
        object.__setattr__(earlier, "revision", revision)
        return earlier

    @property
    def earlier(self) -> list[RunSpec]:
        """What the same fields meant before this run's revision, the first revision first."""
        return [self.as_of(revision) for revision in range(FIRST, self.revision)]

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
        word += "-by_image" if self.membership == "image" else ""
        return word + f"-revision{self.revision}" * self.outdated

    @property
    def name(self) -> str:
        """A name that people can read and that no two runs share. `run_names.name_of` shows in it what was set."""
        return self.named("")

    def named(self, words: str) -> str:
        """The name with some words behind the treatment."""
        pair = "-".join(filter(None, (self.teacher or self.peer, self.student)))
        timing = "-timing" * self.timing
        return f"{self.dataset}-{pair}-{self.treatment}{words}{timing}-e{self.epochs}-s{self.seed}-{self.run_id[:6]}"


def _nested(cls: type, fields: dict[str, Any]) -> Any:
    known = {field.name for field in dataclasses.fields(cls)}
    if unknown := sorted(set(fields) - known):
        raise UserError(f"unknown field {', '.join(unknown)} of a {cls.__name__}: it has {', '.join(sorted(known))}")
    try:
        return cls(**fields)
    except (TypeError, ValueError) as error:
        raise UserError(f"cannot read a {cls.__name__}: {error}") from error


def from_dict(fields: dict[str, Any]) -> RunSpec:
    """The spec that `as_dict` wrote. Without a revision it is of the newest: see `from_record`."""
    if not isinstance(fields, dict):
        raise UserError("a run is a JSON object of its fields")
    fields = dict(fields)
    revision = fields.pop("revision", None)
    if revision is not None and type(revision) is not int:
        raise UserError(f"the revision {revision!r} is not a whole number")
    for key, cls in (("temperature", Temperature), ("mixing", Mixing)):
        if isinstance(fields.get(key), dict):
            fields[key] = _nested(cls, fields[key])
    if isinstance(fields.get("params"), dict):
        fields["params"] = tuple(sorted(fields["params"].items()))
    spec: RunSpec = _nested(RunSpec, fields)
    return spec if revision is None else spec.as_of(revision)


def from_record(fields: dict[str, Any]) -> RunSpec:
    """The spec of a run that was trained some time ago. What names no revision is of the first."""
    if not isinstance(fields, dict):
        raise UserError("a run is a JSON object of its fields")
    return from_dict({"revision": FIRST} | fields)


def from_json(text: str) -> RunSpec:
    """The spec that `canonical` wrote."""
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"a run's JSON cannot be read: {error}") from error
    return from_dict(fields)


def with_fields(spec: RunSpec, values: Mapping[str, Any]) -> RunSpec:
    """The run with some of its fields, under the names that `flatten` gives them, set to JSON values."""
    fields = spec.as_dict()
    fields.pop("revision", None)
    for path, value in values.items():
        outer, _, inner = path.partition(".")
        fields[outer] = fields.get(outer, {}) | {inner: value} if inner else value
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

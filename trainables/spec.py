"""RunSpec: everything that decides a trained student's weights, and nothing about where it is trained.

Two specs with equal fields are the same run: `run_id` is a hash of the canonical JSON. A field that still has its
default is left out of that JSON, so that a field added later (with the default that meant the old behaviour) leaves
every earlier id as it was.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainables.canonical import Canonical, Params
from trainables.errors import NewerError, UserError
from trainables.mixing import Mixing
from trainables.network_names import MODULES, file_name
from trainables.temperature import Temperature, with_numbers

AUGMENTATIONS = ("none", "crop", "crop_flip", "crop8_flip", "random_resized_crop_flip")
NORMALISATIONS = ("own", "imagenet")
MEMBERSHIPS = ("view", "image")
PRECISIONS = ("fp32", "bf16")
FIRST, SECOND = 1, 2
"""Revisions: what the same fields have meant. SECOND: thresholds on the images that training sees, one temperature for
both views of a sample, OFD's teacher with batch statistics, multi-level KD's strong view with a crop of its own."""
REVISED = ("multi", "ofd")
"""Methods that train otherwise since the second revision, whatever else a run has."""


def params(**values: float) -> Params:
    """Return a method's or a rule's own numbers, sorted by name: `params(weight=2, ce=1)`."""
    return tuple(sorted((name, float(value)) for name, value in values.items()))


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
        if self.method == "vanilla":
            # Which modules the features come from does not matter to the weights.
            object.__setattr__(self, "student", self.student.partition(MODULES)[0])
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
        if self.milestones and self.milestones[0] < 1:
            raise UserError(f"milestones {self.milestones}: the learning rate falls after an epoch, 1 or more")
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
        return self._copy("revision", revision)

    def with_seed(self, seed: int) -> RunSpec:
        """The same run of another seed, made without checking the other fields again."""
        return self._copy("seed", seed)

    def _copy(self, name: str, value: int) -> RunSpec:
        made = copy.copy(self)
        for known in ("run_id", "earlier"):
            made.__dict__.pop(known, None)
        object.__setattr__(made, name, value)
        return made

    @functools.cached_property
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
        pair = "-".join(map(file_name, filter(None, (self.teacher or self.peer, self.student))))
        timing = "-timing" * self.timing
        return f"{self.dataset}-{pair}-{self.treatment}{words}{timing}-e{self.epochs}-s{self.seed}-{self.run_id[:6]}"


def _make_nested(cls: type, fields: dict[str, Any]) -> Any:
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
    if isinstance(fields.get("temperature"), dict):
        fields["temperature"] = _make_nested(Temperature, with_numbers(fields["temperature"]))
    if isinstance(fields.get("mixing"), dict):
        fields["mixing"] = _make_nested(Mixing, fields["mixing"])
    if isinstance(fields.get("params"), dict):
        fields["params"] = tuple(sorted(fields["params"].items()))
    spec: RunSpec = _make_nested(RunSpec, fields)
    return spec if revision in (None, spec.revision) else spec.as_of(revision)


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
            numbers = out.pop(f"{field.name}.numbers", None) or ()
            out.update({f"{field.name}.{name}": number for name, number in numbers})
        elif field.name == "params":
            out.update({f"params.{name}": number for name, number in value})
        else:
            out[field.name] = value
    return {key: list(value) if isinstance(value, tuple) else value for key, value in out.items()}

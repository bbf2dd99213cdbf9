"""Settings: what was asked of a table, apart from the table itself. Together they decide every run's identity."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from trainables import datasets
from trainables.canonical import coerce
from trainables.commands import count
from trainables.errors import UserError
from trainables.own_code import with_own_code
from trainables.recipes import TEACHER_SEED, VANILLA, Pair, Recipe, Schedule, Treatment, kd
from trainables.spec import PLAIN, Mixing, Params, RunSpec, Temperature, with_fields
from trainables.temperature import KNOWN

_NESTED = {
    name: tuple(field.name for field in dataclasses.fields(cls))
    for name, cls in (("temperature", Temperature), ("mixing", Mixing))
}
_DECIDED = (
    "dataset",
    "data",
    "student",
    "seed",
    "method",
    "teacher",
    "teacher_source",
    "timing",
    "imbalance",
    "holdout",
    "code",
    "revision",
)
SHORT = {
    "T": "temperature.base",
    "T+": "temperature.plus",
    "T-": "temperature.minus",
    "r": "temperature.rate",
    "rule": "temperature.rule",
}
"""The paper's names of fields."""
LISTS = ("milestones", "temperature.values")
_OWN = tuple(field.name for field in dataclasses.fields(RunSpec) if field.name not in (*_NESTED, *_DECIDED, "params"))


@dataclass(frozen=True)
class Settings:
    """The defaults are the paper's: CIFAR-100, every pair and row of the table, three seeds, full schedules.

    dataset: empty for each table's own; then `data` and `teachers` name theirs (`tinyimagenet=FINGERPRINT`,
    `tinyimagenet/vgg13`), and `on` resolves them. pairs / rows: empty for all of the table's own. epochs: every run
    trains exactly so long, milestones and warm-up scaled with it. teachers: (network, sha256 of the weights file) for
    teachers that were given rather than trained. overrides: (dotted field of a run, JSON value), applied to every
    student that has the field. imbalance: of the training set's classes; None for the recipe's own. assistant: of every
    pair (TAKD) instead of its own. tail_teachers: the teachers of a long-tailed data set train on the long tail too.
    recipe_of: the data set by whose schedule and hyperparameters all train; empty for their own.
    """

    dataset: str = "cifar100"
    data: str = ""
    pairs: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    seeds: int = 3
    epochs: int | None = None
    train_fraction: float = 1.0
    batch_size: int | None = None
    precision: str = "fp32"
    teachers: tuple[tuple[str, str], ...] = ()
    overrides: tuple[tuple[str, str], ...] = ()
    imbalance: float | None = None
    assistant: str = ""
    tail_teachers: bool = False
    recipe_of: str = ""

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise UserError(f"seeds {self.seeds} must be at least 1")
        for path, _ in self.overrides:
            check_override(path)

    def as_json(self) -> str:
        fields = dataclasses.asdict(self)
        if not self.recipe_of:
            # So that what is named by a hash of the settings keeps its name.
            del fields["recipe_of"]
        return json.dumps(fields, sort_keys=True, separators=(",", ":"))

    @property
    def recipe(self) -> Recipe:
        """Crops, normalisation, tail and pairs are the data set's, whatever recipe is asked for."""
        own = datasets.find(self.dataset).recipe
        if not self.recipe_of:
            return own
        kept = ("name", "pairs", "augmentation", "normalisation", "imbalance", "whole")
        return replace(datasets.find(self.recipe_of).recipe, **{name: getattr(own, name) for name in kept})

    @property
    def tail(self) -> float:
        """The imbalance that the runs are trained with."""
        return self.recipe.imbalance if self.imbalance is None else self.imbalance

    @property
    def normalisation(self) -> str:
        """That of the students and of their teachers, who see the same images."""
        asked = dict(self.overrides).get("normalisation")
        return self.recipe.normalisation if asked is None else str(_parsed(asked))

    def options(self) -> list[str]:
        """The command-line options that ask for these settings. What the settings hold of the images and of given
        teachers follows from their folders, which `--data-dir` and `--teachers` name."""
        options: dict[str, Any] = {
            "--dataset": self.dataset,
            "--pairs": self.pairs,
            "--rows": self.rows,
            "--seeds": self.seeds,
            "--epochs": self.epochs,
            "--train-fraction": self.train_fraction,
            "--batch-size": self.batch_size,
            "--precision": self.precision,
            "--imbalance": self.imbalance,
            "--assistant": self.assistant,
            "--recipe": self.recipe_of,
            "--set": tuple(f"{path}={value}" for path, value in self.overrides),
        }
        usual = {"--seeds": 3, "--train-fraction": 1.0, "--precision": "fp32"}
        words = ["--tail-teachers"] if self.tail_teachers else []
        for name, value in options.items():
            if value not in (None, "", (), usual.get(name)):
                words += [name, *(map(str, value) if isinstance(value, tuple) else [str(value)])]
        return words

    def on(self, dataset: str) -> Settings:
        """These settings for a table of that data set, if they leave it to the table."""
        if self.dataset:
            return self
        data = dict(word.split("=", 1) for word in self.data.split())
        teachers = [(name.rpartition("/"), digest) for name, digest in self.teachers]
        own = tuple((network, digest) for (place, _, network), digest in teachers if place in ("", dataset))
        return replace(self, dataset=dataset, data=data.get(dataset, ""), teachers=own)


def from_json(text: str) -> Settings:
    """The settings that `as_json` wrote."""
    try:
        fields, hints = json.loads(text), typing.get_type_hints(Settings)
        for name in ("pairs", "rows"):
            fields[name] = _words(fields[name])
        for name in ("teachers", "overrides"):
            fields[name] = tuple((key, value) for key, value in fields[name])
        for field in dataclasses.fields(Settings):
            if field.name in fields:
                fields[field.name] = coerce(fields[field.name], hints[field.name])
        return Settings(**fields)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UserError(f"settings cannot be read: {error!r}") from error


def _words(names: Any) -> tuple[Any, ...]:
    if not isinstance(names, list):
        raise TypeError(f"{names!r} is no list")
    return tuple(names)


def _base(settings: Settings, student: str, schedule: Schedule, seed: int, lr: float | None = None) -> RunSpec:
    source = settings.recipe
    if settings.epochs is not None:
        schedule = schedule.scaled(settings.epochs)
    return RunSpec(
        dataset=settings.dataset,
        data=settings.data,
        student=student,
        seed=seed,
        epochs=schedule.epochs,
        milestones=schedule.milestones,
        lr=source.lr_of(student) if lr is None else lr,
        momentum=source.momentum,
        weight_decay=source.weight_decay,
        augmentation=source.augmentation,
        normalisation=settings.normalisation,
        batch_size=source.batch_size if settings.batch_size is None else settings.batch_size,
        precision=settings.precision,
        train_fraction=settings.train_fraction,
        imbalance=settings.tail,
    )


def teacher_spec(settings: Settings, network: str) -> RunSpec:
    """The run that trains a teacher: the network alone, always by the plain schedule, one seed for all tables."""
    if settings.recipe.whole and not settings.tail_teachers:
        settings = replace(settings, dataset=settings.recipe.whole, imbalance=None)
    return with_own_code(_base(settings, network, settings.recipe.plain, TEACHER_SEED))


def check_override(path: str) -> None:
    """Refuse what no run has, and what the table or another setting decides."""
    outer, dot, inner = path.partition(".")
    if (outer in _NESTED and inner in _NESTED[outer]) or (outer == "temperature" and inner.isidentifier()):
        return
    if not dot and outer in _DECIDED:
        raise UserError(f"{outer} cannot be overridden: the table and the other options decide it")
    if (outer != "params" or not inner) and (dot or outer not in _OWN):
        nested = [f"{name}.{field}" for name, fields in _NESTED.items() for field in fields]
        raise UserError(f"unknown field {path!r} of a run: use one of {', '.join([*_OWN, *nested])}, params.NAME")


def _parsed(value: str) -> Any:
    """A JSON value; what is not JSON is a word."""
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _override(spec: RunSpec, overrides: dict[str, Any], recipe: Recipe) -> RunSpec:
    """`spec` with all the fields set that it has: a method's own parameters, a temperature's plus, ... only there."""
    if not overrides:
        return spec
    own = {path: value for path, value in overrides.items() if _has(spec, path, overrides)}
    if spec.peer is not None:
        peer = str(overrides.get("peer", spec.peer))
        own = {"peer_lr": recipe.lr_of(peer)} | own
    rule = own.get("temperature.rule")
    if rule is not None and spec.temperature is not None and {str(rule), spec.temperature.rule} - {*KNOWN}:
        numbers = any(_number(path) for path in own)
        spec = replace(spec, temperature=PLAIN)
        own = {"temperature.base": 0 if numbers else PLAIN.base} | own
    return with_fields(spec, own)


def _number(path: str) -> bool:
    """Whether it is a rule's own number."""
    outer, _, inner = path.partition(".")
    return outer == "temperature" and inner not in _NESTED["temperature"]


def _has(spec: RunSpec, path: str, overrides: dict[str, Any]) -> bool:
    outer, _, inner = path.partition(".")
    if not inner:
        return spec.peer is not None or outer not in ("peer", "peer_lr")
    if outer == "params":
        return inner in dict(spec.params)
    if outer == "mixing":
        if spec.mixing is None or (inner == "target" and spec.method != "dkd"):
            return False
        return inner != "rate" or overrides.get("mixing.selection", spec.mixing.selection) != "all"
    if spec.teacher is None or spec.temperature is None:
        return False
    rule = str(overrides.get("temperature.rule", spec.temperature.rule))
    if rule not in KNOWN:
        has = dict(spec.temperature.numbers) | ({"base": True} if spec.temperature.base else {})
        return rule != spec.temperature.rule or inner in ("rule", *has)
    used = {"plain": ("base",), "gradation": ("values",)}.get(rule, ("base", "plus", "minus", "rate"))
    return inner == "rule" or inner in used


def student_spec(settings: Settings, pair: Pair, treatment: Treatment, seed: int, *, timing: bool = False) -> RunSpec:
    """The run that trains `pair.student` by `treatment`; `VANILLA` is the student without a teacher."""
    schedule = settings.recipe.schedule_of(treatment)
    spec = _base(settings, pair.student, schedule, seed, treatment.lr)
    shorter = 1.0 if settings.epochs is None else settings.epochs / schedule.epochs
    temperature = PLAIN if treatment.method == "vanilla" else treatment.temperature
    if temperature is not None:
        temperature = replace(temperature, numbers=_with_warmup(temperature.numbers, shorter))
    taught: dict[str, Any] = {}
    if treatment.peer:
        own = settings.recipe.lr_of(pair.teacher)
        taught = {"peer": pair.teacher, "peer_lr": None if own == spec.lr else own}
    elif treatment.method != "vanilla":
        teacher, origin = _teacher(settings, pair, treatment)
        taught = {"teacher": teacher, "teacher_source": origin, "timing": timing}
    spec = replace(
        spec,
        method=treatment.method,
        params=_with_warmup(treatment.params, shorter),
        temperature=temperature,
        mixing=treatment.mixing,
        membership=treatment.membership,
        **taught,
    )
    overrides = {path: _parsed(value) for path, value in settings.overrides}
    return with_own_code(_override(spec, overrides, settings.recipe))


def _with_warmup(numbers: Params, shorter: float) -> Params:
    """The numbers with the epochs of a warm-up multiplied by `shorter`."""
    return tuple((name, value * shorter if name == "warmup" else value) for name, value in numbers)


def _teacher(settings: Settings, pair: Pair, treatment: Treatment) -> tuple[str, str]:
    """The network that teaches a student, and where its weights come from."""
    if treatment.assistant is not None:
        run = assistant_spec(settings, pair, treatment.assistant)
        return run.student, f"run:{run.run_id}"
    given = dict(settings.teachers).get(pair.teacher)
    return pair.teacher, f"sha256:{given}" if given else f"run:{teacher_spec(settings, pair.teacher).run_id}"


def assistant_spec(settings: Settings, pair: Pair, assistant: str) -> RunSpec:
    """The run that trains an assistant (TAKD; or the one that the settings name): KD by the teacher, with one seed."""
    plain = replace(settings, overrides=tuple(one for one in settings.overrides if one[0] == "normalisation"))
    taught = kd(settings.recipe)
    return student_spec(plain, Pair(pair.teacher, settings.assistant or assistant), taught, TEACHER_SEED)


def vanilla_spec(settings: Settings, pair: Pair, seed: int) -> RunSpec:
    return student_spec(settings, pair, VANILLA, seed)


def parse_pair(text: str) -> Pair:
    teacher, slash, student = text.partition("/")
    if not (teacher and slash and student) or "/" in student:
        raise UserError(f"pair {text!r} should be TEACHER/STUDENT, for example resnet56/resnet20")
    return Pair(teacher, student)


def _shortened(epochs: int, source: Recipe, own: Mapping[str, Collection[int]]) -> list[str]:
    plain, energy = source.plain.epochs, source.energy.epochs
    usual: dict[str, tuple[int, ...]] = {"Energy KD and Energy DKD": (energy,)} if energy != plain else {}
    if own:
        usual[f"some pairs of {' and '.join(own)}"] = tuple(
            sorted({length for each in own.values() for length in each})
        )
    if epochs == plain and not usual:
        return []
    if epochs == plain:
        longer = " and for ".join(f"{what} (instead of {_either(lengths)})" for what, lengths in usual.items())
        return [f"{count(epochs, 'epoch')} for every run, also for {longer}"]
    others = "; ".join(f"{what}: {_either(lengths)}" for what, lengths in usual.items())
    return [f"{count(epochs, 'epoch')} instead of {plain}{f' ({others})' if others else ''}, milestones scaled"]


def _either(lengths: Collection[int]) -> str:
    return " or ".join(map(str, lengths))


def deviations(
    settings: Settings, paper_data: str = "cifar100", own: Mapping[str, Collection[int]] | None = None
) -> list[str]:
    """What differs from the paper's data and protocol, in words for a caption.

    paper_data: of the paper's table. own: by row, the epochs of its pairs that follow neither of the recipe's two
    schedules.
    """
    source = settings.recipe
    out = []
    if settings.dataset != paper_data:
        out.append(f"data set {settings.dataset}, not the paper's")
    elif settings.data:
        out.append(f"own images in the form of {settings.dataset} (fingerprint {settings.data})")
    if settings.recipe_of:
        out.append(f"the recipe of {settings.recipe_of}")
    if settings.epochs is not None:
        out += _shortened(settings.epochs, source, own or {})
    if settings.train_fraction != 1:
        out.append(f"{settings.train_fraction:.3g} of the training images")
    if settings.tail != source.imbalance:
        out.append(f"long-tail factor {settings.tail:g} instead of {source.imbalance:g}")
    if settings.tail_teachers and source.whole:
        out.append("teachers trained on the long tail")
    if settings.assistant:
        out.append(f"assistant {settings.assistant} (TAKD)")
    if settings.batch_size not in (None, source.batch_size):
        out.append(f"batch size {settings.batch_size} instead of {source.batch_size}")
    if settings.precision != "fp32":
        out.append(f"precision {settings.precision}")
    if settings.seeds != 3:
        out.append(f"{count(settings.seeds, 'seed')} instead of 3")
    out += [f"teacher {network} given (sha256 {digest[:12]})" for network, digest in settings.teachers]
    out += [f"{path} = {value}" for path, value in settings.overrides]
    return out

"""Settings: what was asked of a table, apart from the table itself. Together they decide every run's identity."""

from __future__ import annotations

import contextlib
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
from trainables.recipes import Pair, Recipe
from trainables.spec import Mixing, RunSpec, Temperature

NESTED = {
    name: tuple(field.name for field in dataclasses.fields(cls))
    for name, cls in (("temperature", Temperature), ("mixing", Mixing))
}
_DECIDED = {
    "dataset": "--dataset",
    "data": "--data-dir",
    "student": "--pairs",
    "seed": "--seeds",
    "method": "--rows",
    "teacher": "--pairs",
    "teacher_source": "--teachers",
    "timing": "the table",
    "imbalance": "--imbalance",
    "holdout": "a search",
    "code": "the program",
    "revision": "the program",
}
"""Fields of a run that cannot be set, and what decides them."""
SHORT = {
    "T": "temperature.base",
    "T+": "temperature.plus",
    "T-": "temperature.minus",
    "r": "temperature.rate",
    "rule": "temperature.rule",
}
"""The paper's names of fields."""
STUDENT = "student"
"""What `vary` may name besides a run's fields."""
LISTS = ("milestones", "temperature.values")
OWN = tuple(field.name for field in dataclasses.fields(RunSpec) if field.name not in (*NESTED, *_DECIDED, "params"))
"""The fields of a run that can be set and are single values."""


@dataclass(frozen=True)
class Settings:
    """The defaults are the paper's: CIFAR-100, every pair and row of the table, three seeds, full schedules.

    dataset: empty for each table's own; then `data` and `teachers` name theirs (`tinyimagenet=FINGERPRINT`,
    `tinyimagenet/vgg13`), and `on` resolves them. pairs / rows: empty for all of the table's own. epochs: every run
    trains exactly so long, milestones and warm-up scaled with it. teachers: (network, sha256 of the weights file) for
    teachers that were given rather than trained. overrides: (dotted field of a run, JSON value), applied to every
    student that has the field. imbalance: of the training set's classes; None for the recipe's own. assistant: of every
    pair (TAKD) instead of its own. tail_teachers: the teachers of a long-tailed data set train on the long tail too.
    recipe_of: the data set by whose schedule and hyperparameters all train; empty for their own. vary: (dotted field,
    or `student`, and the JSON of its values): every combination of values makes a row of its own of each row that has
    the fields. own_table: the JSON of the definition of a user's own table, if one was asked for.
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
    vary: tuple[tuple[str, tuple[str, ...]], ...] = ()
    own_table: str = ""

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise UserError(f"seeds {self.seeds} must be at least 1")
        for path in (*dict(self.overrides), *(dict(self.vary).keys() - {STUDENT})):
            check_override(path)

    def as_json(self) -> str:
        fields = dataclasses.asdict(self)
        # What is named by a hash of the settings keeps its name.
        later = {name for name in ("recipe_of", "vary", "own_table") if not fields[name]}
        kept = {name: value for name, value in fields.items() if name not in later}
        return json.dumps(kept, sort_keys=True, separators=(",", ":"))

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
        return self.recipe.normalisation if asked is None else str(parse_value(asked))

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
            "--vary": tuple(f"{short_name(path)}={','.join(map(word_of, values))}" for path, values in self.vary),
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
        fields["vary"] = tuple((path, _words(values)) for path, values in fields.get("vary", ()))
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


def word_of(text: str) -> str:
    """A JSON value as it is written on the command line: a string without its quotes."""
    value = parse_value(text)
    return value if isinstance(value, str) else text


def short_name(path: str) -> str:
    """The paper's name of a field, if it has one: `T+` of `temperature.plus`."""
    return next((short for short, known in SHORT.items() if known == path), path)


def split_field(text: str) -> tuple[str, str, str]:
    """FIELD=VALUE as its parts; a minus sign as pages print it is a hyphen."""
    field, equals, value = (part.strip() for part in text.replace("\N{MINUS SIGN}", "-").partition("="))
    return field, equals, value


def check_override(path: str) -> None:
    """Refuse what no run has, and what the table or another setting decides."""
    outer, dot, inner = path.partition(".")
    if (outer in NESTED and inner in NESTED[outer]) or (outer == "temperature" and inner.isidentifier()):
        return
    if not dot and outer in _DECIDED:
        raise UserError(f"{outer} cannot be overridden: {_DECIDED[outer]} decides it")
    if (outer != "params" or not inner) and (dot or outer not in OWN):
        nested = [f"{name}.{field}" for name, fields in NESTED.items() for field in fields]
        raise UserError(f"unknown field {path!r} of a run: use one of {', '.join([*OWN, *nested])}, params.NAME")


def parse_value(value: str) -> Any:
    """A JSON value, or a number as Python writes it (.1); what is neither is a word."""
    for read in (json.loads, float):
        with contextlib.suppress(ValueError, RecursionError):
            return read(value)
    return value


def parse_pair(text: str) -> Pair:
    teacher, slash, student = text.partition("/")
    if not (teacher and slash and student) or "/" in student:
        raise UserError(f"pair {text!r} should be TEACHER/STUDENT, for example resnet56/resnet20")
    return Pair(teacher, student)


def _describe_shortening(epochs: int, source: Recipe, own: Mapping[str, Collection[int]]) -> list[str]:
    plain, energy = source.plain.epochs, source.energy.epochs
    usual: dict[str, tuple[int, ...]] = {"Energy KD and Energy DKD": (energy,)} if energy != plain else {}
    if own:
        usual[f"some pairs of {' and '.join(own)}"] = tuple(
            sorted({length for each in own.values() for length in each})
        )
    if epochs == plain and not usual:
        return []
    if epochs == plain:
        longer = " and for ".join(f"{what} (instead of {_join_lengths(lengths)})" for what, lengths in usual.items())
        return [f"{count(epochs, 'epoch')} for every run, also for {longer}"]
    others = "; ".join(f"{what}: {_join_lengths(lengths)}" for what, lengths in usual.items())
    return [f"{count(epochs, 'epoch')} instead of {plain}{f' ({others})' if others else ''}, milestones scaled"]


def _join_lengths(lengths: Collection[int]) -> str:
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
        out += _describe_shortening(settings.epochs, source, own or {})
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

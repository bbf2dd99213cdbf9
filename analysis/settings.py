"""Settings: what was asked of a table, apart from the table itself. Together they decide every run's identity."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, replace
from typing import Any

from trainables.errors import UserError
from trainables.recipes import TEACHER_SEED, VANILLA, Pair, Recipe, Schedule, Treatment, recipe
from trainables.spec import RunSpec, Temperature, from_dict


@dataclass(frozen=True)
class Settings:
    """The defaults are the paper's: CIFAR-100, every pair and row of the table, three seeds, full schedules.

    pairs / rows: empty for all of the table's own. epochs: every run trains exactly so long, milestones and warm-up
    scaled with it. teachers: (network, sha256 of the weights file) for teachers that were given rather than trained.
    overrides: (dotted field of a run, JSON value), applied to every student that has the field.
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

    def as_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"))

    @property
    def recipe(self) -> Recipe:
        return recipe(self.dataset)


def from_json(text: str) -> Settings:
    fields = json.loads(text)
    for name in ("pairs", "rows"):
        fields[name] = tuple(fields[name])
    for name in ("teachers", "overrides"):
        fields[name] = tuple((key, value) for key, value in fields[name])
    return Settings(**fields)


def _base(settings: Settings, student: str, schedule: Schedule, seed: int) -> RunSpec:
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
        lr=source.lr_of(student),
        augmentation=source.augmentation,
        batch_size=settings.batch_size or source.batch_size,
        precision=settings.precision,
        train_fraction=settings.train_fraction,
    )


def teacher_spec(settings: Settings, network: str) -> RunSpec:
    """The run that trains a teacher: the network alone, always by the plain schedule, one seed for all tables."""
    return _base(settings, network, settings.recipe.plain, TEACHER_SEED)


def _override(spec: RunSpec, path: str, value: str) -> RunSpec:
    """`spec` with one field set, if it has that field; method parameters only where the method has them."""
    fields = spec.as_dict()
    outer, _, inner = path.partition(".")
    try:
        parsed: Any = json.loads(value)
    except json.JSONDecodeError:
        parsed = value
    if outer == "params":
        if inner not in dict(spec.params):
            return spec
        fields["params"] = dict(spec.params) | {inner: parsed}
    elif outer in ("temperature", "mixing"):
        if spec.teacher is None or (outer == "mixing" and spec.mixing is None):
            return spec
        if outer == "temperature" and inner not in ("base", "rule") and not _uses(spec.temperature, inner):
            return spec
        fields[outer] = fields.get(outer, {}) | {inner: parsed}
    else:
        fields[outer] = parsed
    return from_dict(fields)


def _uses(temperature: Temperature, field: str) -> bool:
    if temperature.rule == "gradation":
        return field == "values"
    return temperature.rule != "plain" and field != "values"


def student_spec(settings: Settings, pair: Pair, treatment: Treatment, seed: int, *, timing: bool = False) -> RunSpec:
    """The run that trains `pair.student` by `treatment`; `VANILLA` is the student without a teacher."""
    source = settings.recipe
    schedule = source.energy if treatment.long else source.plain
    spec = _base(settings, pair.student, schedule, seed)
    if treatment.method != "vanilla":
        given = dict(settings.teachers).get(pair.teacher)
        origin = f"sha256:{given}" if given else f"run:{teacher_spec(settings, pair.teacher).run_id}"
        numbers = dict(treatment.params)
        if "warmup" in numbers and settings.epochs is not None:
            numbers["warmup"] *= settings.epochs / schedule.epochs
        spec = replace(
            spec,
            method=treatment.method,
            params=tuple(sorted(numbers.items())),
            temperature=treatment.temperature,
            mixing=treatment.mixing,
            teacher=pair.teacher,
            teacher_source=origin,
            timing=timing,
        )
    for path, value in settings.overrides:
        spec = _override(spec, path, value)
    return spec


def vanilla_spec(settings: Settings, pair: Pair, seed: int) -> RunSpec:
    return student_spec(settings, pair, VANILLA, seed)


def parse_pair(text: str) -> Pair:
    teacher, slash, student = text.partition("/")
    if not (teacher and slash and student) or "/" in student:
        raise UserError(f"pair {text!r} should be TEACHER/STUDENT, for example resnet56/resnet20")
    return Pair(teacher, student)


def deviations(settings: Settings) -> list[str]:
    """What differs from the paper's data and protocol, in words for a caption."""
    source = settings.recipe
    out = []
    if settings.dataset != "cifar100":
        out.append(f"data set {settings.dataset}, not the paper's")
    if settings.epochs is not None and settings.epochs != source.plain.epochs:
        out.append(f"{settings.epochs} epochs instead of {source.plain.epochs} (milestones scaled)")
    if settings.train_fraction != 1:
        out.append(f"{settings.train_fraction:.3g} of the training images")
    if settings.batch_size not in (None, source.batch_size):
        out.append(f"batch size {settings.batch_size} instead of {source.batch_size}")
    if settings.precision != "fp32":
        out.append(f"precision {settings.precision}")
    if settings.seeds != 3:
        out.append(f"{settings.seeds} seed{'s' if settings.seeds > 1 else ''} instead of 3")
    out += [f"teacher {network} given (sha256 {digest[:12]})" for network, digest in settings.teachers]
    out += [f"{path} = {value}" for path, value in settings.overrides]
    return out

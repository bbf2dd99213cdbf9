"""The runs of settings: which run a student, a teacher, an assistant or a student alone is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from analysis.record.settings import NESTED, Settings, parse_value
from trainables.additions import remembered
from trainables.errors import UserError
from trainables.own_code import with_own_code
from trainables.recipes import TEACHER_SEED, VANILLA, Pair, Recipe, Schedule, Treatment, kd
from trainables.spec import PLAIN, Params, RunSpec, with_fields
from trainables.temperature import KNOWN


def _common(settings: Settings, student: str, schedule: Schedule, seed: int, lr: float | None = None) -> dict[str, Any]:
    """The fields of a run that do not depend on its method."""
    source = settings.recipe
    return {
        "dataset": settings.dataset,
        "data": settings.data,
        "student": student,
        "seed": seed,
        "epochs": schedule.epochs,
        "milestones": schedule.milestones,
        "lr": source.lr_of(student) if lr is None else lr,
        "momentum": source.momentum,
        "weight_decay": source.weight_decay,
        "augmentation": source.augmentation,
        "normalisation": settings.normalisation,
        "batch_size": source.batch_size if settings.batch_size is None else settings.batch_size,
        "precision": settings.precision,
        "train_fraction": settings.train_fraction,
        "imbalance": settings.tail,
    }


@remembered
def teacher_spec(settings: Settings, network: str) -> RunSpec:
    """The run that trains a teacher: the network alone, always by the plain schedule, one seed for all tables."""
    if settings.recipe.whole and not settings.tail_teachers:
        settings = replace(settings, dataset=settings.recipe.whole, imbalance=None)
    schedule = settings.recipe.plain
    shortened = schedule if settings.epochs is None else schedule.scaled(settings.epochs)
    return with_own_code(RunSpec(**_common(settings, network, shortened, TEACHER_SEED)))


def _override(spec: RunSpec, overrides: dict[str, Any], recipe: Recipe) -> RunSpec:
    """`spec` with all the fields set that it has: a method's own parameters, a temperature's plus, ... only there."""
    if not overrides:
        return spec
    own = {path: value for path, value in overrides.items() if has_field(spec, path, overrides)}
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
    return outer == "temperature" and inner not in NESTED["temperature"]


def has_field(spec: RunSpec, path: str, overrides: Mapping[str, Any]) -> bool:
    """Whether a run has a field to set, once some others are set to JSON values."""
    outer, _, inner = path.partition(".")
    if not inner:
        return spec.peer is not None or outer not in ("peer", "peer_lr")
    if outer == "params":
        return inner in dict(spec.params) or _takes(spec.method, inner)
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


def _takes(method: str, number: str) -> bool:
    """Whether it is a number of the method, by default if the row does not give it."""
    from trainables.methods import numbers_of  # With torch.

    return number in numbers_of(method)


def student_spec(
    settings: Settings,
    pair: Pair,
    treatment: Treatment,
    seed: int,
    *,
    varied: Sequence[tuple[str, str]] = (),
    timing: bool = False,
) -> RunSpec:
    """The run that trains `pair.student` by `treatment`; `VANILLA` is the student without a teacher.

    varied: fields of this run that are set, and the JSON of their values.
    """
    overrides = {path: parse_value(value) for path, value in (*settings.overrides, *varied)}
    usual = settings.recipe.schedule_of(treatment)
    epochs = overrides.pop("epochs", settings.epochs)
    schedule = usual if epochs is None else usual.scaled(_check_epochs(epochs))
    common = _common(settings, pair.student, schedule, seed, treatment.lr)
    shorter = schedule.epochs / usual.epochs
    temperature = PLAIN if treatment.method == "vanilla" else treatment.temperature
    if temperature is not None and temperature.numbers:
        temperature = replace(temperature, numbers=_with_warmup(temperature.numbers, shorter))
    taught: dict[str, Any] = {}
    if treatment.peer:
        own = settings.recipe.lr_of(pair.teacher)
        taught = {"peer": pair.teacher, "peer_lr": None if own == common["lr"] else own}
    elif treatment.method != "vanilla":
        teacher, origin = _teacher(settings, pair, treatment)
        taught = {"teacher": teacher, "teacher_source": origin, "timing": timing}
    spec = RunSpec(
        **common,
        method=treatment.method,
        params=_with_warmup(treatment.params, shorter),
        temperature=temperature,
        mixing=treatment.mixing,
        membership=treatment.membership,
        **taught,
    )
    return with_own_code(_override(spec, overrides, settings.recipe))


def _check_epochs(epochs: Any) -> int:
    if type(epochs) is not int:
        raise UserError(f"epochs must be a whole number, not {epochs}")
    return epochs


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

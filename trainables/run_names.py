"""A run's name with what was set in it: its numbers that are not those of its data set's recipe."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import lru_cache

from trainables import baselines, datasets, recipes, rivals
from trainables.additions import remembered
from trainables.errors import UserError
from trainables.recipes import Pair, Recipe, Schedule, Treatment
from trainables.spec import Params, RunSpec, Temperature
from trainables.temperature import KNOWN

_TREATMENTS = (
    recipes.dkd,
    recipes.energy_kd,
    recipes.energy_dkd,
    baselines.fitnet,
    baselines.at,
    baselines.pkt,
    baselines.rkd,
    baselines.vid,
    baselines.crd,
    baselines.ofd,
    baselines.reviewkd,
    baselines.dml,
    baselines.multi,
    baselines.multi_plain,
    baselines.energy_multi,
    *rivals.TREATMENTS,
)
_ALPHA = {"cutmix": 1.0, "mixup": 0.2}
_SHORT = {
    "base": "T",
    "plus": "T+=",
    "minus": "T-=",
    "rate": "r",
    "batch_size": "batch",
    "weight_decay": "decay",
    "lr_decay": "fall",
    "train_fraction": "part",
    "imbalance": "tail",
}
"""What stands before a number in a name, where it is not its field's own name."""


@lru_cache(maxsize=4096)
def name_of(spec: RunSpec) -> str:
    """A name that people can read, that shows what was set, and that no two runs share."""
    return spec.named("".join(f"-{word}" for word in _words(spec)))


def _words(spec: RunSpec) -> list[str]:
    try:
        recipe = datasets.find(spec.dataset).recipe
    except UserError:
        return []  # a data set that has gone since
    pair = Pair(spec.teacher or spec.peer or "", spec.student)
    own = _name_own_rule(spec.temperature)
    known = _list_usual(spec.dataset, pair)
    known = [*known, *_list_usual_sums(spec.method, known)]
    usual = [one for one in known if one.method == spec.method and _name_own_rule(one.temperature) == own]
    return [
        *(_of_numbers(spec, usual, recipe) if own else _of_temperature(spec.temperature, usual, recipe, pair)),
        *_of_mixing(spec),
        *_of_params(spec, usual, recipe),
        *_of_training(spec, usual, recipe),
    ]


@remembered
def _list_usual(dataset: str, pair: Pair) -> list[Treatment]:
    """How the tables teach the pair."""
    recipe = datasets.find(dataset).recipe
    return [recipes.VANILLA, recipes.kd(recipe), *(treat(recipe, pair) for treat in _TREATMENTS)]


def _list_usual_sums(method: str, usual: list[Treatment]) -> Iterator[Treatment]:
    """How `ablation` teaches by a sum of methods."""
    one, plus, two = method.partition("+")
    for first in (each for each in usual if plus and each.method == one):
        for second in (each for each in usual if each.method == two):
            with contextlib.suppress(UserError):  # of rows that cannot be summed
                yield recipes.sum_of(first, second)


def _name_own_rule(temperature: Temperature | None) -> str:
    """The rule, if its numbers are its own."""
    return "" if temperature is None or temperature.rule in KNOWN else temperature.rule


def _of_numbers(spec: RunSpec, usual: list[Treatment], recipe: Recipe) -> list[str]:
    """T and a rule's own numbers as far as they are not the nearest usual ones; all of a rule that no table has."""

    def numbers(temperature: Temperature | None, longest: Treatment | None = None) -> dict[str, float]:
        assert temperature is not None
        own = dict(temperature.numbers) | (_warmup(temperature.numbers, longest, spec, recipe) if longest else {})
        return own | ({"base": temperature.base} if temperature.base else {})

    return _find_changed(numbers(spec.temperature), [numbers(one.temperature, one) for one in usual])


def _of_temperature(
    temperature: Temperature | None, usual: list[Treatment], recipe: Recipe, pair: Pair
) -> Iterator[str]:
    if temperature is None:
        return
    rule = temperature.rule
    known = [one.temperature for one in usual if one.temperature is not None and one.temperature.rule == rule]
    if rule not in ("plain", "energy"):
        known = [recipes.energy_temperature(recipe, pair, rule)]
    if not known or temperature in known:
        return
    names = ("base", "plus", "minus", "rate")
    changed = [[name for name in names if getattr(one, name) != getattr(temperature, name)] for one in known]
    yield from (f"{_SHORT[name]}{getattr(temperature, name):g}" for name in min(changed, key=len))
    if temperature.values not in [one.values for one in known]:
        yield "T" + "_".join(f"{value:g}" for value in temperature.values)


def _of_mixing(spec: RunSpec) -> Iterator[str]:
    if spec.mixing is None:
        return
    if spec.mixing.alpha != _ALPHA[spec.mixing.operation]:
        yield f"alpha{spec.mixing.alpha:g}"
    if spec.mixing.target != "larger":
        yield spec.mixing.target


def _of_params(spec: RunSpec, usual: list[Treatment], recipe: Recipe) -> list[str]:
    """The method's numbers that are not the nearest usual ones; all of a method that no table has."""
    return _find_changed(
        dict(spec.params), [dict(one.params) | _warmup(one.params, one, spec, recipe) for one in usual]
    )


def _find_changed(own: dict[str, float], known: list[dict[str, float]]) -> list[str]:
    """The numbers that are not those of the nearest of the known."""
    changed = [{name: value for name, value in own.items() if value != one.get(name)} for one in known or [{}]]
    return [f"{_SHORT.get(name, name)}{_show(value)}" for name, value in min(changed, key=len).items()]


def _show(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _warmup(numbers: Params, treatment: Treatment, spec: RunSpec, recipe: Recipe) -> dict[str, float]:
    """As a sweep scales it with the epochs."""
    usual = dict(numbers).get("warmup")
    return {} if usual is None else {"warmup": usual * (spec.epochs / recipe.schedule_of(treatment).epochs)}


def _of_training(spec: RunSpec, usual: list[Treatment], recipe: Recipe) -> Iterator[str]:
    rates = {recipe.lr_of(spec.student), *(one.lr for one in usual)}
    if spec.lr not in rates:
        yield f"lr{spec.lr:g}"
    if spec.peer_lr not in (None, recipe.lr_of(spec.peer or "")):
        yield f"peer{spec.peer_lr:g}"
    schedules: list[Schedule] = [recipe.plain, recipe.energy, *(one.schedule for one in usual if one.schedule)]
    if spec.milestones not in [each.scaled(spec.epochs).milestones for each in schedules]:
        yield "at" + "_".join(map(str, spec.milestones))
    for name in ("batch_size", "momentum", "weight_decay", "imbalance"):
        if getattr(spec, name) != getattr(recipe, name):
            yield f"{_SHORT.get(name, name)}{getattr(spec, name):g}"
    for name, common in (("lr_decay", 0.1), ("train_fraction", 1.0), ("holdout", 0.0)):
        if getattr(spec, name) != common:
            yield f"{_SHORT.get(name, name)}{getattr(spec, name):g}"
    for name, word in (("augmentation", recipe.augmentation), ("normalisation", recipe.normalisation)):
        if getattr(spec, name) != word:
            yield f"{name}_{getattr(spec, name)}"
    if spec.precision != "fp32":
        yield spec.precision

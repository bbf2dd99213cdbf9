"""A search's words and its runs: the base run that it varies, trials on held-out images, finalists on all of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from analysis import paper
from analysis.paper import temperatures
from analysis.record.settings import LISTS, STUDENT, Settings
from analysis.record.specs import student_spec
from analysis.table.layout import Row
from sweeps.request.request import check_methods
from sweeps.searching.goals import check_costs
from sweeps.searching.space import LONG, Scalar, Space, has_field
from trainables.commands import did_you_mean
from trainables.errors import UserError
from trainables.recipes import Pair, Recipe, Treatment, energy_kd, energy_temperature
from trainables.rivals import TREATMENTS
from trainables.spec import PLAIN, RunSpec, flatten
from trainables.temperature import ENDS

TABLES = ("table1", "table5", "direction", "temperatures", "weights", "logits")
RULES = replace(temperatures.KD, key="temperatures", label="KD by rule")
"""Not of a table: KD, by KD's schedule whatever the rule of its temperature."""
SEED = 1
"""Of every trial: what varies is the point."""


def rows() -> dict[str, Row]:
    """The rows of tables that a search can start from, and RULES."""
    found = [row for key in TABLES for part in paper.find(key).parts for row in part.rows]
    return {row.key: row for row in (RULES, *reversed(found))}


def place_of(row: Row) -> tuple[str, str]:
    """A table that has the row, and its key there; of RULES those of KD."""
    row = temperatures.KD if row is RULES else row
    return next(key for key in TABLES if any(row in part.rows for part in paper.find(key).parts)), row.key


def find_row(key: str) -> Row:
    known = rows()
    if key not in known:
        own = [row.key for part in paper.find(key).parts for row in part.rows] if key in TABLES else []
        hint = (
            did_you_mean(key, known, most=3) if not own else f"a table, of which one row is searched: {', '.join(own)}"
        )
        if "+" in key:
            hint = "a sum of two rows is of ekd run ablation, where --vary varies its numbers"
        raise UserError(f"unknown row {key!r} in --row: {hint or 'use one of ' + ', '.join(sorted(known))}")
    return known[key]


@dataclass(frozen=True)
class Search:
    """What is searched: a row of the paper for one pair or several, over a space.

    trial_epochs: of a trial, None for as many as a finalist has. trial_seeds: how many runs of each pair a trial has.
    costs: what is to be low beside a high top-1.
    """

    settings: Settings
    pairs: tuple[Pair, ...]
    row: Row
    space: Space
    holdout: float
    trial_epochs: int | None = None
    trial_seeds: int = 1
    costs: tuple[str, ...] = ()

    @property
    def pair(self) -> Pair:
        """The first one, whose numbers are the paper's where pairs differ."""
        return self.pairs[0]

    @property
    def places(self) -> list[tuple[int, Pair]]:
        """Seed and pair of each run of a trial."""
        return [(seed, pair) for seed in range(SEED, SEED + self.trial_seeds) for pair in self.pairs]

    def trials(self, fields: Mapping[str, Scalar]) -> tuple[RunSpec, ...]:
        """The runs of a point's trial."""
        return tuple(self.trial(fields, seed, pair) for seed, pair in self.places)

    def trial(self, fields: Mapping[str, Scalar], seed: int = SEED, pair: Pair | None = None) -> RunSpec:
        """A point on the training images but the held-out ones."""
        return self._held_out(self._spec(self._shortened, fields, seed, pair), pair)

    def _held_out(self, spec: RunSpec, pair: Pair | None) -> RunSpec:
        teacher = self.finalist({}, SEED, pair).teacher_source
        return replace(spec, holdout=self.holdout, teacher_source=teacher, timing="seconds" in self.costs)

    @property
    def _shortened(self) -> Settings:
        return self.settings if self.trial_epochs is None else replace(self.settings, epochs=self.trial_epochs)

    def trial_of(self, point: RunSpec, seed: int = SEED, pair: Pair | None = None) -> RunSpec:
        """A finalist's trial: the same point on the training images but the held-out ones."""
        return replace(self.trial(self.fields_of(point), seed, pair), temperature=point.temperature)

    def finalist(self, fields: Mapping[str, Scalar], seed: int, pair: Pair | None = None) -> RunSpec:
        """A point on all training images."""
        return self._spec(self.settings, fields, seed, pair)

    @property
    def has_references(self) -> bool:
        """Whether points are ranked by their gain over KD."""
        return len(self.pairs) > 1

    def reference(self, seed: int, pair: Pair) -> RunSpec:
        """KD's finalist of a pair, by the settings that do not concern the method."""
        settings = replace(self.settings, overrides=tuple(one for one in self.settings.overrides if "." not in one[0]))
        return student_spec(settings, pair, temperatures.KD.treat(settings.recipe, pair), seed)

    def reference_trials(self) -> tuple[RunSpec, ...]:
        """KD's trials, if there are to be any."""
        short = replace(self, settings=self._shortened)
        places = self.places if self.has_references else []
        return tuple(self._held_out(short.reference(seed, pair), pair) for seed, pair in places)

    def _spec(self, settings: Settings, fields: Mapping[str, Scalar], seed: int, pair: Pair | None) -> RunSpec:
        pair, rule = pair or self.pair, fields.get("rule")
        pair = replace(pair, student=str(fields.get(STUDENT, pair.student)))
        own = {self.space.paths[name]: value for name, value in fields.items() if name != STUDENT}
        own |= {"epochs": int(own["epochs"])} if "epochs" in own else {}
        if self.space.rules and rule is not None:
            base: Scalar = self.base if has_field(str(rule), "temperature.base") else 0
            own = {"temperature.base": base} | own
        overrides = tuple((path, json.dumps(value)) for path, value in own.items())
        treatment = self.row.treat(settings.recipe, pair)
        return student_spec(replace(settings, overrides=(*settings.overrides, *overrides)), pair, treatment, seed)

    @property
    def base(self) -> float:
        """T of the row as it is: where T is not searched."""
        temperature = self.finalist({}, SEED).temperature
        return temperature.base or PLAIN.base if temperature is not None else 1.0

    def check(self) -> None:
        """Refuse a space that the row's runs have not, or of which some point is no run."""
        check_costs(self.costs, self.finalist({}, SEED), self.space.paths)
        for student in self.space.students:
            from trainables.models import check_name  # With torch.

            check_name(student, f"--space {STUDENT}")
        if self.space.students and len(self.pairs) > 1:
            raise UserError(f"--space {STUDENT}=...: with one --pair only")
        if self.row.treat(self.settings.recipe, self.pair).assistant is not None:
            raise UserError(f"{self.row.key} has an assistant between teacher and student: search the row kd")
        usual = flatten(self.finalist({}, SEED))
        fixed = dict(self.settings.overrides)
        of_rules = {each for rule in self.space.rules for each in self.space.ranges_of(rule) if each.of_temperature}
        for each in self.space.ranges:
            by_rule = self.space.rules and each.of_temperature
            if each not in of_rules if by_rule else usual.get(each.path) is None:
                raise UserError(f"--space {each.text}: a run of the row {self.row.key} has no {each.path}")
            if isinstance(usual.get(each.path), int) and not each.whole:
                how = f"write {each.path}=4:12:2 (every other) or {each.path}=4,8,12"
                raise UserError(f"--space {each.text}: {each.path} takes whole numbers only: {how}")
            if each.path in fixed:
                raise UserError(f"--set {each.path}={fixed[each.path]}: it is searched ({each.text}); leave out one")
        for asked in self.space.samples():
            fields = self.space.point(asked, self.base)
            try:
                trial = self.trial(fields)
                check_methods([trial])
                got = flatten(trial)
            except UserError as error:
                raise UserError(f"--space {self.space.text}: {error}{self._hint}") from error
            for name, value in fields.items():
                if got.get(self.space.paths[name]) != value:
                    raise UserError(f"--space: {name} = {value} would change nothing in a run of {self.row.key}")

    @property
    def _hint(self) -> str:
        """How T can be searched where the row's own T- would take the lowest T to 0 or below."""
        names, own = [each.name for each in self.space.ranges], self.finalist({}, SEED).temperature
        if "T" not in names or "T-" in names or own is None or own.minus == 0:
            return ""
        return f"; begin T above {-own.minus:g}, or search T- too, whose lower end then follows T (T-=-4:0)"

    def known_runs(self) -> dict[str, Callable[..., RunSpec]]:
        """The paper's point and the released code's (its direction reversed): a run of each for a seed and a pair."""
        found: dict[str, Callable[..., RunSpec]] = {"paper": partial(self.finalist, {})}
        if self.row.treat is energy_kd:
            found["released code"] = partial(replace(self, row=replace(self.row, treat=_reverse)).finalist, {})
        return found

    def known_points(self) -> dict[str, dict[str, Scalar] | None]:
        """The same as fields of the space; None for one that differs from the row in what the space does not vary."""
        found: dict[str, dict[str, Scalar] | None] = {}
        for name, run in self.known_runs().items():
            fields = self.fields_of(run(SEED))
            found[name] = fields if self.trials(fields) == self.trials_of(run) else None
        return found

    def trials_of(self, run: Callable[..., RunSpec]) -> tuple[RunSpec, ...]:
        """The runs of the trial of a known point."""
        return tuple(self.trial_of(run(seed, pair), seed, pair) for seed, pair in self.places)

    def fields_of(self, spec: RunSpec) -> dict[str, Scalar]:
        flat = flatten(spec)
        ranges = self.space.ranges_of(flat["temperature.rule"]) if self.space.rules else self.space.ranges
        return {each.name: flat[each.path] for each in ranges}

    def starts(self) -> dict[str, tuple[dict[str, Scalar], str]]:
        """By rule, where rules are searched: its published point if the space has it, or the middle of the space, and
        whose point it is."""
        return {rule: self._start(rule) for rule in self.space.rules}

    def _start(self, rule: str) -> tuple[dict[str, Scalar], str]:
        source, pair = self.settings.recipe, self.pair
        known = [
            one.temperature for one in (treat(source, pair) for treat in TREATMENTS) if one.temperature is not None
        ]
        known += [energy_temperature(source, pair, rule)] if rule in ENDS else [PLAIN]
        for temperature in known:
            if temperature.rule == rule:
                point = self.fields_of(replace(self.finalist({}, SEED), temperature=temperature))
                if self.space.holds(point):
                    return point, "published"
        return self.space.middle(rule, self.base), ""

    def told_apart(self, specs: Sequence[RunSpec]) -> list[dict[str, Scalar]]:
        """Of each point its fields of the space, and whatever else two of the points differ in (their direction), but
        lists: milestones follow from epochs."""
        flat = [self._flat(spec) for spec in specs]
        names = [*self.space.paths.values()]
        short = LONG | {path: name for name, path in self.space.paths.items()}
        values = {path: [one.get(path) for one in flat] for one in flat for path in one if path not in (*names, *LISTS)}
        names += [path for path, each in values.items() if len({*map(repr, each)}) > 1]
        return [{short.get(path, path): one[path] for path in names if path in one} for one in flat]

    def _flat(self, spec: RunSpec) -> dict[str, Any]:
        """Its fields; where rules are searched only those of its rule, without what follows from the rule."""
        fields = flatten(spec)
        rule = fields.get("temperature.rule")
        if not self.space.rules or rule is None:
            return fields
        follow = ("code", "revision")
        return {path: value for path, value in fields.items() if path not in follow and has_field(str(rule), path)}


def _reverse(source: Recipe, pair: Pair) -> Treatment:
    return energy_kd(source, pair, "reversed")

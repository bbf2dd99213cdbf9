"""A sampler that proposes no point of a finite space twice while others are left."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

Place = tuple[int, ...]
"""Of a point: the number of its branch, and of its value in each of the branch's fields, from 0."""


class PointGrid:
    """The points of a finite space.

    distributions: of all fields.
    branches: parts of the space, each with the fields that are asked for in it. They share no point, for they differ in
        the choices of a field.
    asked: the user attribute in which a trial that waits has its parameters.
    """

    def __init__(
        self,
        distributions: Mapping[str, BaseDistribution],
        branches: Sequence[Mapping[str, BaseDistribution]],
        asked: str,
    ) -> None:
        self.distributions, self._branches, self._asked = dict(distributions), branches, asked

    @property
    def size(self) -> int:
        return sum(math.prod(map(_count, branch.values())) for branch in self._branches)

    def taken(self, trials: Sequence[FrozenTrial]) -> set[Place]:
        """The points that were tried, are under way or wait for it."""
        found = [
            trial.user_attrs.get(self._asked, {}) if trial.state == TrialState.WAITING else trial.params
            for trial in trials
            if trial.state != TrialState.FAIL
        ]
        return {place for each in found if (place := self._place(each)) is not None}

    def nearest(self, proposed: Mapping[str, Any], taken: set[Place]) -> dict[str, Any]:
        """The proposal, or the point not taken that is the fewest steps from it; the proposal if all are taken."""
        start = self._place(proposed)
        assert start is not None
        waiting, seen = deque([start]), {start}
        while waiting:
            place = waiting.popleft()
            if place not in taken:
                return dict(proposed) if place == start else self._values(place)
            beside = [each for each in self._list_beside(place) if each not in seen]
            waiting.extend(beside)
            seen.update(beside)
        return dict(proposed)

    def _place(self, values: Mapping[str, Any]) -> Place | None:
        for number, branch in enumerate(self._branches):
            if all(name in values and _holds(each, values[name]) for name, each in branch.items()):
                return (number, *(_number(each, values[name]) for name, each in branch.items()))
        return None

    def _values(self, place: Place) -> dict[str, Any]:
        pairs = zip(self._branches[place[0]].items(), place[1:], strict=True)
        return {name: _value(each, number) for (name, each), number in pairs}

    def _list_beside(self, place: Place) -> Iterator[Place]:
        for index, each in enumerate(self._branches[place[0]].values(), 1):
            number, count = place[index], _count(each)
            steps = range(count) if isinstance(each, CategoricalDistribution) else (number - 1, number + 1)
            for other in steps:
                if 0 <= other < count and other != number:
                    yield (*place[:index], other, *place[index + 1 :])
        here = dict(zip(self._branches[place[0]], place[1:], strict=True))
        for number, branch in enumerate(self._branches):
            if number != place[0]:
                yield (number, *(min(here.get(name, 0), _count(each) - 1) for name, each in branch.items()))


def grid_of(
    distributions: Mapping[str, BaseDistribution], branches: Sequence[Mapping[str, BaseDistribution]], asked: str
) -> PointGrid | None:
    """None where some field has no end of values."""
    finite = (isinstance(each, CategoricalDistribution) or _has_steps(each) for each in distributions.values())
    return PointGrid(distributions, branches, asked) if all(finite) else None


def _holds(each: BaseDistribution, value: Any) -> bool:
    return not isinstance(each, CategoricalDistribution) or value in each.choices


def _has_steps(each: BaseDistribution) -> bool:
    return isinstance(each, FloatDistribution) and each.step is not None


def _count(each: BaseDistribution) -> int:
    if isinstance(each, CategoricalDistribution):
        return len(each.choices)
    assert isinstance(each, FloatDistribution)
    return _number(each, each.high) + 1


def _number(each: BaseDistribution, value: Any) -> int:
    if isinstance(each, CategoricalDistribution):
        return each.choices.index(value)
    assert isinstance(each, FloatDistribution)
    assert each.step is not None
    return round((value - each.low) / each.step)


def _value(each: BaseDistribution, number: int) -> Any:
    if isinstance(each, CategoricalDistribution):
        return each.choices[number]
    assert isinstance(each, FloatDistribution)
    assert each.step is not None
    return min(each.high, each.low + number * each.step)


class Untried(BaseSampler):
    """Another sampler's proposals, each moved to the nearest point of the grid that is not taken.

    trials: all of the study; a pruner in brackets shows a sampler those of one bracket only.
    """

    def __init__(self, inner: BaseSampler, grid: PointGrid, trials: Callable[[], Sequence[FrozenTrial]]) -> None:
        self._inner, self._grid, self._trials = inner, grid, trials

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._grid.distributions

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        inner = self._inner
        proposed = inner.sample_relative(study, trial, inner.infer_relative_search_space(study, trial))
        alone = {
            name: inner.sample_independent(study, trial, name, each)
            for name, each in search_space.items()
            if name not in proposed
        }
        return self._grid.nearest({**proposed, **alone}, self._grid.taken(self._trials()))

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._inner.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._inner.before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self._inner.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        self._inner.reseed_rng()

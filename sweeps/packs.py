"""What a search has the engine train: first the teacher, then packs of trials as Optuna proposes them."""

from __future__ import annotations

from collections.abc import Callable

from sweeps.feed import Feed
from sweeps.plan import Plan, PlannedJob


class Packs(Feed):
    """A feed whose jobs after the plan's own (the teacher) are asked for when there is room for one.

    ask: the next pack of trials, or None when there will be none. most: how many packs there can be.
    """

    def __init__(self, plan: Plan, ask: Callable[[], PlannedJob | None], most: int) -> None:
        super().__init__(plan)
        self._ask, self._most = ask, most
        self._teachers = {spec.run_id for job in plan.jobs for spec in job.specs}
        self._held: PlannedJob | None = None
        self._dry = most == 0

    @property
    def exhausted(self) -> bool:
        return super().exhausted and (self._dry or self.lost)

    @property
    def lost(self) -> bool:
        """Whether there will be no teacher."""
        return bool(self._teachers & self._failed.keys())

    @property
    def most_jobs(self) -> int:
        return super().most_jobs + self._most

    def take(self, fits: Callable[[PlannedJob], bool] = lambda job: True) -> PlannedJob | None:
        first = super().take(fits)
        if first is not None or not super().exhausted or self._dry:
            return first
        if self._held is None:
            self._held = self._ask()
            self._dry = self._held is None
        job = self._held
        if job is None or not job.needs <= self._trained or not fits(job):
            return None
        self._held = None
        self._asked |= {spec.run_id for spec in job.specs}
        self._running[job.key] = job
        return job

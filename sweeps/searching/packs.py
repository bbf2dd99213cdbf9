"""What a search has the engine train: first the teacher, then packs of trials as Optuna proposes them."""

from __future__ import annotations

from collections.abc import Callable

from sweeps.planning.job_queue import JobQueue
from sweeps.planning.plan import Plan, PlannedJob


class Packs(JobQueue):
    """A queue whose jobs after the plan's own (the teacher) are asked for when there is room for one.

    ask: the next pack of trials, or None when there is none now.
    template: a job with the same needs, used to test for free devices, so that Optuna is asked as late as possible and
        knows more results.
    over: whether there will be no further pack.
    """

    GIVES_UP = True

    def __init__(
        self, plan: Plan, ask: Callable[[], PlannedJob | None], template: PlannedJob, over: Callable[[], bool]
    ) -> None:
        super().__init__(plan)
        self._ask, self._template, self._over = ask, template, over
        self._held: PlannedJob | None = None

    @property
    def exhausted(self) -> bool:
        return super().exhausted and (self._dry or self.lost)

    @property
    def _dry(self) -> bool:
        return self._held is None and self._over()

    @property
    def lost(self) -> bool:
        """Whether there will be no teacher."""
        return bool(self._template.needs & self._failed.keys())

    def take(self, fits: Callable[[PlannedJob], bool] = lambda job: True) -> PlannedJob | None:
        first = super().take(fits)
        if first is not None or not super().exhausted or self._dry:
            return first
        if self._running and self._template.specs[0].timing:  # What trained beside it would be in its numbers.
            return None
        if not self._template.needs <= self._trained or not fits(self._held or self._template):
            return None
        job = self._held or self._ask()
        self._held = job if job is not None and not fits(job) else None
        if job is None or self._held:
            return None
        self._asked |= {spec.run_id for spec in job.specs}
        self._running[job.key] = job
        return job

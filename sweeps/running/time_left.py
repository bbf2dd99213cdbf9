"""How long a sweep still takes: the plan's own durations, corrected by what its epochs have taken."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from sweeps.planning.durations import START_SECONDS, simulate
from sweeps.planning.plan import Plan, PlannedJob
from sweeps.planning.resources import Resources
from trainables.spec import RunSpec

Pair = tuple[str | None, str]


@dataclass(frozen=True)
class Expected:
    """What a sweep knows of its plan before it begins. seconds: of one device, of the jobs whose length is known.

    at_once: devices (or shares of them); 0 where that shows only while it runs. start: seconds beside its training."""

    seconds: Mapping[str, float] = field(default_factory=dict)
    resources: Resources = field(default_factory=lambda: Resources(0))
    at_once: int = 0
    start: float = START_SECONDS


UNKNOWN = Expected()


class TimeLeft:
    """Of a plan under way. A run is expected to take its share of its job's seconds, times what those of its networks
    (else all) have taken of theirs so far."""

    def __init__(self, plan: Plan, expected: Expected) -> None:
        self._plan, self._expected = plan, expected
        epochs = {job.key: sum(spec.epochs for spec in job.specs) for job in plan.jobs}
        known = {key: seconds / epochs[key] for key, seconds in expected.seconds.items() if key in epochs}
        usual = sum(known.values()) / len(known) if known else 1.0
        self._epoch = {key: known.get(key, usual) for key in epochs}
        self._taken: dict[Pair, list[float]] = defaultdict(lambda: [0.0, 0.0])
        self._told = bool(known)
        self._most = 0

    def note(self, job: PlannedJob, spec: RunSpec, seconds: float) -> None:
        """A run has trained an epoch of its job."""
        for key in (_networks(spec), _ALL):
            self._taken[key][0] += seconds
            self._taken[key][1] += self._epoch.get(job.key, 1.0)
        self._told = True

    def started(self, jobs: int) -> None:
        """So many jobs run beside each other."""
        self._most = max(self._most, jobs)

    def seconds(
        self, trained: Mapping[str, int], is_open: Callable[[str], bool], running: Mapping[str, float | None]
    ) -> float | None:
        """Until all is done; None while nothing is known. trained: epochs, by run. running: of the jobs under way, the
        seconds until their end as far as their own epochs tell."""
        if not self._told:
            return None
        left: dict[str, float] = {}
        for job in self._plan.jobs:
            epochs = {spec: spec.epochs - trained.get(spec.run_id, 0) for spec in job.specs if is_open(spec.run_id)}
            if epochs or job.key in running:
                work = sum(count * self._pace(spec) for spec, count in epochs.items()) * self._epoch[job.key]
                own = running.get(job.key)
                left[job.key] = work if own is None else own * self._expected.resources.speed(job.specs)
        jobs = [job for job in self._plan.jobs if job.key in left]
        jobs.sort(key=lambda job: job.key not in running)
        ended = frozenset(spec.run_id for job in self._plan.jobs for spec in job.specs if not is_open(spec.run_id))
        rest = replace(self._plan, jobs=tuple(jobs), done=self._plan.done | ended)
        at_once = max(self._expected.at_once, self._most, 1)
        begin = 0.0 if self._most else self._expected.start
        return begin + simulate(rest, left, self._expected.resources, at_once).seconds

    def _pace(self, spec: RunSpec) -> float:
        """Seconds taken, over seconds expected."""
        taken, expected = self._taken.get(_networks(spec)) or self._taken.get(_ALL) or (1.0, 1.0)
        return taken / expected


_ALL: Pair = (None, "")


def _networks(spec: RunSpec) -> Pair:
    return spec.teacher, spec.student

"""How long the jobs of a plan take, from what a step and an answer of each network cost.

A job's epoch is its batches, its teacher's answer to every view (once each, however many students share it), each
student's step (longer by the mixed share of its images), and each student's test.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sweeps.planning.images import count_images
from sweeps.planning.job_queue import JobQueue
from sweeps.planning.plan import JobKind, Plan, PlannedJob
from sweeps.planning.resources import Resources
from trainables.data.counts import ImageCounts
from trainables.spec import RunSpec

START_SECONDS = 15.0
"""Of a sweep without training, where none has run here: Ray starts, a worker imports torch, tables are written."""


@dataclass(frozen=True)
class Cost:
    """Of one network at one batch size and precision, in seconds: a training step; an image in evaluation mode.

    bytes: of its state, as it is stored. once: by a single step, because the time for measuring was over. day: when it
    was measured, of one that was kept.
    """

    step: float
    image: float
    bytes: int
    once: bool = False
    day: str = ""


CostOf = Callable[[RunSpec, str], Cost]
Price = Callable[[PlannedJob, Sequence[RunSpec]], float]
"""Seconds of one device for some runs of a job."""


def seconds_by_job(
    jobs: Sequence[PlannedJob], cost: CostOf, data_dir: Path | None, spared: Mapping[str, int]
) -> dict[str, float]:
    """Of each job, by its key. spared: by job, the epochs whose answers a cache has. A teacher is asked about all test
    images once, for its accuracy, and about all training images once for each set of energies that runs compare by."""
    asked: set[tuple[object, ...]] = set()
    found: dict[str, float] = {}
    for job in jobs:
        first, facts = job.specs[0], count_images(job.specs[0], data_dir)
        seconds = job_seconds(job.specs, cost, facts)
        if first.teacher is not None:
            image = cost(first, first.teacher).image
            seconds -= facts.train_size * image * spared.get(job.key, 0)
            teacher = (first.dataset, first.teacher_source, first.precision)
            wanted: dict[tuple[object, ...], int] = {teacher: facts.test_size}
            wanted |= {(*teacher, *_energies(spec)): facts.train_size for spec in job.specs if spec.end is not None}
            seconds += image * sum(images for answer, images in wanted.items() if answer not in asked)
            asked |= wanted.keys()
        found[job.key] = seconds
    return found


def _energies(spec: RunSpec) -> tuple[object, ...]:
    """Which energies a run compares by: those of its own crops, or of the images as they are."""
    return (spec.membership, spec.seed, spec.augmentation) if spec.membership == "view" else (spec.membership,)


def job_seconds(specs: Sequence[RunSpec], cost: CostOf, facts: ImageCounts) -> float:
    """All epochs of a job; runs that exist for their timing share nothing."""
    if specs[0].timing:
        return sum(_shared_seconds([spec], cost, facts) for spec in specs)
    return _shared_seconds(specs, cost, facts)


def _shared_seconds(specs: Sequence[RunSpec], cost: CostOf, facts: ImageCounts) -> float:
    total = 0.0
    ends = sorted({spec.epochs for spec in specs})
    for before, end in zip([0, *ends], ends, strict=False):
        active = [spec for spec in specs if spec.epochs >= end]
        total += (end - before) * _epoch_seconds(active, cost, facts)
    return total


def _epoch_seconds(active: Sequence[RunSpec], cost: CostOf, facts: ImageCounts) -> float:
    from trainables.methods import find, make

    first = active[0]
    images = facts.train_size
    seconds = 0.0
    if first.teacher is not None:
        mixed = {(spec.mixing, spec.membership): spec.mixing.rate for spec in active if spec.mixing is not None}
        weak = len({find(spec.method).BATCH_STATISTICS for spec in active})
        strong = any(make(spec.method, spec.params).wants_strong for spec in active)
        views = weak + sum(mixed.values()) + strong
        seconds += images * cost(first, first.teacher).image * views
    for spec in active:
        own = cost(spec, spec.student)
        steps = images / spec.batch_size
        seconds += steps * own.step * (1 + (spec.mixing.rate if spec.mixing else 0)) + facts.test_size * own.image
    return seconds


@dataclass(frozen=True)
class Simulation:
    """What becomes of jobs that are handed out as a sweep does it.

    seconds: from the first job's start to the last one's end. busy: the share of all devices' time that is trained in.
    path: the jobs of which each waited for the one before; the last one ends last. idle: seconds at the end in which
    not all devices have something to do."""

    seconds: float = 0.0
    busy: float = 1.0
    path: tuple[PlannedJob, ...] = ()
    idle: float = 0.0


def longest_first(jobs: Iterable[PlannedJob], seconds: Mapping[str, float]) -> tuple[PlannedJob, ...]:
    """The jobs in the order in which they should start: that of the longest way to the end, students behind their
    teacher included. What is timed comes last, for it runs alone."""
    jobs = list(jobs)
    by_need: dict[str, list[PlannedJob]] = defaultdict(list)
    for job in jobs:
        for need in job.needs:
            by_need[need].append(job)
    ways: dict[str, float] = {}

    def way(job: PlannedJob) -> float:
        if job.key not in ways:
            behind = {other.key: other for spec in job.specs for other in by_need.get(spec.run_id, ())}
            ways[job.key] = seconds[job.key] + max(map(way, behind.values()), default=0.0)
        return ways[job.key]

    return tuple(sorted(jobs, key=lambda job: (job.kind is JobKind.TIMING, -way(job))))


def simulate(plan: Plan, seconds: Mapping[str, float], resources: Resources, at_once: int) -> Simulation:
    """A plan on `at_once` devices (or shares of them). No job takes more of them than there are.

    seconds: of one device, by job."""
    queue, devices = JobQueue(plan), {job.key: resources.devices(job.specs) for job in plan.jobs}
    now, free, working, first_idle = 0.0, at_once, 0.0, 0.0
    running = list[tuple[float, int, PlannedJob]]()
    before: dict[str, PlannedJob | None] = {}
    ended: PlannedJob | None = None

    def fits(job: PlannedJob) -> bool:
        return devices[job.key] <= free

    while True:
        while (job := queue.take(fits)) is not None:
            took = seconds[job.key] / resources.speed(job.specs)
            heapq.heappush(running, (now + took, len(before), job))
            before[job.key], free, working = ended, free - devices[job.key], working + took * devices[job.key]
        if free == 0:
            first_idle = running[0][0]
        if not running:
            break
        now, _, ended = heapq.heappop(running)
        free += devices[ended.key]
        for spec in ended.specs:
            queue.mark_done(spec.run_id)
        queue.close_job(ended, None)
    path = [ended] if ended is not None else []
    while path and (earlier := before[path[-1].key]) is not None:
        path.append(earlier)
    busy = working / (at_once * now) if now else 1.0
    return Simulation(now, busy, tuple(reversed(path)), now - first_idle)


def wall_seconds(plan: Plan, seconds: Mapping[str, float], resources: Resources, at_once: int) -> float:
    """From the command to its end."""
    return START_SECONDS + simulate(plan, seconds, resources, at_once).seconds

"""What a plan costs: device-hours from past runs, else from a few measured steps of each network; and disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from sweeps.planning.durations import (
    Cost,
    CostOf,
    Price,
    Simulation,
    job_seconds,
    longest_first,
    seconds_by_job,
    simulate,
)
from sweeps.planning.images import count_images
from sweeps.planning.kept_costs import costs_file, read_costs, read_start
from sweeps.planning.measuring import LEAST_SECONDS, Work, asked_work, list_tasks, measure_costs, student_work
from sweeps.planning.past_runs import NO_RUNS, PastRuns
from sweeps.planning.plan import Plan, PlannedJob
from sweeps.planning.resources import Resources
from sweeps.planning.teacher_caches import TeacherCaches
from trainables.commands import count
from trainables.cores import cores_here
from trainables.spec import RunSpec

SECONDS = 60.0
RECORD_BYTES = 100_000
"""A run's result, curve and row in the ledger, about."""


@dataclass(frozen=True)
class CostEstimate:
    """device_hours: one GPU's, or those of one job's processor cores. hours: from the command to its end.

    sources: where device_hours are known from, in words, and how many of them. seconds: of one device, by job.
    schedule: how the jobs follow each other, the longest first. price: seconds of one device for some runs of a job."""

    device_hours: float
    hours: float
    disk_bytes: int
    device: str
    sources: Mapping[str, float]
    seconds: Mapping[str, float] = field(default_factory=dict)
    schedule: Simulation = field(default_factory=Simulation)
    price: Price = field(default=lambda job, specs: 0.0, compare=False)

    @property
    def how(self) -> str:
        return "; ".join(self.sources)


NO_CACHES = TeacherCaches()
NOTHING = CostEstimate(0.0, 0.0, 0, "", {"nothing is left to train": 0.0})


@dataclass(frozen=True)
class _Here:
    """How steps are measured on this machine: on a device and threads, beside busy cores; the file of what is known."""

    device: str
    threads: int
    busy: int
    kept: Path

    @property
    def words(self) -> str:
        steps = "a few steps" if self.device == "cuda" else f"a few steps on {count(self.threads, 'thread')}"
        return steps + (f", {count(self.busy, 'other core')} busy," if self.busy else "")


def _here(jobs: Sequence[PlannedJob], resources: Resources, device: str, at_once: int) -> _Here:
    threads = min(resources.cpus_per_job, cores_here())
    quiet = device == "cuda" or resources.gpus or threads > 1
    busy = 0 if quiet else min(at_once, cores_here(), sum(resources.devices(job.specs) for job in jobs)) - 1
    return _Here(device, threads, busy, costs_file(device_name(device), threads))


def estimate(
    plan: Plan,
    data_dir: Path | None,
    resources: Resources,
    *,
    device: str,
    at_once: int,
    seconds: float = SECONDS,
    caches: TeacherCaches = NO_CACHES,
    past: PastRuns = NO_RUNS,
    remark: str = "",
    tell: Callable[[str], None] = lambda line: None,
) -> CostEstimate:
    """The cost of a plan's jobs on `at_once` devices (or shares of them): from `past` runs, else from steps that were
    measured on this machine's `device` earlier, or are measured now.

    The disk is that of the runs, without their teachers' `caches`, which spare time. tell: is told in one line, before,
    what is measured and how long that takes. remark: said behind what was measured."""
    if not plan.jobs:
        return NOTHING
    here = _here(plan.jobs, resources, device, at_once)
    known = past.seconds_by_job(plan.jobs, caches.spared)
    others = [job for job in plan.jobs if job.key not in known]
    specs = [spec for job in others for spec in job.specs]
    kept = read_costs(here.kept)
    found = {task.work: task.find(kept) for task in list_tasks(specs, data_dir, here.busy)}
    costs = {work: cost for work, cost in found.items() if cost is not None}
    if missing := len(found) - len(costs):
        tell(
            f"measuring a few steps of {count(missing, 'network')} and losses to estimate the cost: up to about "
            f"{max(seconds, missing * LEAST_SECONDS):.0f} s on a quiet machine"
        )
    began = time.perf_counter()
    if missing:
        costs = measure_costs(specs, data_dir, device, here.threads, here.busy, seconds, here.kept)
    took = f"{time.perf_counter() - began:.0f} s"
    by_job = known | seconds_by_job(others, costs_of(costs), data_dir, caches.spared)
    sources = {past.words(known, plan.jobs, caches.spared): sum(known.values()) / 3600} if known else {}
    for day in sorted({_day(job, costs) for job in others}):
        some = [job for job in others if _day(job, costs) == day]
        words = _measured(some, costs, here.words, f"measured on {day}" if day else took)
        sources[words + remark] = sum(by_job[job.key] for job in some) / 3600

    def price(job: PlannedJob, specs: Sequence[RunSpec]) -> float:
        if job.key in known or len(specs) == len(job.specs):
            return by_job[job.key] * len(specs) / len(job.specs)
        some, whole = (
            job_seconds(each, costs_of(costs), count_images(each[0], data_dir)) for each in (specs, job.specs)
        )
        return by_job[job.key] * some / whole

    weights = {
        job: [past.bytes[spec.student] if job.key in known else costs[student_work(spec)].bytes for spec in job.specs]
        for job in plan.jobs
    }
    schedule = simulate(replace(plan, jobs=longest_first(plan.jobs, by_job)), by_job, resources, at_once)
    under_way = at_once // min(resources.devices(job.specs) for job in plan.jobs)
    return CostEstimate(
        device_hours=sum(by_job.values()) / 3600,
        hours=(read_start() + schedule.seconds) / 3600,
        disk_bytes=_disk_bytes(weights, under_way),
        device=device_name(device),
        sources=sources,
        seconds=by_job,
        schedule=schedule,
        price=price,
    )


def known_seconds(
    plan: Plan,
    data_dir: Path | None,
    resources: Resources,
    *,
    device: str,
    at_once: int,
    caches: TeacherCaches = NO_CACHES,
    past: PastRuns = NO_RUNS,
) -> dict[str, float]:
    """Of each job whose length past runs or kept measurements tell; nothing is measured."""
    here = _here(plan.jobs, resources, device, at_once)
    known = past.seconds_by_job(plan.jobs, caches.spared)
    others = [job for job in plan.jobs if job.key not in known]
    kept = read_costs(here.kept)
    tasks = list_tasks([spec for job in others for spec in job.specs], data_dir, here.busy)
    costs = {task.work: cost for task in tasks if (cost := task.find(kept)) is not None}
    told = [job for job in others if all(work in costs for work in _works(job))]
    return known | seconds_by_job(told, costs_of(costs), data_dir, caches.spared)


def costs_of(costs: Mapping[Work, Cost]) -> CostOf:
    """The cost of a network within a run."""
    return lambda spec, network: costs[student_work(spec) if network == spec.student else asked_work(spec)]


def _works(job: PlannedJob) -> set[Work]:
    """Those that decide how long a job takes."""
    taught = {asked_work(spec) for spec in job.specs if spec.teacher is not None}
    return taught | {student_work(spec) for spec in job.specs}


def _day(job: PlannedJob, costs: Mapping[Work, Cost]) -> str:
    """When its costs were measured: on one day, or in part now (empty)."""
    return min(costs[work].day for work in _works(job))


def _measured(jobs: Iterable[PlannedJob], costs: Mapping[Work, Cost], steps: str, when: str) -> str:
    works = set().union(*(_works(job) for job in jobs))
    once = sum(costs[work].once for work in works)
    hurried = f", {once} of {len(works)} networks and losses by one step each" if once else ""
    networks = count(len({work.network for work in works}), "network")
    return f"from {steps} of {networks} on random images, {when}{hurried}"


def _disk_bytes(jobs: Mapping[PlannedJob, Sequence[int]], under_way: int) -> int:
    """All weights; of those under way momentum too, and both of the epoch before. jobs: bytes of their weights."""
    sizes = sorted((4 * sum(weights) for weights in jobs.values()), reverse=True)
    return sum(size + RECORD_BYTES for weights in jobs.values() for size in weights) + sum(sizes[: max(1, under_way)])


def device_name(device: str) -> str:
    import torch

    from trainables.storage.provenance import processor

    return torch.cuda.get_device_name() if device == "cuda" else processor()

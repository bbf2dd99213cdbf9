"""The estimate: its arithmetic against a plain count of every step, its measuring against a job that was run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from analysis import paper
from analysis.settings import Settings
from sweeps.estimate import NOTHING, Cost, estimate, hours_words, job_seconds, size_words
from sweeps.plan import Plan, PlannedJob, make_plan
from trainables.data.facts import Facts, facts
from trainables.job import Place, run
from trainables.runs import weights_path
from trainables.spec import RunSpec

FACTS = Facts(10, 16, (64,) * 10, 100)
COSTS = {"resnet8": Cost(0.010, 0.0001, 1000), "resnet20": Cost(0.050, 0.0004, 4000)}


def cost(spec: RunSpec, network: str) -> Cost:
    return COSTS[network]


def planned(table: str, **settings: object) -> Plan:
    fields = {"dataset": "digits", "seeds": 1, "pairs": ("resnet20/resnet8",)} | settings
    return make_plan([paper.find(table)], Settings(**fields), {}, pack=None)  # type: ignore[arg-type]


def counted(specs: Sequence[RunSpec], shared: bool) -> float:
    """Step by step: what is computed once is put into a set."""
    seconds = 0.0
    for epoch in range(1, max(spec.epochs for spec in specs) + 1):
        asked: set[object] = set()
        for spec in (spec for spec in specs if spec.epochs >= epoch):
            own = COSTS[spec.student]
            for _ in range(FACTS.train_size // spec.batch_size):
                seconds += own.step + (own.step * spec.mixing.rate if spec.mixing else 0)
            seconds += FACTS.test_size * own.image
            if spec.teacher:
                views = {None, spec.mixing}
                fresh = views - asked if shared else views
                asked |= views
                rates = [view.rate if view else 1.0 for view in fresh]  # type: ignore[attr-defined]
                seconds += FACTS.train_size * COSTS[spec.teacher].image * sum(rates)
    return seconds


@pytest.mark.parametrize("table", ["table5", "table4", "table13", "table7", "figure3"])
def test_a_job_costs_what_its_steps_cost(table: str) -> None:
    for job in planned(table).jobs:
        expected = counted(job.specs, shared=not job.specs[0].timing)
        assert job_seconds(job.specs, cost, FACTS) == pytest.approx(expected)


def test_students_of_different_length_cost_their_own_epochs() -> None:
    job = next(job for job in planned("table5").jobs if job.kind == "distilled")
    specs = [replace(spec, epochs=3 + 2 * (number % 3)) for number, spec in enumerate(job.specs)]
    assert job_seconds(specs, cost, FACTS) == pytest.approx(counted(specs, shared=True))


def test_sharing_a_teacher_is_cheaper_than_training_alone() -> None:
    job = next(job for job in planned("table5").jobs if job.kind == "distilled")
    alone = sum(job_seconds([spec], cost, FACTS) for spec in job.specs)
    assert job_seconds(job.specs, cost, FACTS) < alone


def only(plan: Plan, *jobs: PlannedJob) -> Plan:
    return replace(plan, jobs=jobs)


def test_nothing_to_train_costs_nothing() -> None:
    assert estimate(only(planned("table5")), lambda spec: FACTS, device="cpu", threads=1, at_once=1) == NOTHING


def test_the_estimate_is_near_what_a_job_takes(tmp_path: Path) -> None:
    """In processor time, which others on the machine hardly change."""
    plan = planned("table5", epochs=2, pairs=("resnet8/resnet8",))
    teacher, *_ = plan.jobs
    about = facts("digits", None)
    found = estimate(only(plan, teacher), lambda spec: about, device="cpu", threads=1, at_once=1, seconds=3)
    place = Place(tmp_path, threads=1)
    for _ in run([replace(teacher.specs[0], epochs=1)], place):
        pass
    began = time.process_time()
    for _ in run(teacher.specs, place):
        pass
    took = time.process_time() - began
    assert 0.4 * took < found.device_hours * 3600 < 2.5 * took
    stored = weights_path(tmp_path, teacher.specs[0].run_id).stat().st_size
    assert found.disk_bytes == pytest.approx(3 * stored, rel=0.5)


def test_measuring_keeps_to_its_time_and_leaves_the_threads_as_they_were() -> None:
    threads = torch.get_num_threads()
    plan = planned("table5", dataset="cifar100", pairs=("resnet32x4/vgg8",))
    began = time.process_time()
    found = estimate(plan, lambda spec: facts(spec.dataset, None), device="cpu", threads=1, at_once=2, seconds=2)
    assert time.process_time() - began < 12
    assert torch.get_num_threads() == threads
    assert found.device_hours > 10
    assert "2 networks" in found.how


@pytest.mark.parametrize(
    ("hours", "words"), [(0.001, "4 s"), (0.5, "30 min"), (2.25, "2.2 h"), (312.4, "312 h"), (51085.2, "51,085 h")]
)
def test_hours_in_words(hours: float, words: str) -> None:
    assert hours_words(hours) == words


@pytest.mark.parametrize(("count", "words"), [(1500, "2 kB"), (1_476_295_696, "1.5 GB"), (36_988_720, "37 MB")])
def test_sizes_in_words(count: int, words: str) -> None:
    assert size_words(count) == words

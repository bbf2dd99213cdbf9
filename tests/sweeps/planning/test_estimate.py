"""The estimate: its arithmetic against a plain count of every step, its measuring against a job that was run."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from plans import plan_of

from analysis import paper
from analysis.record.settings import Settings
from sweeps.display.words import hours_words, size_words
from sweeps.planning import estimate as estimate_module
from sweeps.planning import images, measuring
from sweeps.planning.background_load import keep_busy
from sweeps.planning.durations import START_SECONDS, Cost, job_seconds, seconds_by_job, wall_seconds
from sweeps.planning.estimate import NOTHING, estimate
from sweeps.planning.measuring import _first
from sweeps.planning.plan import JobKind, Plan, PlannedJob, job_of
from sweeps.planning.resources import Resources
from trainables.data.counts import ImageCounts
from trainables.data.dataset import Dataset
from trainables.job import Execution, run
from trainables.models import build
from trainables.spec import RunSpec
from trainables.storage.runs import weights_path

CPU = Resources(0)
FACTS = ImageCounts(10, 16, (64,) * 10, 100)
COSTS = {"resnet8": Cost(0.010, 0.0001, 1000), "resnet20": Cost(0.050, 0.0004, 4000)}


def cost(spec: RunSpec, network: str) -> Cost:
    return COSTS[network]


def planned(table: str, **settings: object) -> Plan:
    fields = {"dataset": "digits", "seeds": 1, "pairs": ("resnet20/resnet8",)} | settings
    return plan_of([paper.find(table)], Settings(**fields), {}, pack=None)  # type: ignore[arg-type]


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


def test_each_seed_asks_the_teacher_about_its_training_images_the_first_about_the_test_images_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """For the thresholds, and for the teacher's accuracy. A cache spares epochs, not these."""
    monkeypatch.setattr(images, "_count", lambda *fields: FACTS)
    plan = planned("table5", seeds=2)
    plain = {job.key: job_seconds(job.specs, cost, FACTS) for job in plan.jobs}
    first, second = (job for job in plan.jobs if job.kind == "distilled")
    found = seconds_by_job(plan.jobs, cost, None, {second.key: 3})
    image = COSTS["resnet20"].image
    expected = plain | {
        first.key: plain[first.key] + (FACTS.train_size + FACTS.test_size) * image,
        second.key: plain[second.key] + FACTS.train_size * image - 3 * FACTS.train_size * image,
    }
    assert found == pytest.approx(expected)


def test_start_to_end_is_what_the_feed_hands_out() -> None:
    plan = planned("table5", seeds=2)
    teacher, *rest = plan.jobs
    distilled = [job for job in rest if job.kind == "distilled"]
    assert [len(distilled), len(rest)] == [2, 4]
    seconds = {teacher.key: 100.0} | {job.key: 30.0 if job in distilled else 20.0 for job in rest}
    start = START_SECONDS
    assert wall_seconds(plan, seconds, CPU, 1) == start + 200
    # The untaught students train beside the teacher, then the taught ones beside each other.
    assert wall_seconds(plan, seconds, CPU, 2) == wall_seconds(plan, seconds, CPU, 50) == start + 130
    # Of three taught ones, the last has the devices for itself.
    more = planned("table5", seeds=3)
    seconds = {job.key: {"teacher": 100.0, "distilled": 30.0, "vanilla": 20.0}[job.kind] for job in more.jobs}
    assert wall_seconds(more, seconds, CPU, 2) == start + 160


def test_what_is_timed_runs_alone() -> None:
    plan = planned("table7", seeds=2)
    teacher, timed = ([job for job in plan.jobs if job.kind == kind] for kind in ("teacher", "timing"))
    assert (len(teacher), len(timed)) == (1, 2)
    others = [replace(job, kind=JobKind.VANILLA, needs=frozenset()) for job in planned("table5", seeds=3).jobs[-3:]]
    jobs = (*teacher, *timed, *others)
    seconds = {job.key: 10.0 for job in jobs}
    assert wall_seconds(only(plan, *jobs), seconds, CPU, 50) == START_SECONDS + 10 + 2 * 10


@pytest.mark.parametrize(
    ("gpus", "share", "expected"),
    [(8, 4, 60 / 4 * 2), (4, 4, 60 / 4 * 3), (8, 1, 60), (2, 0.5, 60 * 2), (2, 0.4, 60 * 2), (3, 0.7, 60)],
)
def test_jobs_of_several_devices_and_shares_of_one(gpus: int, share: float, expected: float) -> None:
    """Three teachers of ImageNet: two fit on eight GPUs with four each; on two shared ones, each has half of one."""
    vanilla = planned("table5").jobs[-1].specs[0]
    large = [replace(vanilla, dataset="imagenet", seed=seed, augmentation="none") for seed in (1, 2, 3)]
    plan = only(planned("table5"), *(job_of(JobKind.VANILLA, [spec]) for spec in large))
    resources = Resources(gpus, gpus_per_job=share)
    seconds = {job.key: 60.0 for job in plan.jobs}
    took = wall_seconds(plan, seconds, resources, resources.devices_at_once(cpus=4))
    assert took == pytest.approx(START_SECONDS + expected)


@given(st.integers(1, 6), st.data())
def test_start_to_end_lies_between_sharing_perfectly_and_not_at_all(at_once: int, data: st.DataObject) -> None:
    plan = planned("table5", seeds=3)
    seconds = {job.key: data.draw(st.floats(0, 1000)) for job in plan.jobs}
    total = sum(seconds.values())
    teacher = seconds[plan.jobs[0].key]
    path = teacher + max(seconds[job.key] for job in plan.jobs if job.needs)
    took = wall_seconds(plan, seconds, CPU, at_once) - START_SECONDS
    assert max(total / at_once, path) <= took * (1 + 1e-9) + 1e-9
    assert took <= total * (1 + 1e-9) + 1e-9


def only(plan: Plan, *jobs: PlannedJob) -> Plan:
    return replace(plan, jobs=jobs)


def test_nothing_to_train_costs_nothing() -> None:
    assert estimate(only(planned("table5")), None, CPU, device="cpu", at_once=1) == NOTHING


@pytest.mark.medium
def test_the_estimate_is_near_what_a_job_takes(tmp_path: Path) -> None:
    """In processor time, which others on the machine hardly change."""
    plan = planned("table5", epochs=2, pairs=("resnet8/resnet8",))
    teacher, *_ = plan.jobs
    found = estimate(only(plan, teacher), None, CPU, device="cpu", at_once=1, seconds=1)
    execution = Execution(tmp_path, threads=1)
    for _ in run([replace(teacher.specs[0], epochs=1)], execution):
        pass
    began = time.process_time()
    for _ in run(teacher.specs, execution):
        pass
    took = time.process_time() - began
    assert 0.4 * took < found.device_hours * 3600 < 2.5 * took
    stored = weights_path(tmp_path, teacher.specs[0].run_id).stat().st_size
    assert found.disk_bytes == pytest.approx(5 * stored, rel=0.5)


def test_no_more_images_are_measured_than_there_are() -> None:
    plan = planned("table5", pairs=("resnet8/resnet8",), rows=("kd",), epochs=1, train_fraction=0.2, batch_size=10**9)
    whole = planned("table5", pairs=("resnet8/resnet8",), rows=("kd",), epochs=1, train_fraction=0.2, batch_size=287)
    found, usual = (estimate(each, None, CPU, device="cpu", at_once=1, seconds=0) for each in (plan, whole))
    assert found.device_hours == pytest.approx(usual.device_hours, rel=3)


def test_measuring_keeps_to_its_time_and_leaves_the_threads_as_they_were() -> None:
    threads = torch.get_num_threads()
    plan = planned("table5", dataset="cifar100", pairs=("resnet20/resnet8",))
    began = time.process_time()
    found = estimate(plan, None, CPU, device="cpu", at_once=2, seconds=1)
    assert time.process_time() - began < 6
    assert torch.get_num_threads() == threads
    assert found.device_hours > 10
    assert "2 networks" in found.how


def test_other_cores_are_busy_while_measuring_and_idle_after() -> None:
    before = threading.active_count()
    with keep_busy(2):
        assert threading.active_count() == before + 2
        began = time.process_time(), time.thread_time()
        time.sleep(0.5)
        busy = time.process_time() - began[0]
        assert busy > 3 * (time.thread_time() - began[1])
    assert threading.active_count() == before


@pytest.mark.medium
@pytest.mark.parametrize(
    ("tables", "resources", "expected"),
    [
        (("table5",), Resources(0), {1}),
        (("table5", "table7"), Resources(0), {1}),
        (("table7", "table5"), Resources(0), {1}),
        (("table7",), Resources(0), {0, 1}),
        (("table5",), Resources(0, cpus_per_job=2), {0}),
        (("table5",), Resources(8), {0}),
    ],
)
def test_who_has_company_while_measured(
    tables: tuple[str, ...], resources: Resources, expected: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two devices; the teacher of what is timed trains beside others, its students alone."""
    counts: set[int] = set()
    monkeypatch.setattr(measuring, "keep_busy", lambda count: counts.add(count) or contextlib.nullcontext())
    monkeypatch.setattr(estimate_module, "cores_here", lambda: 4)
    settings = Settings(dataset="digits", seeds=1, pairs=("resnet20/resnet8",))
    plan = plan_of([paper.find(table) for table in tables], settings, {}, pack=None)
    estimate(plan, None, resources, device="cpu", at_once=2, seconds=0)
    assert counts == expected


def test_modules_may_be_traced_meanwhile() -> None:
    network = build("resnet8", 10).eval()
    with keep_busy(1):
        for _ in range(5):
            torch.fx.symbolic_trace(network)


@pytest.mark.medium
def test_where_the_time_is_over_each_is_measured_once_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, told = planned("table5", rows=("kd",)), list[str]()
    for seconds, words in ((0.0, ", 2 of 2 networks and losses by one step each"), (100.0, " s")):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / words))
        found = estimate(plan, None, CPU, device="cpu", at_once=1, seconds=seconds, tell=told.append)
        assert found.how.endswith(words)
    assert all(line.startswith("measuring a few steps of 2 networks and losses") for line in told)
    assert [line.partition(": up to about ")[2] for line in told] == [
        "1 s on a quiet machine",
        "100 s on a quiet machine",
    ]


def test_data_sets_of_one_kind_are_measured_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """CIFAR-100 and its long tail; not TinyImageNet, whose images are larger."""
    measured = []

    def measuring(spec: RunSpec, *_: object, **__: object) -> Cost:
        measured.append((spec.dataset, spec.student))
        return Cost(1.0, 0.01, 100)

    monkeypatch.setattr("sweeps.planning.measuring._cost", measuring)
    plans = [
        planned("table5", rows=("kd",), pairs=("vgg13/vgg8",), dataset=dataset)
        for dataset in ("cifar100", "cifar100_lt", "tinyimagenet")
    ]
    plan = only(plans[0], *dict.fromkeys(job for one in plans for job in one.jobs))
    estimate(plan, None, CPU, device="cpu", at_once=1)
    both = [(d, n) for d in ("cifar100", "tinyimagenet") for n in ("vgg13", "vgg8")]
    assert sorted(measured) == sorted(both)


def test_a_teacher_is_asked_about_the_measured_steps_alone(digits: Dataset) -> None:
    stream = digits.stream(seed=1, batch_size=8, augmentation="crop")
    whole = next(stream.epoch(1))
    first = _first(whole, 2)
    assert (len(whole.images), len(first.images), first.bounds, first.sizes) == (64, 16, (0, 8, 16), (8, 8))
    for name in ("images", "pixels", "labels", "index", "step", "mixing"):
        assert torch.equal(getattr(first, name), getattr(whole, name)[:16])


@pytest.mark.parametrize(
    ("hours", "words"), [(0.001, "4 s"), (0.5, "30 min"), (2.25, "2.2 h"), (312.4, "312 h"), (51085.2, "51,085 h")]
)
def test_hours_in_words(hours: float, words: str) -> None:
    assert hours_words(hours) == words


@pytest.mark.parametrize(("count", "words"), [(1500, "2 kB"), (1_476_295_696, "1.5 GB"), (36_988_720, "37 MB")])
def test_sizes_in_words(count: int, words: str) -> None:
    assert size_words(count) == words

"""What a sweep may use: what is refused at once, and how much runs at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from plans import plan_of

from analysis import paper
from analysis.record.settings import Settings
from sweeps.planning.resources import ALL_GPUS, Resources, check_against, check_resources
from trainables.errors import UserError
from trainables.methods import whole_batches
from trainables.spec import RunSpec, params

GPU_NAMES = ["H200"] * 2


@pytest.mark.parametrize(
    ("asked", "found", "message"),
    [
        (Resources(8), [], "--gpus 8: this machine has no GPU .* --gpus 0 runs on the CPU"),
        (Resources(ALL_GPUS), [], "--gpus all: this machine has no GPU .* --gpus 0 runs on the CPU"),
        (Resources(8), GPU_NAMES, r"has 2 GPUs \(H200\); ask for 2, or run on the CPU with --gpus 0"),
        (Resources(2, gpus_per_job=1.5), GPU_NAMES, r"1.5 must be a share in \(0, 1\] or a whole number"),
        (Resources(2, gpus_per_job=4), GPU_NAMES, r"--gpus-per-job 4: the sweep has 2 GPUs"),
        (Resources(1, gpus_per_job=0), GPU_NAMES, r"--gpus-per-job 0 must be a share in \(0, 1\]"),
        (Resources(-1), GPU_NAMES, "must not be negative"),
        (Resources(0, cpus_per_job=10**6), [], "asks for 1000000 CPUs"),
        (Resources(0, cpus_per_job=0), [], "1 CPU or more"),
    ],
)
def test_impossible_requests_are_refused(
    asked: Resources, found: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.planning.resources.gpus_here", lambda: found)
    with pytest.raises(UserError, match=message):
        check_resources(asked)


@pytest.mark.parametrize(
    ("asked", "cpus", "jobs"),
    [
        (Resources(8), 4, 8),
        (Resources(1, gpus_per_job=0.1), 4, 10),
        (Resources(2, gpus_per_job=0.6), 4, 2),
        (Resources(0), 4, 4),
        (Resources(0, cpus_per_job=3), 8, 2),
    ],
)
def test_how_many_jobs_run_at_once(asked: Resources, cpus: int, jobs: int) -> None:
    assert asked.devices_at_once(cpus) == jobs


@pytest.mark.parametrize(
    ("resources", "dataset", "devices", "at_once"),
    [
        (Resources(8, gpus_per_job=4), "imagenet", 4, 8),
        (Resources(8, gpus_per_job=4), "cifar100", 1, 8),
        (Resources(2, gpus_per_job=0.5), "imagenet", 1, 4),
        (Resources(0, gpus_per_job=2, cpus_per_job=1), "imagenet", 2, 6),
    ],
)
def test_how_many_devices_a_job_takes(resources: Resources, dataset: str, devices: int, at_once: int) -> None:
    spec = RunSpec(dataset, "resnet18", 1, 1, (), 0.1)
    assert resources.devices([spec]) == devices
    assert resources.devices_at_once(cpus=6) == at_once
    assert resources.per_job(4) == {"memory": 1}
    assert resources.per_job(1)["GPU"] == (min(resources.gpus_per_job, 1) if resources.gpus else 0)


def test_runs_that_compare_samples_of_a_batch_take_one_device() -> None:
    alone = RunSpec("imagenet", "resnet18", 1, 1, (), 0.1)
    taught = {"teacher": "resnet34", "teacher_source": "run:0", "temperature": None}
    pkt = replace(alone, method="pkt", params=params(), **taught)
    resources = Resources(8, gpus_per_job=4)
    assert resources.devices([alone]) == 4
    assert resources.devices([pkt]) == resources.devices([alone, pkt]) == 1


def test_a_joined_cluster_must_have_the_processors_of_one_job() -> None:
    """Ray would wait for them for ever."""
    asked = Resources(4, gpus_per_job=4, cpus_per_job=2, address="auto")
    check_against(asked, gpus=4, cpus=8, found="")
    with pytest.raises(UserError, match="a job asks for 8 CPUs, but there are 7"):
        check_against(asked, gpus=4, cpus=7, found="")


def test_runs_that_take_another_number_of_devices_are_jobs_of_their_own() -> None:
    settings = Settings(dataset="imagenet", pairs=("imagenet_resnet34/imagenet_resnet18",), seeds=1)
    tables = [paper.find("table1"), paper.find("table5")]
    jobs = [
        job for job in plan_of(tables, settings, {}, pack=None, apart=whole_batches).jobs if job.kind == "distilled"
    ]
    assert [len({whole_batches(spec) for spec in job.specs}) for job in jobs] == [1] * len(jobs)
    whole = {spec.method for job in jobs for spec in job.specs if whole_batches(spec) and spec.mixing is None}
    assert whole == {"pkt", "rkd", "crd", "ofd", "multi"}

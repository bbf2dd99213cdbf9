"""What the engine refuses, tells or leaves without starting Ray."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fake_job import spec
from test_engine import job, plan, sweep

from sweeps.planning.job_queue import Outcome
from sweeps.planning.plan import JobKind, Plan
from sweeps.planning.resources import Resources
from sweeps.running import engine
from sweeps.running.engine import write_jobs
from trainables.errors import UserError
from trainables.ray_trial import memory_was_full
from trainables.storage.job_file import Execution, read_job


def test_a_plan_without_jobs_needs_no_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeps.running.engine.start_ray", None)
    done = spec()
    known = Plan({JobKind.VANILLA: {done.run_id: done}}, done=frozenset({done.run_id}))
    assert sweep(tmp_path, known).outcome == Outcome(frozenset({done.run_id}))


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:1", "no Ray cluster answers at 127.0.0.1:1"),
        ("somewhere", "should be HOST:PORT"),
        ("ray://127.0.0.1:10001", "give HOST:PORT"),
    ],
)
def test_a_cluster_that_cannot_be_joined_is_told_at_once(tmp_path: Path, address: str, message: str) -> None:
    started = time.monotonic()
    with pytest.raises(UserError, match=message):
        sweep(tmp_path, plan(job(spec())), Resources(0, address=address))
    assert time.monotonic() - started < 10


def failed(error: Exception, cause: Exception | None = None) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (failed(RuntimeError("capture ended"), torch.OutOfMemoryError("CUDA out of memory.")), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."), False),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (OSError(28, "out of memory"), False),
        (UserError("out of memory"), False),
    ],
)
def test_a_full_gpu_is_told_from_other_errors(error: Exception, full: bool) -> None:
    assert memory_was_full(error) == full


def test_a_job_of_a_sweep_is_a_file_that_trains_without_ray(tmp_path: Path) -> None:
    execution, one = Execution(tmp_path, threads=1), job(spec("net"))
    write_jobs(execution, plan(one))
    assert read_job(tmp_path / "jobs" / f"{one.key}.json") == ([spec("net")], execution)


def test_a_gpu_without_bfloat16_is_told_before_ray_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "check_resources", lambda resources: None)
    monkeypatch.setattr(engine, "start_ray", lambda *_, **__: pytest.fail("Ray was started"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
    with pytest.raises(UserError, match="Tesla T4 does not compute in bfloat16"):
        sweep(tmp_path, plan(job(replace(spec(), precision="bf16"))), Resources(1))

"""A job as a Ray Tune trial: the only file of this package that knows Ray."""

from __future__ import annotations

import functools
import gc
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import ray.train
import torch
from ray import tune
from ray.exceptions import RayActorError
from ray.train import FailureConfig, RunConfig, ScalingConfig, WorkerGroupError
from ray.train.torch import TorchConfig, TorchTrainer
from ray.tune.integration.ray_train import TuneReportCallback

from trainables import time_limits
from trainables.additions import with_place
from trainables.data.loader import share_cores
from trainables.error_texts import DEVICE_MEMORY_FULL, PEER_LOST
from trainables.errors import UserError, causes, describe_failure
from trainables.job import EpochReport, Execution, load_data
from trainables.spec import RunSpec
from trainables.storage.runs import read_result
from trainables.storage.stopping import is_stopped
from trainables.used_files import use_shared

Train = Callable[..., Iterator[EpochReport]]
"""Trains runs with an execution, as `job.run` does."""

EXPERIMENT = "sweep-"
"""What the names of all folders begin with that Ray writes below results/tune. The next sweep removes them."""
LONGEST_REASON = 300


class TrialError(Exception):
    """Why a job ended in this process, in one line, and the id of the Ray node that it ran on."""

    def __init__(self, reason: str, node: str) -> None:
        super().__init__(reason, node)
        self.reason, self.node = reason, node


class JobFailedError(TrialError):
    """The job raised an error, and would raise it again."""


class MemoryFullError(TrialError):
    """A GPU's memory was full, perhaps of what others keep there."""


class ProcessDiedError(TrialError):
    """One of the processes that train a job together was killed."""


class UnfitMachineError(TrialError):
    """The machine lacks what all machines must have."""


@dataclass(frozen=True)
class CheckedMachines:
    """What is known of the machines of a joined cluster when the first job starts.

    mark: a file that the driver made in the results folder.
    nodes: ids of the Ray nodes that see it and have the data; others have joined later.
    """

    mark: Path
    nodes: frozenset[str]


def make_trial(
    execution: Execution, train: Train, machines: CheckedMachines | None = None
) -> Callable[[dict[str, Any]], None]:
    """A function for Tune that trains `config["runs"]` on `config["devices"]` devices.

    It reports {"report": EpochReport} every epoch, and raises a TrialError when the job fails: Tune then replaces the
    process, for after an error of the device nothing else could be trained in it.
    config["selector"]: labels of the Ray nodes that the processes of several devices may be on.
    """

    def train_job(config: dict[str, Any]) -> None:
        specs, devices = config["runs"], config["devices"]
        _keep_modules()
        try:
            _prepare(execution, specs, machines)
            if devices == 1:
                _report(_train_unended(specs, execution, train), specs)
            else:
                _train_on_several(specs, execution, train, machines, devices, config["selector"])
        except TrialError:
            raise
        except Exception as error:
            kind = MemoryFullError if memory_was_full(error) else JobFailedError
            raise kind(describe_error(error), _node()) from error
        finally:
            gc.collect()
            if torch.cuda.is_initialized():
                torch.cuda.empty_cache()

    return train_job


def _prepare(execution: Execution, specs: Sequence[RunSpec], machines: CheckedMachines | None) -> None:
    """Make this process ready to train; refuse a machine that joined later and lacks what the others have."""
    _end_with_parent()
    use_shared(execution.used)
    if machines is not None and _node() not in machines.nodes:
        why = find_fault(execution, specs, machines.mark)
        if why is not None:
            raise UnfitMachineError(why, _node())
    share_cores(_count_devices())


def _report(reports: Iterator[EpochReport], specs: Sequence[RunSpec]) -> None:
    """Report to Tune. "done" in the last report saves the fifth of a second that Tune waits to see the job's end."""
    left = {spec.run_id for spec in specs}
    for report in reports:
        left -= {*report.finished, *report.failed, *report.stopped}
        if left:
            tune.report({"report": report})
        else:
            # Tune may end the process after "done": the job must have ended before.
            *others, last = report, *reports
            for other in others:
                tune.report({"report": other})
            tune.report({"report": last, "done": True})


def find_fault(execution: Execution, specs: Sequence[RunSpec], mark: Path) -> str | None:
    """Why this machine could not train the runs, or None. mark: a file that the driver made in the results folder."""
    try:
        if not mark.exists() or not os.access(execution.results, os.W_OK):
            what = "not writable" if mark.exists() else "another folder, or none,"
            return f"{execution.results} is {what} here: --results must be shared by all machines"
        for _, path in execution.teachers:
            if not os.access(path, os.R_OK):
                return f"the teacher {path} cannot be read here: it must be in a folder that all machines share"
        for spec in {spec.dataset: spec for spec in specs}.values():
            load_data(spec, replace(execution, device="cpu"))
    except UserError as error:
        return describe_error(error)
    return None


def _train_on_several(
    specs: Sequence[RunSpec],
    execution: Execution,
    train: Train,
    machines: CheckedMachines | None,
    devices: int,
    selector: dict[str, str] | None,
) -> None:
    """Ray Train starts one process a device, which train the runs together; the first one's reports come here.

    The processes end by themselves when the runs do: Tune stops no such trial, which would leave their reservations.
    """

    def train_share() -> None:
        _prepare(execution, specs, machines)
        for report in _train_unended(specs, execution, train):
            ray.train.report({"report": report})

    gpu = {"GPU": 1} if execution.device == "cuda" else {}
    trainer = TorchTrainer(
        train_share,
        torch_config=TorchConfig(timeout_s=time_limits.COLLECTIVE),
        scaling_config=cast(Any, ScalingConfig)(
            num_workers=devices,
            use_gpu=bool(gpu),
            resources_per_worker={"CPU": max(1, execution.threads)} | gpu,
            label_selector=selector,
        ),
        run_config=RunConfig(
            name=f"{EXPERIMENT}train-{tune.get_context().get_trial_id()}",
            storage_path=str(execution.results / "tune"),
            failure_config=FailureConfig(max_failures=0),
            callbacks=[cast(Any, TuneReportCallback())],
        ),
    )
    try:
        trainer.fit()
    except WorkerGroupError as error:
        raise find_cause(error.worker_failures) from error


def find_cause(failures: Mapping[int, Exception]) -> Exception:
    """Of the errors of several processes, by rank, the one that brought about the others: a death, then a refusal,
    then what is no broken connection."""
    for rank, error in failures.items():
        if isinstance(getattr(error, "health_check_failure", error), RayActorError):
            return ProcessDiedError(f"process {rank} of {1 + max(failures)} or more was killed", _node())
    refusals = (TrialError, UserError)
    return min(failures.items(), key=lambda each: (not isinstance(each[1], refusals), lost_peer(each[1]), each[0]))[1]


def lost_peer(error: Exception) -> bool:
    """Whether an error says no more than that another process has gone."""
    in_words = isinstance(error, RuntimeError) and PEER_LOST.search(str(error)) is not None
    return in_words or isinstance(error, torch.distributed.DistError)


def memory_was_full(error: BaseException) -> bool:
    """Whether a GPU's memory was: torch's allocator says so by type, CUDA, cuBLAS and NCCL in words."""
    return any(
        isinstance(one, torch.OutOfMemoryError)
        or (isinstance(one, RuntimeError) and DEVICE_MEMORY_FULL.search(str(one)) is not None)
        for one in causes(error)
    )


def _train_unended(specs: Sequence[RunSpec], execution: Execution, train: Train) -> Iterator[EpochReport]:
    """Train all but the runs that failed in this job, or were stopped, before its process died."""
    results = {spec.run_id: read_result(execution.results, spec.run_id) for spec in specs}
    failed = {run_id: str(r["reason"]) for run_id, r in results.items() if r and r["status"] == "failed"}
    stopped = tuple(run_id for run_id in results if is_stopped(execution.results, run_id))
    if failed or stopped:
        yield EpochReport(0, max(spec.epochs for spec in specs), failed=failed, stopped=stopped)
    rest = [spec for spec in specs if spec.run_id not in (*failed, *stopped)]
    where = _describe_place() if rest else ""
    for report in train(rest, execution) if rest else ():
        yield replace(report, where=where)


def _describe_place() -> str:
    """`machine`, `machine, GPU 0`."""
    gpus = ", ".join(map(str, ray.get_gpu_ids()))
    return socket.gethostname() + (f", GPU {gpus}" if gpus else "")


def _node() -> str:
    """The id of the Ray node that this process is on."""
    return str(ray.get_runtime_context().get_node_id())


def _count_devices() -> int:
    """How many devices (or shares of one) like this process's this machine has, by what Ray gave to each."""
    own = ray.get_runtime_context().get_assigned_resources()
    name = "GPU" if own.get("GPU") else "CPU"
    machine: list[dict[str, float]] = [node["Resources"] for node in ray.nodes() if node["NodeID"] == _node()]
    return max(1, int(machine[0].get(name, 1) / own.get(name, 1))) if machine else 1


def describe_error(error: BaseException) -> str:
    """An error in one line, with its place if that is in a module that anybody may add."""
    text = " ".join(str(error).split()) or "no message"
    line = text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"
    if isinstance(error, OSError) and error.filename is not None:
        line = describe_failure(error)
    line = line if len(line) <= LONGEST_REASON else line[: LONGEST_REASON - 3] + "..."
    return line if isinstance(error, UserError) or memory_was_full(error) else with_place(error, line)


@functools.cache
def _end_with_parent() -> None:
    """End this process when the one that started it (Ray's raylet) dies.

    Ray's own check compares the parent with process 1, and so misses it wherever orphans are given to another.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(time_limits.PARENT_LOOK)
        os._exit(1)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()


@functools.cache
def _keep_modules() -> None:
    """Exclude what is imported from the garbage collection after each job, which else takes a quarter of a second."""
    gc.collect()
    gc.freeze()

"""A job as a Ray Tune trial: the only file of this package that knows Ray."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import ray.train
import torch
from ray import tune
from ray.exceptions import RayActorError
from ray.train import FailureConfig, RunConfig, ScalingConfig, WorkerGroupError
from ray.train.torch import TorchConfig, TorchTrainer
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.logger import TBXLoggerCallback
from tensorboardX import event_file_writer  # type: ignore[import-untyped]

from trainables.data.loader import share_cores
from trainables.data.stream import Share
from trainables.errors import UserError
from trainables.job import EpochReport, Execution, load_data
from trainables.spec import RunSpec, flatten, from_json
from trainables.storage.runs import read_result
from trainables.storage.stopping import is_stopped

Train = Callable[..., Iterator[EpochReport]]
"""Trains runs, as `job.run` does."""

LONGEST_REASON = 300
COLLECTIVE_SECONDS = 24 * 3600
"""How long a device waits for another; one that dies is noticed at once, and a teacher of ImageNet takes an hour."""


class ProcessDiedError(Exception):
    """One of the processes that train a job together was killed."""


class MemoryFullError(Exception):
    """A GPU's memory was full, perhaps of what others keep there."""


def memory_was_full(error: BaseException) -> bool:
    """Whether a GPU's memory was: the allocator says so in a type of its own, cuBLAS, NCCL and the driver in words."""
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        one = left.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        words = re.search(r"out of memory|ALLOC_FAILED", str(one)) if isinstance(one, RuntimeError) else None
        if isinstance(one, torch.OutOfMemoryError) or words:
            return True
        left += [one.__cause__, one.__context__]
    return False


def trial(execution: Execution, train: Train) -> Callable[[dict[str, Any]], None]:
    """A function for Tune that trains the runs of `config["runs"]` (canonical JSON) as `execution` says.

    Every epoch it reports {"report": EpochReport}. When the job fails it reports {"error": one line} and raises, so
    that Tune replaces the process: after an error of the device nothing else could be trained in it. When one of
    several processes was killed, or a GPU's memory was full (others may share it), it only raises, and Tune starts the
    job again, as if its own process had been killed.
    """

    def train_job(config: dict[str, Any]) -> None:
        _end_with_parent()
        _keep_modules()
        specs = [from_json(text) for text in config["runs"]]
        share_cores(_count_devices_here())
        devices = config.get("devices", 1)
        try:
            _check_results(execution)
            if devices > 1:
                _train_on_several(specs, execution, train, devices)
            else:
                _report(specs, _unended(specs, execution, train))
        except ProcessDiedError:
            raise
        except Exception as error:
            if memory_was_full(error):
                raise MemoryFullError(reason(error)) from error
            tune.report({"error": reason(error)})
            raise
        finally:
            gc.collect()
            if torch.cuda.is_initialized():
                torch.cuda.empty_cache()

    return train_job


def _report(specs: Sequence[RunSpec], reports: Iterator[EpochReport]) -> None:
    """Pass the reports on. With the last one Tune learns that it is: else it would wait a fifth of a second to see."""
    left = {spec.run_id for spec in specs}
    for report in reports:
        left -= {*report.finished, *report.failed, *report.stopped}
        if left:
            tune.report({"report": report})
            continue
        later: list[EpochReport] = []
        try:
            later = list(reports)
        finally:
            *others, last = report, *later
            for other in others:
                tune.report({"report": other})
            tune.report({"report": last, "done": True})


def unfit(execution: Execution, specs: Sequence[RunSpec], mark: Path) -> str | None:
    """Why this machine could not train the runs, or None. mark: a file that the driver made in the results folder."""
    try:
        if not mark.exists() or not os.access(execution.results, os.W_OK):
            what = "not writable" if mark.exists() else "another folder, or none,"
            return f"{execution.results} is {what} here: --results must be shared by all machines"
        for _, path in execution.teachers:
            if not os.access(path, os.R_OK):
                return f"the teacher {path} cannot be read here: it must be in a folder that all machines share"
        for spec in specs:
            load_data(spec, replace(execution, device="cpu"))
    except UserError as error:
        return reason(error)
    return None


def _check_results(execution: Execution) -> None:
    """Refuse to train on a machine that joined later and does not have what the driver wrote before the first job."""
    if not (execution.results / "jobs").is_dir():
        raise UserError(f"there is no {execution.results} here: --results must be shared by all machines")


def _train_on_several(specs: Sequence[RunSpec], execution: Execution, train: Train, devices: int) -> None:
    """Ray Train starts one process a device, which train the runs together; the first one's reports come here.

    The processes end by themselves when the runs do: Tune stops no such trial, which would leave their reservations.
    """
    trainer = TorchTrainer(
        _device_loop,
        train_loop_config={"runs": specs, "execution": execution, "train": train},
        torch_config=TorchConfig(timeout_s=COLLECTIVE_SECONDS),
        scaling_config=ScalingConfig(
            num_workers=devices,
            use_gpu=execution.device == "cuda",
            resources_per_worker={"CPU": max(1, execution.threads)}
            | ({"GPU": 1} if execution.device == "cuda" else {}),
        ),
        run_config=RunConfig(
            name=f"train-{tune.get_context().get_trial_id()}",
            storage_path=str(execution.results / "tune" / "train"),
            failure_config=FailureConfig(max_failures=0),
            callbacks=[cast(Any, TuneReportCallback())],
        ),
    )
    try:
        trainer.fit()
    except WorkerGroupError as error:
        raise cause(error.worker_failures) from error


def cause(failures: Mapping[int, Exception]) -> Exception:
    """Of the errors of several processes, by rank, the one that brought about the others: a death, then a refusal,
    then what is no broken connection."""
    for rank, error in failures.items():
        if isinstance(getattr(error, "health_check_failure", error), RayActorError):
            return ProcessDiedError(f"process {rank} of {1 + max(failures)} or more was killed, or out of memory")
    return min(failures.items(), key=lambda item: (not isinstance(item[1], UserError), _broken(item[1]), item[0]))[1]


def _broken(error: Exception) -> bool:
    """Whether it says no more than that another process has gone."""
    backend = isinstance(error, torch.distributed.DistError)
    return backend or (isinstance(error, RuntimeError) and bool(re.search(r"gloo|nccl|peer|Connection", str(error))))


def _device_loop(config: dict[str, Any]) -> None:
    """What each device's process does."""
    _end_with_parent()
    context = ray.train.get_context()
    share = Share(context.get_world_rank(), context.get_world_size())
    train = functools.partial(config["train"], share=share)
    share_cores(_count_devices_here())
    for report in _unended(config["runs"], config["execution"], train):
        ray.train.report({"report": report})


def _count_devices_here() -> int:
    """How many devices (or shares of one) like this process's there are on this machine, by what Ray gave to each."""
    context = ray.get_runtime_context()
    own = context.get_assigned_resources()
    name = "GPU" if own.get("GPU") else "CPU"
    nodes = [node["Resources"] for node in ray.nodes() if node["NodeID"] == context.get_node_id()]
    return max(1, int(nodes[0].get(name, 1) / own.get(name, 1))) if nodes else 1


def reserved(resources: dict[str, float]) -> tune.PlacementGroupFactory:
    """What Ray keeps free for a trial."""
    return tune.PlacementGroupFactory([{name: amount for name, amount in resources.items() if amount}])


def _unended(specs: Sequence[RunSpec], execution: Execution, train: Train) -> Iterator[EpochReport]:
    """Train all but the runs that failed in this job, or were stopped, before its process died."""
    results = {spec.run_id: read_result(execution.results, spec.run_id) for spec in specs}
    failed = {run_id: str(r["reason"]) for run_id, r in results.items() if r and r["status"] == "failed"}
    stopped = tuple(run_id for run_id in results if is_stopped(execution.results, run_id))
    if failed or stopped:
        yield EpochReport(0, max(spec.epochs for spec in specs), {}, (), failed, stopped=stopped)
    rest = [spec for spec in specs if spec.run_id not in (*failed, *stopped)]
    if rest:
        yield from train(rest, execution)


def reason(error: BaseException) -> str:
    """An error in one line."""
    text = " ".join(str(error).split()) or "no message"
    line = text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"
    return line if len(line) <= LONGEST_REASON else line[: LONGEST_REASON - 3] + "..."


@functools.cache
def _end_with_parent() -> None:
    """End this process when the one that started it (Ray's raylet) dies.

    Ray's own check compares the parent with process 1, and so misses it wherever orphans are given to another.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()


@functools.cache
def _keep_modules() -> None:
    """What is imported stays: let the collection after each job, which takes a quarter of a second, not look at it."""
    gc.collect()
    gc.freeze()


class Curves(TBXLoggerCallback):
    """Tune's TensorBoard logger, given a folder for each run instead of each trial.

    So every student is one run of TensorBoard, under its own name, with charts that it shares with the others; and a
    run that is resumed by a later sweep goes on in its folder.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        event_file_writer.EventsWriter = _Events
        self._folder = folder
        self._curves: dict[str, Any] = {}

    def log_trial_start(self, trial: Any) -> None:
        """Runs are opened by their first numbers."""

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        for text in trial.config["runs"]:
            self._close(from_json(text).run_id)

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        report: EpochReport | None = result.get("report")
        if report is None:
            return
        specs = {spec.run_id: spec for spec in map(from_json, trial.config["runs"])}
        for run_id, numbers in report.metrics.items():
            if run_id not in self._curves:
                self._curves[run_id] = _Curve(specs[run_id], self._folder)
                super().log_trial_start(self._curves[run_id])
            super().log_trial_result(iteration, self._curves[run_id], {"training_iteration": report.epoch, **numbers})
        for run_id in (*report.finished, *report.failed):
            self._close(run_id)

    def _close(self, run_id: str) -> None:
        if run_id in self._curves:
            super().log_trial_end(self._curves.pop(run_id))


class _Events(event_file_writer.EventsWriter):
    """Gives the curves up where the disk is full; the ledger has them too. tensorboardX's own ends the thread that
    writes, for which everybody then waits who has a number."""

    def write_event(self, event: Any) -> None:
        with contextlib.suppress(OSError):
            super().write_event(event)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            super().flush()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            super().close()


class _Curve:
    """What Tune's logger asks of a trial."""

    def __init__(self, spec: RunSpec, folder: Path) -> None:
        self.local_path = str(folder / spec.name)
        self.evaluated_params = {
            name: value for name, value in flatten(spec).items() if isinstance(value, str | int | float)
        }

    def init_local_path(self) -> None:
        Path(self.local_path).mkdir(parents=True, exist_ok=True)

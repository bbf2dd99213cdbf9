"""A job: runs that share a batch stream and a teacher, trained together in one process.

    python trainables/job.py JOB.json [--debug]

JOB.json: {"runs": [fields of a RunSpec, ...], "execution": {"results": DIR, "data_dir": DIR, ...}}.
Needs torch, not Ray.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from trainables.environment import check_environment

    check_environment(__file__)

import torch
from torch.utils import deterministic

from trainables.commands import Parser, command_name, parse_path, run_command
from trainables.data.source import Source
from trainables.data.stream import WHOLE, Stream
from trainables.datasets import load
from trainables.errors import UserError, disk_errors_told
from trainables.methods import find as find_method
from trainables.own_code import with_own_code
from trainables.run_names import name_of
from trainables.shares import describe_deviation
from trainables.spec import RunSpec
from trainables.storage.job_file import Execution, read_job
from trainables.storage.provenance import now, surroundings
from trainables.storage.runs import has_weights, read_result, stream_key
from trainables.storage.stopping import confirm_stop, forget_stop, is_asked_to_stop
from trainables.storage.writer import writing
from trainables.training.cpu_memory import keep_freed_memory, return_freed_memory
from trainables.training.cuda_graphs import Capture, record_cuda_graphs
from trainables.training.cuda_streams import CudaStreams, FasterWay
from trainables.training.distributed import all_gather, barrier, current_share
from trainables.training.evaluation import evaluate_models
from trainables.training.student import Student, hold_folder, write_refusal
from trainables.training.teacher_cache import GB, open_teacher_cache
from trainables.training.teachers import load_teacher, measure_teacher, teacher_file
from trainables.training.views import TeacherContext, Views
from trainables.used_files import use_shared

LOCK_SECONDS = 60
AMPERE = 8
"""The first generation of GPUs, by CUDA's count, that computes in bfloat16."""


@dataclass(frozen=True)
class EpochReport:
    """What a job tells: one epoch, or what it has found before any.

    epoch: the one that has ended; 0 where none has.
    epochs: of the longest run.
    metrics: numbers of the epoch, by run.
    finished: runs whose result is on disk.
    failed: runs that failed, and why.
    unreadable: images that no report has named yet, by path, and why they could not be decoded.
    stopped: runs that were stopped before their end.
    damaged: checkpoints that could not be used, in a sentence each.
    resumed: after which epoch each run goes on that was begun before.
    notes: what else to tell.
    where: the machine, and its GPUs that train it.
    """

    epoch: int
    epochs: int
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    finished: tuple[str, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    stopped: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()
    resumed: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    where: str = ""


def prepare_torch(execution: Execution) -> None:
    """The same numbers every time: deterministic kernels, a fixed number of threads. Memory is kept between steps."""
    if execution.device == "cuda":
        if not torch.cuda.is_available():
            raise UserError("no CUDA device is visible to this process: use --gpus 0 to train on the CPU")
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    else:
        keep_freed_memory()
    if execution.threads:
        torch.set_num_threads(execution.threads)
    # Max-pooling's backward pass counts as non-deterministic on CUDA, though its kernel adds nothing in random order.
    torch.use_deterministic_algorithms(True, warn_only=execution.device == "cuda")
    deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


@lru_cache(maxsize=1)
def _load(
    name: str, data_dir: Path | None, train_fraction: float, imbalance: float, holdout: float, data: str, device: str
) -> Source:
    """The last data set is kept for the next job of this process; `data`: the fingerprint that is expected."""
    source = load(name, data_dir, train_fraction=train_fraction, imbalance=imbalance, holdout=holdout)
    return source.to(device)


def load_data(spec: RunSpec, execution: Execution) -> Source:
    """The data set of a run on its device, normalised as the run has it; refuses images other than those the run was
    planned for."""
    images = spec.train_fraction, spec.imbalance, spec.holdout
    dataset = _load(spec.dataset, execution.data_dir, *images, spec.data, execution.device)
    if spec.data and not dataset.fingerprint.startswith(spec.data):
        raise UserError(
            f"the images in {execution.data_dir} have changed since the sweep was planned: start the sweep again"
        )
    return dataset.normalised(spec.normalisation)


def check_precision(precision: str, execution: Execution) -> None:
    """Refuse what the GPU cannot do: torch would pretend to, up to the first convolution."""
    if execution.device == "cuda" and precision == "bf16" and torch.cuda.get_device_capability()[0] < AMPERE:
        raise UserError(f"{torch.cuda.get_device_name()} does not compute in bfloat16: use --precision fp32")


def run(specs: Sequence[RunSpec], execution: Execution, *, settled: bool = False) -> Iterator[EpochReport]:
    """Train the runs together, each from where its checkpoint left it, and report every epoch.

    A run is complete when its result and its weights are there; one that lost its weights is trained again.
    A run's numbers do not depend on which others it is trained with, nor on how often it was stopped and resumed.
    The processes of a torch.distributed group train the runs together; the first of them writes.
    settled: report an epoch once its checkpoints are on the disk.
    """
    use_shared(execution.used)
    if outdated := [spec.name for spec in specs if spec.outdated]:
        raise UserError(f"{outdated[0]} is a run of an earlier version: leave its `revision` out to train the newest")
    if changed := [name_of(spec) for spec in specs if with_own_code(spec) != spec]:
        raise UserError(f"the source of {changed[0]} has changed since it was planned: start its sweep again")
    if len({stream_key(spec) for spec in specs}) != 1:
        raise UserError("the runs of a job must share data set, batch size, augmentation, precision, seed and teacher")
    if len({spec.run_id for spec in specs}) != len(specs):
        raise UserError("a job names one of its runs twice: name each run once")
    epochs = max(spec.epochs for spec in specs)
    with disk_errors_told(execution.results), contextlib.ExitStack() as stack:
        for spec in sorted(specs, key=lambda spec: spec.run_id) if current_share().rank == 0 else ():
            stack.enter_context(hold_folder(spec, execution.results, seconds=LOCK_SECONDS))
        barrier()
        known = {spec.run_id: read_result(execution.results, spec.run_id) for spec in specs}
        done = tuple(
            run_id
            for run_id, result in known.items()
            if result and result["status"] == "done" and has_weights(execution.results, run_id)
        )
        if done:
            yield EpochReport(0, epochs, finished=done)
        if len(done) == len(specs):
            return
        stack.callback(return_freed_memory)
        job = Job([spec for spec in specs if spec.run_id not in done], execution, epochs, stack)
        if report := job.start():
            yield report
        for epoch in range(1, epochs + 1):
            if active := [one for one in job.students if one.record.epoch == epoch - 1 and not one.ended]:
                job.train(epoch, active)
                report = job.close_epoch(epoch, active)
                if settled:
                    job.writer.wait_for_all()
                yield report


class Job:
    """Students that train together: one data set, one stream of batches, one teacher.

    stack: closes what the job opens.
    """

    def __init__(
        self, specs: Sequence[RunSpec], execution: Execution, epochs: int, stack: contextlib.ExitStack
    ) -> None:
        prepare_torch(execution)
        first = specs[0]
        check_precision(first.precision, execution)
        self.specs, self.execution, self.epochs = specs, execution, epochs
        self.provenance: dict[str, Any] = surroundings(execution.device)
        self.provenance |= {"command": execution.command, "threads": torch.get_num_threads(), "began": now()}
        self.share = current_share()
        self.dataset = load_data(first, execution)
        self.stream = self.dataset.stream(
            seed=first.seed, batch_size=first.batch_size, augmentation=first.augmentation, share=self.share
        )
        self.notes: list[str] = []
        self.context = None if first.teacher is None else self._open_teacher(first, stack)
        self.writer = stack.enter_context(writing())
        self.way = way_on(execution)
        self.provenance["cuda_graphs"] = self.way is not None
        self.students: list[Student] = []
        self._named: dict[str, str] = {}

    def _open_teacher(self, first: RunSpec, stack: contextlib.ExitStack) -> TeacherContext:
        """The teacher that the runs share, with a cache where they need logits alone and nobody measures its cost."""
        execution, results = self.execution, self.execution.results
        path = teacher_file(first, results, dict(execution.teachers))
        teacher, digest = load_teacher(first, path, self.dataset)
        known = measure_teacher(teacher, digest, self.dataset, self.stream, self.specs, results)
        cache = None
        features = any(find_method(spec.method).FEATURES for spec in self.specs)
        if execution.teacher_cache_gb and not first.timing and not features:
            longest = replace(first, epochs=max(spec.epochs for spec in self.specs))
            most = execution.teacher_cache_gb * GB
            cache = stack.enter_context(
                open_teacher_cache(longest, self.dataset, self.stream, teacher, digest, results, most, self.notes)
            )
        return TeacherContext(teacher, known, cache)

    def start(self) -> EpochReport | None:
        """Make the students, each as its checkpoint left it. Report those that are refused, damaged checkpoints,
        and what goes on."""
        refused = {}
        for spec in self.specs:
            try:
                self.students.append(
                    Student(
                        spec,
                        dataset=self.dataset,
                        context=self.context,
                        results=self.execution.results,
                        started=now(),
                        writer=self.writer,
                        capture=capture_on(self.execution),
                    )
                )
            except UserError as error:
                refused[spec.run_id] = str(error)
                if self.share.rank == 0:
                    write_refusal(spec, self.execution.results, str(error), self.provenance | {"ended": now()})
        remarks = [student.method.remark(self.dataset.num_classes) for student in self.students]
        self.notes += dict.fromkeys(remark for remark in remarks if remark is not None)
        damaged = tuple(line for student in self.students for line in student.damaged)
        barrier()
        resumed = {student.spec.run_id: student.resumed for student in self.students if student.resumed}
        if not (refused or damaged or resumed):
            return None
        return EpochReport(0, self.epochs, failed=refused, damaged=damaged, resumed=resumed)

    def train(self, epoch: int, active: Sequence[Student]) -> None:
        """Train the students for an epoch, together; one after the other where the time is measured."""
        timing = self.specs[0].timing
        if timing:
            self.writer.wait_for_all()
        for group in [[student] for student in active] if timing else [active]:
            train_epoch(epoch, group, self.stream, self.context, self.way)

    def close_epoch(self, epoch: int, active: Sequence[Student]) -> EpochReport:
        """Test the students, save their state, and write the results of those that have ended or cannot go on."""
        finished, failed = [], {}
        scores = evaluate_models([student.model for student in active], self.dataset, self.specs[0].precision)
        for student, found in zip(active, scores, strict=True):
            reason = student.end_epoch(epoch, self.dataset, found)
            if reason is None and not student.ended:
                continue
            record = student.record
            cache = self.context.cache if self.context is not None else None
            student.finish(
                reason,
                self.context,
                self.provenance
                | {"pack": len(active), "devices": self.share.world, "unreadable_images": len(record.unreadable)}
                | {"answers_read": cache.read if cache is not None else 0}
                | (self.way.record() if self.way is not None else {})
                | {"started": record.started, "ended": now()},
            )
            if reason is None:
                finished.append(student.spec.run_id)
                self.notes += filter(None, [describe_deviation(student.spec, record.shares)])
            else:
                failed[student.spec.run_id] = reason
                self.students.remove(student)
        known = {path: why for student in active for path, why in student.record.unreadable.items()}
        new = {path: why for path, why in known.items() if path not in self._named}
        self._named |= new
        notes = tuple(self.notes)
        self.notes.clear()
        return EpochReport(
            epoch,
            self.epochs,
            metrics={s.spec.run_id: s.metrics() for s in active if s.spec.run_id not in failed},
            finished=tuple(finished),
            failed=failed,
            unreadable=new,
            stopped=self.take_out_stopped(),
            notes=notes,
        )

    def take_out_stopped(self) -> tuple[str, ...]:
        """Take out the students that somebody asked to stop, once their checkpoints are written. Returns their runs."""
        stopped = []
        for student in [one for one in self.students if not one.ended]:
            run_id = student.spec.run_id
            if not all_gather(is_asked_to_stop(self.execution.results, run_id))[0]:
                continue
            if self.share.rank == 0:
                confirm_stop(self.execution.results, run_id)
            self.writer.wait(run_id)
            self.students.remove(student)
            stopped.append(run_id)
        return tuple(stopped)


def capture_on(execution: Execution) -> Capture | None:
    wanted = execution.cuda_graphs and execution.device == "cuda" and current_share() == WHOLE
    return record_cuda_graphs() if wanted else None


def way_on(execution: Execution) -> FasterWay | None:
    wanted = execution.cuda_graphs and execution.device == "cuda" and current_share() == WHOLE
    return FasterWay(CudaStreams()) if wanted else None


def train_epoch(
    epoch: int,
    students: Sequence[Student],
    stream: Stream,
    context: TeacherContext | None,
    way: CudaStreams | FasterWay | None = None,
) -> None:
    """Every step of an epoch for every student; each is charged an equal share of the time."""
    eval_mode = [one for one in students if not one.method.BATCH_STATISTICS or one.spec.end is not None]
    features = any(student.method.FEATURES for student in eval_mode)
    dtype = torch.bfloat16 if students[0].spec.precision == "bf16" else torch.float32
    began = time.perf_counter()
    for student in students:
        student.steps.begin_epoch(epoch)
    if context is not None and context.cache is not None and eval_mode:
        context.cache.load(epoch)
    for chunk in stream.epoch(epoch):
        views = Views(chunk, stream, dtype, context, features=features, asked=bool(eval_mode))
        for student in students:
            student.steps.prepare(views)
        if way is not None:
            way.train(students, views)
            continue
        for student in students:
            student.steps.train(views)
    if stream.device.type == "cuda":
        torch.cuda.synchronize()
    for student in students:
        student.epoch_time = (time.perf_counter() - began) / len(students)


def main(argv: Sequence[str]) -> int:
    parser = Parser(
        prog=command_name("job"),
        description="Train the runs of a job without Ray.",
        epilog=f"Example: {command_name('job')} results/jobs/JOB.json",
    )
    parser.add_argument(
        "job", type=parse_path, metavar="JOB.json", help="a job that a sweep wrote to jobs/ in its results"
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    specs, execution = read_job(parser.parse_args(argv).job)
    names = {spec.run_id: name_of(spec) for spec in specs}
    for run_id in names:
        # Whether the folder can be written is told when the run begins.
        with contextlib.suppress(OSError):
            forget_stop(execution.results, run_id)
    failures = 0
    for report in run(specs, execution):
        for line in (*report.damaged, *report.notes):
            print(line, flush=True)
        for run_id, epoch in report.resumed.items():
            print(f"resumed {names[run_id]} from epoch {epoch + 1}", flush=True)
        for run_id, numbers in report.metrics.items():
            print(
                f"epoch {report.epoch}/{report.epochs}  {names[run_id]}  top-1 {numbers['top1']:.2f}  "
                f"loss {numbers['train_loss']:.4f}  {numbers['seconds']:.1f} s",
                flush=True,
            )
        for run_id in report.finished:
            print(f"done    {names[run_id]}", flush=True)
        for run_id, reason in report.failed.items():
            print(f"failed  {names[run_id]}: {reason}", flush=True)
        for run_id in report.stopped:
            print(f"stopped {names[run_id]}", flush=True)
        failures += len(report.failed) + len(report.stopped)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(run_command(main))

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

import torch
from torch.utils import deterministic

from trainables.commands import run_command
from trainables.data.source import Source
from trainables.data.stream import WHOLE, Share, Stream
from trainables.datasets import load
from trainables.errors import UserError, disk_errors_told
from trainables.methods import find
from trainables.shares import off
from trainables.spec import RunSpec
from trainables.storage.job_file import Execution, read_job
from trainables.storage.provenance import now, surroundings
from trainables.storage.runs import has_weights, read_result, stream_key
from trainables.storage.stopping import confirm_stop, forget_stop, is_asked_to_stop
from trainables.storage.writer import Writer, writing
from trainables.training.cpu_memory import give_back, keep_freed
from trainables.training.cuda_graphs import Capture, cuda_graphs
from trainables.training.cuda_streams import CudaStreams, OneStream
from trainables.training.distributed import gathered, wait_for_all
from trainables.training.evaluation import evaluate_models
from trainables.training.student import Student, held_folder, write_refusal
from trainables.training.teacher_cache import GB, open_teacher_cache
from trainables.training.teachers import facts, load_teacher, teacher_file
from trainables.training.views import TeacherContext, Views

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
    notes: what else to tell.
    """

    epoch: int
    epochs: int
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    finished: tuple[str, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    stopped: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def prepare_torch(execution: Execution) -> None:
    """The same numbers every time: deterministic kernels, a fixed number of threads. Memory is kept between steps."""
    if execution.device == "cuda":
        if not torch.cuda.is_available():
            raise UserError("no CUDA device is visible to this process: use --gpus 0 to train on the CPU")
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    else:
        keep_freed()
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


def make_teaching(
    specs: Sequence[RunSpec], dataset: Source, stream: Stream, execution: Execution
) -> TeacherContext | None:
    """The teacher of runs that share it, and what they need to know of it."""
    spec = specs[0]
    if spec.teacher is None:
        return None
    path = teacher_file(spec, execution.results, dict(execution.teachers))
    teacher, digest = load_teacher(spec, path, num_classes=dataset.num_classes, device=execution.device)
    return TeacherContext(teacher, facts(teacher, digest, dataset, stream, specs, execution.results))


def run(specs: Sequence[RunSpec], execution: Execution, share: Share = WHOLE) -> Iterator[EpochReport]:
    """Train the runs together, each from where its checkpoint left it, and report every epoch.

    A run is complete when its result and its weights are there; one that lost its weights is trained again.
    A run's numbers do not depend on which others it is trained with, nor on how often it was stopped and resumed.
    share: of every batch, where several processes (of one torch.distributed group) train the runs together; the first
    of them writes.
    """
    if outdated := [spec.name for spec in specs if spec.outdated]:
        raise UserError(f"{outdated[0]} is a run of an earlier version: leave its `revision` out to train the newest")
    if len({stream_key(spec) for spec in specs}) != 1:
        raise UserError("the runs of a job must share data set, batch size, augmentation, precision, seed and teacher")
    if len({spec.run_id for spec in specs}) != len(specs):
        raise UserError("a job names one of its runs twice: name each run once")
    epochs = max(spec.epochs for spec in specs)
    with disk_errors_told(execution.results), contextlib.ExitStack() as locks:
        for spec in sorted(specs, key=lambda spec: spec.run_id) if share.rank == 0 else ():
            locks.enter_context(held_folder(spec, execution.results, seconds=LOCK_SECONDS))
        wait_for_all(share)
        known = {spec.run_id: read_result(execution.results, spec.run_id) for spec in specs}
        done = tuple(
            run_id
            for run_id, result in known.items()
            if result and result["status"] == "done" and has_weights(execution.results, run_id)
        )
        if done:
            yield EpochReport(0, epochs, finished=done)
        missing = [spec for spec in specs if spec.run_id not in done]
        if missing:
            try:
                yield from _train(missing, execution, epochs, share)
            finally:
                give_back()


def check_precision(precision: str, execution: Execution) -> None:
    """Refuse what the GPU cannot do: torch would pretend to, up to the first convolution."""
    if execution.device == "cuda" and precision == "bf16" and torch.cuda.get_device_capability()[0] < AMPERE:
        raise UserError(f"{torch.cuda.get_device_name()} does not compute in bfloat16: use --precision fp32")


def _train(specs: Sequence[RunSpec], execution: Execution, epochs: int, share: Share) -> Iterator[EpochReport]:
    prepare_torch(execution)
    check_precision(specs[0].precision, execution)
    provenance = surroundings(execution.device) | {"command": execution.command, "threads": torch.get_num_threads()}
    first = specs[0]
    dataset = load_data(first, execution)
    stream = dataset.stream(seed=first.seed, batch_size=first.batch_size, augmentation=first.augmentation, share=share)
    teaching = make_teaching(specs, dataset, stream, execution)
    notes: list[str] = []
    with _cached(specs, dataset, stream, teaching, execution, notes), writing() as writer:
        yield from _epochs(specs, execution, epochs, dataset, stream, teaching, provenance, writer, notes)


@contextlib.contextmanager
def _cached(
    specs: Sequence[RunSpec],
    dataset: Source,
    stream: Stream,
    teaching: TeacherContext | None,
    execution: Execution,
    notes: list[str],
) -> Iterator[None]:
    """With a cache of the teacher's answers, where logits are all that is asked of it and nobody measures its cost."""
    first = specs[0]
    more = first.timing or any(find(spec.method).FEATURES for spec in specs)
    if teaching is None or more or not execution.teacher_cache_gb:
        yield
        return
    teacher, digest = teaching.teacher, teaching.facts.sha256
    with open_teacher_cache(
        replace(first, epochs=max(s.epochs for s in specs)),
        dataset,
        stream,
        teacher,
        digest,
        execution.results,
        execution.teacher_cache_gb * GB,
        notes,
    ) as cache:
        teaching.cache = cache
        yield


def _epochs(
    specs: Sequence[RunSpec],
    execution: Execution,
    epochs: int,
    dataset: Source,
    stream: Stream,
    teaching: TeacherContext | None,
    provenance: dict[str, Any],
    writer: Writer,
    notes: list[str],
) -> Iterator[EpochReport]:
    share = stream.share
    students, refused = [], {}
    for spec in specs:
        try:
            students.append(
                Student(
                    spec,
                    dataset=dataset,
                    teaching=teaching,
                    results=execution.results,
                    started=now(),
                    share=share,
                    writer=writer,
                    capture=capture_on(execution),
                )
            )
        except UserError as error:
            refused[spec.run_id] = str(error)
            if share.rank == 0:
                write_refusal(spec, execution.results, str(error), provenance | {"ended": now()})
    damaged = tuple(line for student in students for line in student.damaged)
    if refused or damaged:
        yield EpochReport(0, epochs, failed=refused, damaged=damaged)
    if not students:
        return
    remarks = [student.method.remark(dataset.num_classes) for student in students]
    notes += dict.fromkeys(remark for remark in remarks if remark is not None)
    wait_for_all(share)
    cuda_streams = cuda_streams_on(execution, share)
    start = min(student.record.epoch for student in students) + 1
    named: dict[str, str] = {}
    for epoch in range(start, epochs + 1):
        active = [student for student in students if student.record.epoch == epoch - 1 and not student.ended]
        if not active:
            continue
        if specs[0].timing:
            writer.wait_for_all()
        for group in [[student] for student in active] if specs[0].timing else [active]:
            train_epoch(epoch, group, stream, teaching, cuda_streams)
        finished, failed = [], {}
        scores = evaluate_models([student.model for student in active], dataset, specs[0].precision, share=share)
        for student, found in zip(active, scores, strict=True):
            reason = student.end_epoch(epoch, dataset, found)
            if reason is None and not student.ended:
                continue
            student.finish(
                reason,
                teaching,
                provenance
                | {"pack": len(active), "devices": share.world, "unreadable_images": len(student.record.unreadable)}
                | {"started": student.record.started, "ended": now()},
            )
            if reason is None:
                finished.append(student.spec.run_id)
                notes += filter(None, [off(student.spec, student.record.shares)])
            else:
                failed[student.spec.run_id] = reason
                students.remove(student)
        metrics = {s.spec.run_id: s.metrics() for s in active if s.spec.run_id not in failed}
        known = {path: why for student in active for path, why in student.record.unreadable.items()}
        new = {path: why for path, why in known.items() if path not in named}
        named |= new
        stopped = [student for student in students if not student.ended and _told_to_stop(student, execution, share)]
        for student in stopped:
            writer.wait(student.spec.run_id)
        students = [student for student in students if student not in stopped]
        ends = tuple(student.spec.run_id for student in stopped)
        told = tuple(notes)
        notes.clear()
        yield EpochReport(epoch, epochs, metrics, tuple(finished), failed, new, ends, notes=told)


def capture_on(execution: Execution) -> Capture | None:
    return cuda_graphs() if execution.cuda_graphs and execution.device == "cuda" else None


def cuda_streams_on(execution: Execution, share: Share) -> OneStream:
    return CudaStreams() if execution.cuda_graphs and execution.device == "cuda" and share == WHOLE else OneStream()


def _told_to_stop(student: Student, execution: Execution, share: Share) -> bool:
    run_id = student.spec.run_id
    told = gathered(is_asked_to_stop(execution.results, run_id), share)[0]
    if told and share.rank == 0:
        confirm_stop(execution.results, run_id)
    return told


def train_epoch(
    epoch: int, students: Sequence[Student], stream: Stream, teaching: TeacherContext | None, cuda_streams: OneStream
) -> None:
    """Every step of an epoch for every student; each is charged an equal share of the time."""
    if not students:
        return
    eval_mode = [one for one in students if not one.method.BATCH_STATISTICS or one.spec.end is not None]
    features = any(student.method.FEATURES for student in eval_mode)
    dtype = torch.bfloat16 if students[0].spec.precision == "bf16" else torch.float32
    began = time.perf_counter()
    for student in students:
        student.begin_epoch(epoch)
    for chunk in stream.epoch(epoch):
        views = Views(chunk, stream, dtype, teaching, features=features, asked=bool(eval_mode))
        for student in students:
            student.steps.prepare(views, teaching)
        with cuda_streams.overlap():
            for student in students:
                with cuda_streams.use(student.spec.run_id) if student.steps.recorded else contextlib.nullcontext():
                    for step in range(len(chunk.bounds) - 1):
                        student.steps.step(views, step, epoch, teaching)
    if stream.device.type == "cuda":
        torch.cuda.synchronize()
    for student in students:
        student.epoch_time = (time.perf_counter() - began) / len(students)


def main(argv: Sequence[str]) -> int:
    arguments = [argument for argument in argv if argument != "--debug"]
    if len(arguments) != 1:
        raise UserError("usage: python trainables/job.py JOB.json [--debug]")
    specs, execution = read_job(Path(arguments[0]))
    names = {spec.run_id: spec.name for spec in specs}
    for run_id in names:
        # Whether the folder can be written is told when the run begins.
        with contextlib.suppress(OSError):
            forget_stop(execution.results, run_id)
    failures = 0
    for report in run(specs, execution):
        for line in (*report.damaged, *report.notes):
            print(line, flush=True)
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

"""One student in training: weights, optimizer, and what is known of it after each epoch."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from trainables.data.random_streams import Purpose, generator
from trainables.data.source import Source
from trainables.data.stream import WHOLE
from trainables.errors import UserError, describe_failure
from trainables.methods import Method, Setup, check_method, make
from trainables.models import Network, build
from trainables.models.checkpoint import save_weights
from trainables.network_names import MODULES
from trainables.rules import rule_of
from trainables.run_names import name_of
from trainables.shares import requested_shares
from trainables.spec import RunSpec
from trainables.storage.checkpoints import drop_checkpoints, load_checkpoint, save_checkpoint
from trainables.storage.locks import hold_lock
from trainables.storage.runs import (
    RESULT_SCHEMA,
    drop_temporaries,
    run_dir,
    weights_path,
    write_atomically,
    write_result,
)
from trainables.storage.writer import Writer
from trainables.training.cuda_graphs import Capture, RecordedSteps
from trainables.training.distributed import all_gather, all_reduce, convert_batch_norms, current_share, wrap_ddp
from trainables.training.evaluation import Scores
from trainables.training.steps import Steps, StudentModule
from trainables.training.teachers import TeacherFacts
from trainables.training.views import TeacherContext

Made = TypeVar("Made")


@dataclass
class Record:
    """What a run's result says about its training so far. Everything here survives a restart.

    shares: one row an epoch, as in `trainables.shares`; epochs trained by an earlier version have no row.
    unreadable: by path, why an image could not be decoded, on whichever device.
    """

    epoch: int = 0
    seconds: float = 0.0
    epoch_seconds: list[float] = field(default_factory=list)
    curve: list[list[float]] = field(default_factory=list)
    shares: list[list[float | None]] = field(default_factory=list)
    started: str = ""
    unreadable: dict[str, str] = field(default_factory=dict)


def initial_model(spec: RunSpec, num_classes: int, side: int | None = None) -> Network:
    """The network with initial weights that depend on (network, seed) alone."""
    name = spec.student.partition(MODULES)[0]
    return _seed_torch(spec.seed, Purpose.INITIAL_WEIGHTS, name, lambda: build(spec.student, num_classes, side))


def _seed_torch(seed: int, purpose: Purpose, name: str, make: Callable[[], Made]) -> Made:
    """What `make` draws from torch's global generator depends on (seed, purpose, name) alone. The generator
    is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(generator(seed, purpose, name=name).integers(2**63 - 1)))
        return make()


class Student:
    """A run in progress. `steps` never wait for the device; `end_epoch` does, once.

    context: the teacher.
    capture: how the steps are recorded, if they are.
    """

    def __init__(
        self,
        spec: RunSpec,
        *,
        dataset: Source,
        context: TeacherContext | None,
        results: Path,
        started: str,
        writer: Writer | None = None,
        capture: Capture | None = None,
    ) -> None:
        self.spec, self.results, self.share = spec, results, current_share()
        self.writer = writer or Writer()
        self.device = dataset.device.type
        self.method = make(spec.method, spec.params)
        rule = rule_of(spec)
        check_method(self.method, spec, self.share)
        self.model = initial_model(spec, dataset.num_classes, dataset.side)
        self.extra = self._make_extra(dataset, context)
        if self.method.BATCH_STATISTICS and context is not None:
            # Made and moved to the device now, not within an epoch.
            _ = context.teacher.by_batch
        if context is not None and spec.end is not None:
            _ = context.thresholds(spec.membership, spec.end)
        self.learned = None if rule is None else rule.learned()
        module = StudentModule(self.model, self.extra, self.learned, features=self.method.FEATURES)
        if self.share != WHOLE:
            convert_batch_norms(module, self.device)
        module.to(dataset.device).to(memory_format=torch.channels_last).train()
        parallel = module if self.share == WHOLE else wrap_ddp(module)
        parts = spec, self.method, module, parallel
        self.steps = Steps(*parts) if capture is None else RecordedSteps(capture, *parts)
        self.optimizer = self.steps.optimizer
        self.record = Record(started=started)
        self.epoch_time = 0.0
        self._resume()

    def _make_extra(self, dataset: Source, context: TeacherContext | None) -> nn.Module | None:
        """The method's own modules, made for the shapes of what both networks say of one image."""
        if type(self.method).extra is Method.extra:
            return None
        image = torch.zeros(1, 3, dataset.side, dataset.side)
        with torch.no_grad():
            student = self.model.eval().forward_features(image)
        setup = Setup(
            student=student,
            teacher=context.teacher.outputs(image.to(dataset.device)) if context else None,
            teacher_norms=context.teacher.norms if context else (),
            labels=dataset.train_labels,
            num_classes=dataset.num_classes,
            side=dataset.side,
            peer=self.spec.peer,
        )
        return _seed_torch(self.spec.seed, Purpose.METHOD_MODULES, self.spec.method, lambda: self.method.extra(setup))

    @property
    def ended(self) -> bool:
        return self.record.epoch >= self.spec.epochs

    def end_epoch(self, epoch: int, dataset: Source, scores: Scores) -> str | None:
        """Note the student's scores and save its state. Returns why it cannot go on, or None."""
        steps = self.steps
        own = [*steps.sums.tolist(), steps.mixed, steps.samples]
        loss_sum, *counts, samples = all_reduce(own, dataset.device)
        train_loss = loss_sum / samples
        self.record.epoch = epoch
        self.record.seconds += self.epoch_time
        self.record.epoch_seconds.append(self.epoch_time)
        if not math.isfinite(train_loss):
            return f"diverged: the training loss is {train_loss} in epoch {epoch}"
        for found in all_gather(dataset.unreadable):
            self.record.unreadable |= found
        if not math.isfinite(scores.loss):
            return f"diverged: the test loss is {scores.loss} after epoch {epoch}"
        self.record.curve.append([epoch, train_loss, *scores])
        shares = zip(counts, requested_shares(self.spec), strict=True)
        self.record.shares.append([epoch, *(None if wanted is None else count / samples for count, wanted in shares)])
        if not self.ended and self.share.rank == 0:
            self._save()
        return None

    def metrics(self) -> dict[str, float]:
        _, train_loss, top1, top5, test_loss = self.record.curve[-1]
        seconds = self.record.epoch_seconds[-1]
        return {"top1": top1, "top5": top5, "train_loss": train_loss, "test_loss": test_loss, "seconds": seconds}

    def _save(self) -> None:
        state = {
            "model": self.model.state_dict(),
            "extra": self.extra.state_dict() if self.extra is not None else {},
            "learned": self.learned.state_dict() if self.learned is not None else {},
            "optimizer": self.optimizer.state_dict(),
            "record": vars(self.record),
        }
        run_id = self.spec.run_id
        self.writer.save(run_id, functools.partial(save_checkpoint, self.results, run_id, _copy(state)))

    def _resume(self) -> None:
        """Go on from the newest checkpoint that can be used; note those that cannot."""
        state, unusable = load_checkpoint(self.results, self.spec.run_id, self.device, repair=self.share.rank == 0)
        self.damaged = [f"{name} of {name_of(self.spec)} {why}: not used" for name, why in unusable.items()]
        if state is not None:
            self.model.load_state_dict(state["model"])
            if self.extra is not None:
                self.extra.load_state_dict(state["extra"])
            if self.learned is not None:
                self.learned.load_state_dict(state["learned"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.record = Record(**state["record"])
        self.resumed = self.record.epoch
        if self.damaged:
            self.damaged[-1] += f"; it goes on after epoch {self.record.epoch}"

    def finish(self, reason: str | None, context: TeacherContext | None, provenance: dict[str, Any]) -> None:
        """Write the weights, then the result (last: its presence means complete), then drop the checkpoint."""
        if self.share.rank != 0:
            return
        self.writer.wait(self.spec.run_id)
        spec, digest = self.spec, None
        if reason is None:
            extra = {} if self.extra is None else self.extra.state_dict()
            if self.learned is not None:
                extra |= {f"rule.{name}": tensor for name, tensor in self.learned.state_dict().items()}
            digest = save_weights(self.model, weights_path(self.results, spec.run_id), extra)
        facts = context.facts if context and spec.teacher else None
        parameters = sum(p.numel() for p in self.model.parameters())
        write_result(self.results, _result(spec, reason, provenance, self.record, parameters, digest, facts))
        drop_checkpoints(self.results, spec.run_id)


def write_refusal(spec: RunSpec, results: Path, reason: str, provenance: dict[str, Any]) -> None:
    """The result of a run that could not begin."""
    write_result(results, _result(spec, reason, provenance, Record()))


def _result(
    spec: RunSpec,
    reason: str | None,
    provenance: dict[str, Any],
    record: Record,
    parameters: int | None = None,
    digest: str | None = None,
    facts: TeacherFacts | None = None,
) -> dict[str, Any]:
    """best: of the epoch of the highest top-1, the first of equals."""
    best = max(record.curve, key=lambda row: row[2], default=None)
    last = record.curve[-1] if record.curve else None
    return {
        "schema": RESULT_SCHEMA,
        "run_id": spec.run_id,
        "name": name_of(spec),
        "spec": spec.as_dict(),
        "status": "done" if reason is None else "failed",
        "reason": reason,
        "provenance": provenance,
        "best_top1": best[2] if best else None,
        "best_top5": best[3] if best else None,
        "best_epoch": int(best[0]) if best else None,
        "last_top1": last[2] if last else None,
        "last_top5": last[3] if last else None,
        "last_loss": last[4] if last else None,
        "train_loss": last[1] if last else None,
        "epochs": record.epoch,
        "seconds": record.seconds,
        "epoch_seconds": record.epoch_seconds,
        "parameters": parameters,
        "weights_sha256": digest,
        "teacher_sha256": facts.sha256 if facts else None,
        "teacher_top1": facts.scores.top1 if facts else None,
        "teacher_top5": facts.scores.top5 if facts else None,
        "curve": record.curve,
        "shares": record.shares,
    }


def _copy(state: Any) -> Any:
    """The same with tensors of its own on the processor, so that training may go on."""
    if isinstance(state, Tensor):
        return state.detach().to("cpu", copy=True)
    if isinstance(state, dict):
        return {key: _copy(value) for key, value in state.items()}
    return [_copy(value) for value in state] if isinstance(state, list) else state


@contextlib.contextmanager
def hold_folder(spec: RunSpec, results: Path, *, seconds: float) -> Iterator[None]:
    """Hold the run's folder against other processes; write its spec there for people, remove half-written files."""
    folder = run_dir(results, spec.run_id)
    with contextlib.ExitStack() as lock:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock.enter_context(hold_lock(folder / "lock", seconds=seconds))
            drop_temporaries(folder)
            write_atomically(folder / "spec.json", (spec.canonical() + "\n").encode())
        except OSError as error:
            raise UserError(describe_failure(error, folder)) from error
        yield

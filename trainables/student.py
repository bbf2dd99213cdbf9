"""One student in training: weights, optimizer, and what is known of it after each epoch."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainables.data.dataset import Dataset
from trainables.data.stream import generator
from trainables.errors import UserError
from trainables.evaluation import Scores, autocast, evaluate_model
from trainables.methods import Batch, make
from trainables.models import build
from trainables.models.checkpoint import save_weights
from trainables.runs import (
    RESULT_SCHEMA,
    checkpoint_path,
    run_dir,
    sealed,
    unsealed,
    weights_path,
    write_atomically,
    write_result,
)
from trainables.spec import RunSpec
from trainables.views import Teaching, View, Views


@dataclass
class Record:
    """What a run's result says about its training so far. Everything here survives a restart."""

    epoch: int = 0
    seconds: float = 0.0
    epoch_seconds: list[float] = field(default_factory=list)
    curve: list[list[float]] = field(default_factory=list)
    started: str = ""

    @property
    def best(self) -> list[float] | None:
        """The epoch of the highest top-1; the first of equals."""
        return max(self.curve, key=lambda row: row[2], default=None)


def initial_model(spec: RunSpec, num_classes: int) -> nn.Module:
    """The network with initial weights that depend on (network, seed) alone."""
    seed = int(generator(spec.seed, f"initial weights of {spec.student}").integers(2**63 - 1))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(spec.student, num_classes)


class Student:
    """A run in progress. `step` never waits for the device; `end_epoch` does, once."""

    def __init__(self, spec: RunSpec, *, num_classes: int, device: str, results: Path, started: str) -> None:
        self.spec, self.results, self.device = spec, results, device
        self.method = make(spec.method, spec.params)
        self.model = initial_model(spec, num_classes).to(device).to(memory_format=torch.channels_last).train()
        self.optimizer = torch.optim.SGD(
            self.model.parameters(),
            lr=spec.lr,
            momentum=spec.momentum,
            weight_decay=spec.weight_decay,
            fused=True,
        )
        self.record = Record(started=started)
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=device)
        self.samples = 0
        self.epoch_time = 0.0
        self._resume()

    @property
    def ended(self) -> bool:
        return self.record.epoch >= self.spec.epochs

    def begin_epoch(self, epoch: int) -> None:
        """Set the learning rate of an epoch: x lr_decay after each milestone."""
        falls = sum(epoch > milestone for milestone in self.spec.milestones)
        for group in self.optimizer.param_groups:
            group["lr"] = self.spec.lr * self.spec.lr_decay**falls
        self.loss_sum.zero_()
        self.samples = 0
        self.epoch_time = 0.0

    def step(self, views: Views, step: int, epoch: int, teaching: Teaching | None) -> None:
        """One optimizer step on one batch (and on its mixed images, if the run has them and any were selected)."""
        weak = views.weak
        start, end = weak.bounds[step]
        loss = self._loss(weak, start, end, epoch, teaching, mixed=False)
        if self.spec.mixing is not None:
            view = views.mixed(self.spec.mixing)
            first, last = view.bounds[step]
            if last > first:
                loss = loss + self._loss(view, first, last, epoch, teaching, mixed=True)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.loss_sum += loss.detach() * (end - start)
        self.samples += end - start

    def _loss(self, view: View, start: int, end: int, epoch: int, teaching: Teaching | None, *, mixed: bool) -> Tensor:
        with autocast(self.device, self.spec.precision):
            logits = self.model(view.images[start:end])
        temperature: float | Tensor = self.spec.temperature.base
        teacher = None
        if self.spec.teacher is not None:
            assert teaching is not None
            assert view.teacher is not None
            temperature = teaching.temperature(view, self.spec.temperature)
            temperature = temperature[start:end] if isinstance(temperature, Tensor) else temperature
            teacher = view.teacher[start:end]
        loss = self.method.mixed_loss if mixed else self.method.loss
        return loss(logits.float(), Batch(view.labels[start:end], teacher), temperature, epoch)

    def end_epoch(self, epoch: int, seconds: float, dataset: Dataset) -> str | None:
        """Score the student and save its state. Returns why it cannot go on, or None."""
        train_loss = self.loss_sum.item() / self.samples
        self.record.epoch = epoch
        self.record.seconds += seconds
        self.record.epoch_seconds.append(seconds)
        if not math.isfinite(train_loss):
            return f"diverged: the training loss is {train_loss} in epoch {epoch}"
        scores = evaluate_model(self.model, dataset, self.spec.precision)
        if not math.isfinite(scores.loss):
            return f"diverged: the test loss is {scores.loss} after epoch {epoch}"
        self.record.curve.append([epoch, train_loss, *scores])
        if not self.ended:
            self._save()
        return None

    def metrics(self) -> dict[str, float]:
        _, train_loss, top1, top5, test_loss = self.record.curve[-1]
        seconds = self.record.epoch_seconds[-1]
        return {"top1": top1, "top5": top5, "train_loss": train_loss, "test_loss": test_loss, "seconds": seconds}

    def _save(self) -> None:
        state = {
            "run_id": self.spec.run_id,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "record": vars(self.record),
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_atomically(checkpoint_path(self.results, self.spec.run_id), sealed(buffer.getvalue()))

    def _resume(self) -> None:
        try:
            stored = checkpoint_path(self.results, self.spec.run_id).read_bytes()
        except FileNotFoundError:
            return
        content = unsealed(stored)
        state = None if content is None else torch.load(io.BytesIO(content), self.device, weights_only=True)
        if state is None or state["run_id"] != self.spec.run_id:
            print(f"warning: the checkpoint of {self.spec.name} is damaged; this run starts again from its first epoch")
            return
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.record = Record(**state["record"])

    def finish(self, reason: str | None, teaching: Teaching | None, provenance: dict[str, Any]) -> None:
        """Write the weights, then the result (last: its presence means complete), then drop the checkpoint."""
        record, spec = self.record, self.spec
        best = record.best
        last = Scores(*record.curve[-1][2:]) if record.curve else None
        digest = save_weights(self.model, weights_path(self.results, spec.run_id)) if reason is None else None
        facts = teaching.facts if teaching and spec.teacher else None
        write_result(
            self.results,
            {
                "schema": RESULT_SCHEMA,
                "run_id": spec.run_id,
                "name": spec.name,
                "spec": spec.as_dict(),
                "status": "done" if reason is None else "failed",
                "reason": reason,
                "best_top1": best[2] if best else None,
                "best_top5": best[3] if best else None,
                "best_epoch": int(best[0]) if best else None,
                "last_top1": last.top1 if last else None,
                "last_top5": last.top5 if last else None,
                "last_loss": last.loss if last else None,
                "train_loss": record.curve[-1][1] if record.curve else None,
                "epochs": record.epoch,
                "seconds": record.seconds,
                "epoch_seconds": record.epoch_seconds,
                "parameters": sum(p.numel() for p in self.model.parameters()),
                "weights_sha256": digest,
                "teacher_sha256": facts.sha256 if facts else None,
                "teacher_top1": facts.scores.top1 if facts else None,
                "teacher_top5": facts.scores.top5 if facts else None,
                "curve": record.curve,
                "provenance": provenance,
            },
        )
        checkpoint_path(self.results, spec.run_id).unlink(missing_ok=True)


def prepare_folder(spec: RunSpec, results: Path) -> None:
    """The run's folder with its spec, readable by people."""
    folder = run_dir(results, spec.run_id)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "spec.json", (spec.canonical() + "\n").encode())
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}; choose another folder for the results") from error

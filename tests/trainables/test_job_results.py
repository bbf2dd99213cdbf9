"""What a job writes and reports: results, seconds, what is shared and what is not."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
import torch
from small_jobs import (
    IMAGES,
    VANILLA,
    GivenTeacher,
    assert_same,
    outcome,
    stop_after,
    students,
    train,
)
from torch import Tensor

from trainables.data.stream import normalise
from trainables.job import Execution, load_data, run
from trainables.models import build
from trainables.models.checkpoint import load_weights, sha256
from trainables.run_names import name_of
from trainables.spec import from_dict
from trainables.storage.runs import read_result, run_dir, weights_path
from trainables.training.teachers import Teacher

NUMBERS = {
    "best_top1",
    "best_top5",
    "best_epoch",
    "last_top1",
    "last_top5",
    "last_loss",
    "train_loss",
    "epochs",
    "seconds",
    "parameters",
    "teacher_top1",
    "teacher_top5",
}
FIELDS = NUMBERS | {
    "schema",
    "run_id",
    "name",
    "spec",
    "status",
    "reason",
    "epoch_seconds",
    "weights_sha256",
    "teacher_sha256",
    "curve",
    "shares",
    "provenance",
}
PROVENANCE = {
    "commit",
    "dirty",
    "sources",
    "command",
    "python",
    "torch",
    "torchvision",
    "timm",
    "device",
    "driver",
    "cuda_graphs",
    "answers_read",
    "threads",
    "pack",
    "devices",
    "unreadable_images",
    "began",
    "started",
    "ended",
}


def test_result(teacher: GivenTeacher, tmp_path: Path) -> None:
    spec = students(teacher)["he_cutmix"]
    train([spec, teacher.spec()], teacher.execution(tmp_path, command="sweep table5"))
    result = json.loads((run_dir(tmp_path, spec.run_id) / "result.json").read_text())
    assert set(result) == FIELDS
    assert result["schema"] == 1
    assert from_dict(result["spec"]) == spec
    assert from_dict(result["spec"]).run_id == result["run_id"] == spec.run_id
    assert (result["name"], result["status"], result["reason"]) == (name_of(spec), "done", None)
    assert all(isinstance(result[name], int | float) for name in NUMBERS)

    curve = result["curve"]
    assert [row[0] for row in curve] == [1, 2, 3]
    assert result["epochs"] == 3 == len(result["epoch_seconds"])
    best = max(curve, key=lambda row: row[2])
    assert (result["best_epoch"], result["best_top1"]) == (best[0], best[2])
    assert result["best_top5"] == max(row[3] for row in curve)
    assert [result[k] for k in ("train_loss", "last_top1", "last_top5", "last_loss")] == curve[-1][1:]
    assert all(0 <= row[2] <= row[3] <= 100 for row in curve)
    assert result["seconds"] == pytest.approx(sum(result["epoch_seconds"]))

    model = build("resnet8", 10)
    digest = load_weights(model, weights_path(tmp_path, spec.run_id), "resnet8")
    assert result["weights_sha256"] == digest == sha256(weights_path(tmp_path, spec.run_id))
    assert result["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert result["teacher_sha256"] == hashlib.sha256(teacher.path.read_bytes()).hexdigest()

    guide = build("resnet8", 10)
    load_weights(guide, teacher.path, "resnet8")
    for network, names in ((model, ("last_top1", "last_top5")), (guide, ("teacher_top1", "teacher_top5"))):
        dataset = load_data(spec, Execution(tmp_path))
        with torch.no_grad():
            logits = network.eval()(normalise(dataset.test.images, dataset.mean, dataset.std))
        ranks = (logits > logits.gather(1, dataset.test.labels[:, None])).sum(1)
        assert [result[name] for name in names] == pytest.approx(
            [100 * (ranks < k).double().mean().item() for k in (1, 5)], abs=0.2
        )

    provenance = result["provenance"]
    assert set(provenance) == PROVENANCE
    assert provenance["command"] == "sweep table5"
    assert (provenance["threads"], provenance["pack"], provenance["torch"]) == (1, 1, torch.__version__)
    times = [datetime.fromisoformat(provenance[name]) for name in ("began", "started", "ended")]
    assert times == sorted(times)
    assert datetime.fromisoformat(provenance["started"]).utcoffset() is not None


def test_result_of_a_student_alone(tmp_path: Path) -> None:
    train([VANILLA], Execution(tmp_path, threads=1))
    _, result = outcome(tmp_path, VANILLA)
    assert (result["teacher_sha256"], result["teacher_top1"], result["teacher_top5"]) == (None, None, None)
    assert set(result) | {"seconds", "epoch_seconds", "provenance"} == FIELDS
    spec = json.loads((run_dir(tmp_path, VANILLA.run_id) / "spec.json").read_text())
    assert from_dict(spec) == VANILLA


def test_time_spent_before_a_stop_counts(teacher: GivenTeacher, tmp_path: Path) -> None:
    execution = teacher.execution(tmp_path)
    reports = stop_after([teacher.spec()], execution, 1)
    spent = [report.metrics[teacher.spec().run_id]["seconds"] for report in reports]
    started = datetime.now().astimezone()
    train([teacher.spec()], execution)
    result = read_result(tmp_path, teacher.spec().run_id)
    assert result is not None
    assert result["epoch_seconds"][:1] == spent
    assert datetime.fromisoformat(result["provenance"]["started"]) <= started


# --- views that are shared, and those that are not ------------------------------------------------------------------


@pytest.mark.medium
@pytest.mark.parametrize(("timing", "asked"), [(False, 1), (True, 3)])
def test_timing_runs_share_nothing(
    timing: bool, asked: int, teacher: GivenTeacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three students of one teacher: it sees every image once an epoch, or for timing once a student."""
    specs = [teacher.spec(timing=timing, epochs=2, lr=lr) for lr in (0.05, 0.02, 0.01)]
    train(specs[:1], teacher.execution(tmp_path / "alone"))
    stop_after(specs, teacher.execution(tmp_path / "packed"), 1)
    seen, original = [], Teacher.logits

    def counting(self: Teacher, images: Tensor) -> Tensor:
        seen.append(len(images))
        return original(self, images)

    monkeypatch.setattr(Teacher, "logits", counting)
    train(specs, teacher.execution(tmp_path / "packed"))
    assert sum(seen) == asked * IMAGES
    assert_same(tmp_path / "alone", tmp_path / "packed", specs[:1])


@pytest.mark.medium
def test_seconds_are_shared_out(teacher: GivenTeacher, tmp_path: Path) -> None:
    """Packed students split the time between them; timing runs are each charged their own."""
    specs = [teacher.spec(epochs=1), teacher.spec(epochs=1, lr=0.01)]
    (report,) = run(specs, teacher.execution(tmp_path))
    one, two = (numbers["seconds"] for numbers in report.metrics.values())
    assert one == pytest.approx(two, rel=0.05)
    timed = [replace(spec, timing=True) for spec in specs]
    timed[1] = replace(timed[1], student="wrn_16_2")
    (report,) = run(timed, teacher.execution(tmp_path))
    assert report.metrics[timed[1].run_id]["seconds"] > 1.3 * report.metrics[timed[0].run_id]["seconds"]

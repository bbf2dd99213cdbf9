"""What the tests of jobs share: tiny networks on a few digits, and the comparison of two trainings bit by bit."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainables.datasets import count_images
from trainables.errors import UserError
from trainables.job import EpochReport, Execution, run
from trainables.models import Network, Outputs, build
from trainables.models.checkpoint import load_state
from trainables.spec import Mixing, RunSpec, Temperature, params
from trainables.storage.runs import read_result, weights_path
from trainables.training.teachers import Teacher

VANILLA = RunSpec(
    dataset="digits",
    student="resnet8",
    seed=1,
    epochs=2,
    milestones=(1,),
    lr=0.05,
    batch_size=6,
    augmentation="crop",
    train_fraction=0.058,
    holdout=0.15,
)
"""Trained on 64 images and tested on ten: most of the time would go into all 597 test images."""
IMAGES = count_images("digits", None, VANILLA.train_fraction, holdout=VANILLA.holdout).train_size
STEPS = math.ceil(IMAGES / VANILLA.batch_size)
DKD = params(ce=1, alpha=1, beta=2, warmup=2)


def seasoned(name: str, num_classes: int = 10, seed: int = 0) -> Network:
    """A network whose normalisation has statistics and weights as after a training; sharp enough to have opinions."""
    torch.manual_seed(seed)
    model = build(name, num_classes)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 1)
    return model.eval()


class CountingTeacher(Teacher):
    """Remembers how many images it has seen at each call."""

    def __init__(self, model: Network) -> None:
        super().__init__(model, device="cpu", precision="fp32")
        self.calls: list[int] = []

    def logits(self, images: Tensor) -> Tensor:
        self.calls.append(len(images))
        return super().logits(images)

    def outputs(self, images: Tensor) -> Outputs:
        self.calls.append(len(images))
        return super().outputs(images)


@dataclass(frozen=True)
class GivenTeacher:
    path: Path
    digest: str

    def execution(self, results: Path, **changes: Any) -> Execution:
        execution = Execution(results, teachers=((self.digest, str(self.path)),), threads=1)
        return replace(execution, **changes)

    def spec(self, method: str = "kd", **changes: Any) -> RunSpec:
        numbers = {"kd": params(ce=0.1, kd=0.9), "dkd": DKD}[method]
        source = f"sha256:{self.digest}"
        return replace(VANILLA, method=method, params=numbers, teacher="resnet8", teacher_source=source, **changes)


def students(teacher: GivenTeacher) -> dict[str, RunSpec]:
    """Nine students of one teacher: every method, rule, operation and selection, two networks, three lengths."""
    gradation = Temperature(4, "gradation", values=(6, 5, 3, 2))
    return {
        "kd": teacher.spec(),
        "energy_kd": teacher.spec(temperature=Temperature(4, "energy", 2, -2, 0.2)),
        "gradation": teacher.spec(temperature=gradation, epochs=1),
        "dkd": teacher.spec("dkd", student="wrn_16_1"),
        "reversed_dkd": teacher.spec("dkd", temperature=Temperature(4, "reversed", 2, -2, 0.3)),
        "cutmix": teacher.spec(mixing=Mixing("cutmix")),
        "he_cutmix": teacher.spec(mixing=Mixing("cutmix", "high", 0.4), epochs=3, milestones=(1, 2)),
        "half_mixup_dkd": teacher.spec("dkd", mixing=Mixing("mixup", "half", 0.6, alpha=0.2)),
        "low_energy": teacher.spec(
            temperature=Temperature(4, "low", 2, 0, 0.2), mixing=Mixing("cutmix", "low", 0.5), weight_decay=0.0
        ),
    }


def train(specs: Sequence[RunSpec], execution: Execution) -> list[EpochReport]:
    return list(run(specs, execution))


def outcome(results: Path, spec: RunSpec) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights, and the result without what says where and how fast."""
    result = read_result(results, spec.run_id)
    assert result is not None
    machine = ("seconds", "epoch_seconds", "provenance")
    return load_state(weights_path(results, spec.run_id)), {k: v for k, v in result.items() if k not in machine}


def assert_same(one: Path, two: Path, specs: Sequence[RunSpec]) -> None:
    for spec in specs:
        (a, left), (b, right) = outcome(one, spec), outcome(two, spec)
        assert a.keys() == b.keys()
        different = [key for key in a if not torch.equal(a[key], b[key])]
        assert not different, f"{spec.name}: {len(different)} of {len(a)} tensors differ"
        assert left == right


def stop_after(specs: Sequence[RunSpec], execution: Execution, epoch: int) -> list[EpochReport]:
    """A job that is stopped when it has reported `epoch`."""
    reports, going = [], run(specs, execution)
    for report in going:
        reports.append(report)
        if report.epoch == epoch:
            break
    going.close()  # type: ignore[attr-defined]
    return reports


def one_line(error: pytest.ExceptionInfo[UserError]) -> str:
    text = str(error.value)
    assert text
    assert "\n" not in text
    return text


class Recorder:
    """Records as a GPU does: work is not done while it is recorded, and done on the same tensors at each replay."""

    def __init__(self) -> None:
        self.replays: Counter[int] = Counter()

    def __call__(self, work: Callable[[], Tensor | None]) -> tuple[Callable[[], None], Tensor | None]:
        number = len(self.replays)
        self.replays[number] = 0
        result = torch.zeros(())

        def replay() -> None:
            self.replays[number] += 1
            found = work()
            if found is not None:
                result.copy_(found)

        return replay, result

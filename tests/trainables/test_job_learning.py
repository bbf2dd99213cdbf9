"""What a job computes: against a plain PyTorch loop, and that every treatment learns."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from few import fast
from small_jobs import (
    DKD,
    IMAGES,
    VANILLA,
    GivenTeacher,
    outcome,
    train,
)
from torch import Tensor, nn

from trainables.data.dataset import Dataset
from trainables.job import Execution, load_data
from trainables.models import build
from trainables.models.checkpoint import load_weights
from trainables.spec import Mixing, RunSpec, Temperature, params
from trainables.training import student
from trainables.training.evaluation import Scores
from trainables.training.student import Student
from trainables.training.teachers import Teacher, TeacherFacts
from trainables.training.views import TeacherContext, Views

RULES = [
    Temperature(4),
    Temperature(4, "energy", 2, -2, 0.2),
    Temperature(4, "low", 2, 0, 0.2),
    Temperature(4, "high", 0, -2, 0.2),
    Temperature(4, "reversed", 2, -2, 0.2),
    Temperature(4, "gradation", values=(6, 5, 4, 3, 2)),
]
MIXINGS = [
    Mixing("cutmix"),
    Mixing("cutmix", "high", 0.4),
    Mixing("cutmix", "low", 0.4),
    Mixing("cutmix", "half", 0.4),
    Mixing("mixup", alpha=0.2),
    Mixing("mixup", "high", 0.4, alpha=0.2),
]


def plain_kd(logits: Tensor, answers: Tensor, temperature: Tensor) -> Tensor:
    column = temperature[:, None]
    each = nn.functional.kl_div(
        torch.log_softmax(logits / column, 1), torch.softmax(answers / column, 1), reduction="none"
    )
    return (each.sum(1) * temperature**2).mean()


def plain_loop(spec: RunSpec, teacher: GivenTeacher) -> tuple[nn.Module, list[float]]:
    """The run as one would write it by hand: plain SGD, an unfolded teacher that is asked for every batch."""
    dataset = load_data(spec, teacher.execution(Path()))
    guide = build("resnet8", 10).eval()
    load_weights(guide, teacher.path, "resnet8")

    def energy(answers: Tensor) -> Tensor:
        return -4 * torch.logsumexp(answers / 4, 1)

    stream = dataset.stream(seed=spec.seed, batch_size=spec.batch_size, augmentation=spec.augmentation)
    with torch.no_grad():
        ordered = energy(guide(torch.cat(list(stream.each_once(256))))).sort().values
    rate, rule = spec.temperature.rate, spec.temperature
    low, high = ordered[int(IMAGES * rate)], ordered[-(int(IMAGES * rate) + 1)]

    def temperature(answers: Tensor) -> Tensor:
        here = torch.full((len(answers),), rule.base)
        if rule.rule == "energy":
            here[energy(answers) < low] += rule.plus
            here[energy(answers) > high] += rule.minus
        return here

    model = student.initial_model(spec, 10).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(
        model.parameters(), lr=spec.lr, momentum=spec.momentum, weight_decay=spec.weight_decay, foreach=False
    )
    mixer = TeacherContext(
        Teacher(guide, device="cpu", precision="fp32"), TeacherFacts("", Scores(0, 0, 0), {"view": ordered})
    )
    losses = []
    for epoch in range(1, spec.epochs + 1):
        for group in optimizer.param_groups:
            group["lr"] = spec.lr * math.prod(spec.lr_decay for milestone in spec.milestones if epoch >= milestone + 1)
        total = 0.0
        for chunk in stream.epoch(epoch):
            views = Views(chunk, stream, torch.float32, mixer)
            for step in range(len(chunk.bounds) - 1):
                rows = slice(chunk.bounds[step], chunk.bounds[step + 1])
                images, labels = chunk.images[rows], chunk.labels[rows]
                logits = model(images)
                loss = nn.functional.cross_entropy(logits, labels)
                if spec.method == "kd":
                    with torch.no_grad():
                        answers = guide(images)
                    loss = 0.1 * loss + 0.9 * plain_kd(logits, answers, temperature(answers))
                if spec.mixing is not None:
                    mixed = views.mixed(spec.mixing, "view")
                    images = mixed.images[slice(*mixed.bounds[step])]
                    if len(images):
                        with torch.no_grad():
                            answers = guide(images)
                        loss = loss + 0.9 * plain_kd(model(images), answers, temperature(answers))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.item() * len(labels)
        losses.append(total / IMAGES)
    return model, losses


@pytest.mark.parametrize(
    "kind", fast(["vanilla", "kd", "energy", "he_cutmix"], "vanilla", "he_cutmix", others="medium")
)
def test_equals_a_plain_loop(kind: str, teacher: GivenTeacher, tmp_path: Path) -> None:
    """Same batches, same initial weights; the last bits differ (folded teacher, fused optimizer) and a little grows."""
    spec = {
        "vanilla": VANILLA,
        "kd": teacher.spec(),
        "energy": teacher.spec(temperature=Temperature(4, "energy", 2, -2, 0.2)),
        "he_cutmix": teacher.spec(mixing=Mixing("cutmix", "high", 0.5)),
    }[kind]
    spec = replace(spec, epochs=3, milestones=(1, 2), lr=0.02, batch_size=32)
    model, losses = plain_loop(spec, teacher)
    train([spec], teacher.execution(tmp_path))
    weights, result = outcome(tmp_path, spec)
    assert [row[1] for row in result["curve"]] == pytest.approx(losses, rel=1e-4)
    for key, value in model.state_dict().items():
        torch.testing.assert_close(
            weights[key], value, rtol=1e-3, atol=1e-3, msg=lambda text, key=key: f"{key}: {text}"
        )


def test_learning_rate_falls_after_each_milestone(digits: Dataset, tmp_path: Path) -> None:
    """Epochs count from 1: with milestones 150, 180, 210 epoch 151 is the first with the lower rate."""
    spec = replace(VANILLA, epochs=240, milestones=(150, 180, 210))
    made = Student(spec, dataset=digits, context=None, results=tmp_path, started="")
    rates = {}
    for epoch in range(1, 241):
        made.steps.begin_epoch(epoch)
        (rates[epoch],) = (group["lr"] for group in made.optimizer.param_groups)
    expected = {1: 0.05, 150: 0.05, 151: 5e-3, 180: 5e-3, 181: 5e-4, 210: 5e-4, 211: 5e-5, 240: 5e-5}
    assert {epoch: rates[epoch] for epoch in expected} == pytest.approx(expected, rel=1e-12)
    assert list(rates.values()) == sorted(rates.values(), reverse=True)


# --- learning ------------------------------------------------------------------------------------------------------


def learned(results: Path, choose: Callable[[RunSpec, RunSpec], list[RunSpec]], fraction: float) -> dict[str, float]:
    """Test accuracy by treatment after a few epochs under a teacher that was trained here; chance is 10 per cent."""
    alone = replace(VANILLA, batch_size=32, train_fraction=fraction, epochs=4, milestones=(3,))
    execution = Execution(results, threads=1)
    train([alone], execution)
    source = f"run:{alone.run_id}"
    kd = replace(alone, method="kd", params=params(ce=0.1, kd=0.9), teacher="resnet8", teacher_source=source)
    specs = choose(kd, replace(kd, method="dkd", params=DKD))
    train(specs, execution)
    return {spec.treatment: outcome(results, spec)[1]["last_top1"] for spec in (alone, *specs)}


@pytest.mark.slow
def test_every_treatment_learns(tmp_path: Path) -> None:
    def every(kd: RunSpec, dkd: RunSpec) -> list[RunSpec]:
        return [
            *(replace(method, temperature=rule) for method in (kd, dkd) for rule in RULES),
            *(replace(method, mixing=mixing) for method in (kd, dkd) for mixing in MIXINGS),
        ]

    scores = learned(tmp_path, every, fraction=1.0)
    assert len(scores) == 25
    assert min(scores.values()) > 55, scores

"""Every method in training: it learns, alone as in a pack, undisturbed as resumed, its modules counted apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_jobs import STEPS, VANILLA, GivenTeacher, assert_same, outcome, stop_after, train
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from trainables.job import Execution
from trainables.methods import find, make, names
from trainables.models import build
from trainables.spec import Params, RunSpec, params
from trainables.storage.runs import stream_key

NUMBERS: dict[str, Params] = {
    "vanilla": params(),
    "kd": params(ce=0.1, kd=0.9),
    "kd_equal": params(ce=0.1, kd=0.9, reference=2),
    "dist": params(ce=1, weight=2),
    "nkd": params(ce=1, gamma=1.5),
    "rld": params(ce=1, alpha=1, beta=8, alpha_temperature=1, warmup=2),
    "abkd": params(ce=1, weight=32, alpha=0.8, beta=0.3),
    "dkd": params(ce=1, alpha=1, beta=2, warmup=2),
    "fitnet": params(ce=1, weight=100, feature=2),
    "at": params(ce=1, weight=1000, power=2),
    "pkt": params(ce=1, weight=30000),
    "rkd": params(ce=1, distance=25, angle=50),
    "vid": params(ce=1, weight=1, variance=5, eps=1e-5),
    "ofd": params(ce=1, weight=0.001),
    "crd": params(ce=1, weight=0.8, dimensions=16, negatives=32, temperature=0.07, momentum=0.5),
    "reviewkd": params(ce=1, weight=1, warmup=2, preactivations=0),
    "multi": params(ce=0.1, kd=0.9, released=1, strong=1),
    "dml": params(ce=1, mutual=1),
}
"""The paper's, but with fewer negatives, shorter warm-ups and, where a pair decides, a small weight."""


def specs(base: RunSpec, source: str) -> dict[str, RunSpec]:
    """Each method with what it declares to need; equal networks."""
    return {
        name: replace(
            base,
            method=name,
            params=NUMBERS[name],
            teacher=base.student if find(name).TEACHER else None,
            teacher_source=source if find(name).TEACHER else None,
            peer=base.student if find(name).PEER else None,
        )
        for name in names()
    }


def packs(runs: Iterable[RunSpec]) -> list[list[RunSpec]]:
    """As few jobs as possible."""
    groups = defaultdict(list)
    for run in runs:
        groups[stream_key(run)].append(run)
    return list(groups.values())


Trained = tuple[dict[str, RunSpec], Path]


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Three epochs of half of the digits, under a teacher that was trained here."""
    base = replace(VANILLA, batch_size=16, train_fraction=0.5, epochs=3, milestones=(2,))
    execution = Execution(tmp_path_factory.mktemp("learned"), threads=1)
    train([base], execution)
    runs = specs(base, f"run:{base.run_id}")
    for pack in packs(runs.values()):
        train(pack, execution)
    return runs, execution.results


@pytest.fixture(scope="module")
def undisturbed(teacher: GivenTeacher, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Two epochs of few digits, each method in a job of its own."""
    runs = specs(VANILLA, f"sha256:{teacher.digest}")
    execution = teacher.execution(tmp_path_factory.mktemp("undisturbed"))
    for run in runs.values():
        train([run], execution)
    return runs, execution.results


@pytest.fixture(scope="module")
def resumed(teacher: GivenTeacher, undisturbed: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in packs, stopped after the first epoch and begun again."""
    execution = teacher.execution(tmp_path_factory.mktemp("resumed"))
    for pack in packs(undisturbed[0].values()):
        stop_after(pack, execution, 1)
        train(pack, execution)
    return execution.results


def test_every_method_has_numbers_here() -> None:
    assert set(names()) <= set(NUMBERS)


@pytest.mark.parametrize("name", names())
def test_it_learns(name: str, learned: Trained) -> None:
    """Chance is 10 per cent."""
    runs, results = learned
    assert outcome(results, runs[name])[1]["last_top1"] > 30


class Sync(TorchDispatchMode):
    """Raises where a number is read, or a size depends on one: on a GPU, either waits for the device."""

    WAITING = (torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero, torch.ops.aten.masked_select)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func.overloadpacket not in self.WAITING, f"{func} waits for the device"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", names())
def test_no_loss_waits_for_the_device(
    name: str, teacher: GivenTeacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, batches = replace(specs(VANILLA, f"sha256:{teacher.digest}")[name], epochs=1), []
    kind = "two_view_loss" if make(name, spec.params).wants_strong else "loss"
    loss = getattr(find(name), kind)

    def watched(*arguments: Any) -> Tensor:
        batches.append(arguments[-1])
        with Sync():
            return loss(*arguments)

    monkeypatch.setattr(find(name), kind, watched)
    train([spec], teacher.execution(tmp_path))
    assert len(batches) == STEPS


def test_the_watch_sees_what_waits() -> None:
    with pytest.raises(AssertionError, match="waits for the device"), Sync():
        torch.zeros(2).sum().item()


@pytest.mark.parametrize("name", names())
def test_only_the_students_parameters_count(name: str, learned: Trained) -> None:
    runs, results = learned
    weights, result = outcome(results, runs[name])
    network = build(runs[name].student, 10)
    assert result["parameters"] == sum(parameter.numel() for parameter in network.parameters())
    assert weights.keys() == network.state_dict().keys()


@pytest.mark.parametrize("name", names())
def test_a_pack_that_was_stopped_gives_the_same_bits(name: str, undisturbed: Trained, resumed: Path) -> None:
    runs, results = undisturbed
    assert_same(results, resumed, [runs[name]])

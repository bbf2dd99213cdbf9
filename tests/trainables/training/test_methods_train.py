"""Every method in training: it learns, alone as in a pack, undisturbed as resumed, its modules counted apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import few
import pytest
from few import some_or_all
from small_jobs import VANILLA, GivenTeacher, assert_same, outcome, stop_after, train

from trainables.job import Execution
from trainables.methods import find, names
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


def specs(base: RunSpec, source: str, chosen: Iterable[str]) -> dict[str, RunSpec]:
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
        for name in chosen
    }


def packs(runs: Iterable[RunSpec]) -> list[list[RunSpec]]:
    """As few jobs as possible."""
    groups = defaultdict(list)
    for run in runs:
        groups[stream_key(run)].append(run)
    return list(groups.values())


@pytest.mark.medium
@pytest.mark.parametrize("chosen", some_or_all(few.METHODS, names()))
def test_they_learn_and_only_the_students_parameters_count(chosen: Sequence[str], tmp_path: Path) -> None:
    """Three epochs of half of the digits, under a teacher that was trained here. Chance is 10 per cent."""
    base = replace(VANILLA, batch_size=16, train_fraction=0.5, epochs=3, milestones=(2,))
    execution = Execution(tmp_path, threads=1)
    train([base], execution)
    runs = specs(base, f"run:{base.run_id}", chosen)
    for pack in packs(runs.values()):
        train(pack, execution)
    network = build(base.student, 10)
    for name, run in runs.items():
        weights, result = outcome(tmp_path, run)
        assert result["last_top1"] > 30, name
        assert result["parameters"] == sum(parameter.numel() for parameter in network.parameters()), name
        assert weights.keys() == network.state_dict().keys(), name


@pytest.mark.parametrize("chosen", some_or_all(few.METHODS, names()))
@pytest.mark.medium
def test_a_pack_that_was_stopped_gives_the_same_bits(
    chosen: Sequence[str], teacher: GivenTeacher, tmp_path: Path
) -> None:
    """As each method in a job of its own."""
    runs = specs(VANILLA, f"sha256:{teacher.digest}", chosen)
    alone, resumed = teacher.execution(tmp_path / "alone"), teacher.execution(tmp_path / "resumed")
    for run in runs.values():
        train([run], alone)
    for pack in packs(runs.values()):
        stop_after(pack, resumed, 1)
        train(pack, resumed)
    assert_same(alone.results, resumed.results, list(runs.values()))


def test_every_method_has_numbers_here() -> None:
    assert set(names()) <= set(NUMBERS)

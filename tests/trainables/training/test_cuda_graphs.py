"""Recorded steps: with a recorder that does the work on its own tensors, all is as without one; on a GPU, for real."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_jobs import VANILLA, GivenTeacher, Recorder, assert_same, stop_after, students, train
from torch import Tensor

from trainables import job
from trainables.job import Execution
from trainables.methods import find, names
from trainables.training.cuda_graphs import WARM_UP, Replayed


def test_work_is_done_as_it_is_then_recorded_then_replayed() -> None:
    recorder = Recorder()
    replayed = Replayed(recorder)
    seen: list[int] = []

    def work(tensors: dict[str, Tensor]) -> Tensor:
        seen.append(tensors["a"].data_ptr())
        return tensors["a"].sum()

    for number in range(WARM_UP + 5):
        given = torch.full((3,), float(number))
        found = replayed("key", {"a": given}, work)  # type: ignore[arg-type]
        assert found is not None
        assert found.item() == 3 * number
    assert len(set(seen[WARM_UP:])) == 1
    assert recorder.replays == {0: 5}
    replayed("other", {"a": torch.ones(4)}, work)  # type: ignore[arg-type]
    assert recorder.replays == {0: 5}


@pytest.mark.medium
def test_recorded_students_have_the_same_weights(
    teacher: GivenTeacher, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also stopped and resumed, when a recording begins anew. (Other rules and losses: `test_rules_train.py`.)"""
    recorders: list[Recorder] = []

    def recording(execution: Execution) -> Recorder:
        recorders.append(Recorder())
        return recorders[-1]

    monkeypatch.setattr(job, "capture_on", recording)
    specs = [students(teacher)[name] for name in ("dkd", "he_cutmix", "half_mixup_dkd", "low_energy")]
    execution = replace(teacher.execution(tmp_path), teacher_cache_gb=1.0)
    stop_after(specs, execution, 1)
    train(specs, execution)
    train([VANILLA], Execution(tmp_path, threads=1))
    assert_same(alone, tmp_path, specs)
    assert sum(sum(recorder.replays.values()) for recorder in recorders) > 60


def test_only_losses_of_a_step_alone_are_recorded() -> None:
    """Neither those that know their epoch, nor those with modules, features or draws of their own."""
    fixed = {name for name in names() if find(name).fixed is not find("at").fixed}
    assert fixed == {"kd", "kd_equal", "dkd", "dist", "nkd", "rld", "abkd", "vanilla"}
    dkd = find("dkd")(ce=1, alpha=1, beta=2, warmup=3)  # type: ignore[call-arg]
    assert [dkd.fixed(epoch) for epoch in (1, 2, 3, 4)] == [False, False, True, True]


@pytest.mark.gpu
def test_cuda_graphs_train_as_kernels_do(teacher: GivenTeacher, tmp_path: Path) -> None:
    specs = list(students(teacher).values())
    for graphs in (False, True):
        execution = teacher.execution(tmp_path / f"{graphs}", device="cuda", cuda_graphs=graphs)
        train(specs, execution)
    assert_same(tmp_path / "False", tmp_path / "True", specs)

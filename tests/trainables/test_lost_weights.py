"""A run whose weights were deleted, damaged or changed for others: its students could not be taught by it, so it is
trained again, to the same weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_jobs import VANILLA, outcome, seasoned, train

from trainables.errors import UserError
from trainables.job import Execution
from trainables.models.checkpoint import save_weights
from trainables.spec import params
from trainables.storage.runs import has_weights, weights_path


def test_lost_weights_are_trained_again(tmp_path: Path) -> None:
    execution = Execution(tmp_path, threads=1)
    train([VANILLA], execution)
    before, _ = outcome(tmp_path, VANILLA)
    assert [report.epoch for report in train([VANILLA], execution)] == [0]
    weights_path(tmp_path, VANILLA.run_id).unlink()
    assert [report.epoch for report in train([VANILLA], execution)] == [1, 2]
    after, _ = outcome(tmp_path, VANILLA)
    assert all(torch.equal(before[key], after[key]) for key in before)


STUDENT = replace(
    VANILLA,
    method="kd",
    params=params(ce=0.1, kd=0.9),
    teacher="resnet8",
    teacher_source=f"run:{VANILLA.run_id}",
    epochs=1,
    milestones=(),
)


@pytest.mark.medium
@pytest.mark.parametrize("how", ["truncated", "of another run"])
def test_other_weights_teach_nobody_and_are_trained_again(how: str, tmp_path: Path) -> None:
    execution = Execution(tmp_path, threads=1)
    train([VANILLA], execution)
    path = weights_path(tmp_path, VANILLA.run_id)
    whole = path.read_bytes()
    assert has_weights(tmp_path, VANILLA.run_id)
    if how == "truncated":
        path.write_bytes(whole[:-9])
    else:
        save_weights(seasoned("resnet8"), path)
    assert not has_weights(tmp_path, VANILLA.run_id)
    with pytest.raises(UserError, match=r"weights.pt is damaged, or not what .* the same command trains it again"):
        train([STUDENT], execution)
    assert [report.epoch for report in train([VANILLA], execution)] == [1, 2]
    assert path.read_bytes() == whole
    assert train([STUDENT], execution)[-1].finished == (STUDENT.run_id,)

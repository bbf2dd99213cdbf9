"""A run whose weights were deleted: its students could not be taught, so it is trained again, to the same weights."""

from __future__ import annotations

from pathlib import Path

import torch
from small_jobs import VANILLA, outcome, train

from trainables.job import Place
from trainables.runs import weights_path


def test_lost_weights_are_trained_again(tmp_path: Path) -> None:
    place = Place(tmp_path, threads=1)
    train([VANILLA], place)
    before, _ = outcome(tmp_path, VANILLA)
    assert [report.epoch for report in train([VANILLA], place)] == [0]
    weights_path(tmp_path, VANILLA.run_id).unlink()
    assert [report.epoch for report in train([VANILLA], place)] == [1, 2]
    after, _ = outcome(tmp_path, VANILLA)
    assert all(torch.equal(before[key], after[key]) for key in before)

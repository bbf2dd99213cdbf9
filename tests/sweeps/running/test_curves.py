"""Curves for TensorBoard: read back, continued by a later sweep, and given up where the disk is full."""

from __future__ import annotations

import errno
import math
import os
from pathlib import Path

import pytest
from curves import epochs_of_runs, scalars
from fake_job import spec

from sweeps.running.curves import Curves
from trainables.job import EpochReport
from trainables.run_names import name_of


def report(epoch: int, *, ends: bool = False, top1: float = 50.0) -> EpochReport:
    run_id = spec().run_id
    return EpochReport(epoch, 3, {run_id: {"top1": top1, "loss": math.nan}}, (run_id,) if ends else ())


def test_numbers_are_read_back(tmp_path: Path) -> None:
    curves = Curves(tmp_path)
    for epoch in (1, 2, 3):
        curves.add([spec(), spec("other")], report(epoch, ends=epoch == 3, top1=10.0 * epoch))
    (path,) = tmp_path.glob("*/events.out.tfevents.*")
    assert path.parent.name == name_of(spec())
    assert scalars(path, "ray/tune/top1") == [(1, 10.0), (2, 20.0), (3, 30.0)]
    assert scalars(path, "ray/tune/loss") == []
    assert len(scalars(path, "_hparams_/session_start_info")) == 1
    curves.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_full_disk_costs_the_curves_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many numbers there are, and whether the folder or the file cannot be written; later ones are kept."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    curves = Curves(tmp_path / "tune" / "curves")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", full)
        curves.add([spec()], report(1))
    curves.add([spec()], report(2))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        for epoch in range(3, 100):
            curves.add([spec()], report(epoch))
    curves.add([spec()], report(100))
    curves.close()
    assert {2, 100} <= set(epochs_of_runs(tmp_path)[name_of(spec())])

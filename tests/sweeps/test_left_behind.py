"""What killed processes and full disks leave: removed by the next driver, and told in one line."""

from __future__ import annotations

import errno
import io
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from fake_job import result, spec

from analysis.record.ledger import Ledger
from sweeps.display.progress import Lines, State
from sweeps.planning.plan import JobKind, Plan, PlannedJob
from sweeps.running.cluster import _temporary_folder
from sweeps.running.engine import _forget_experiments
from sweeps.running.events import EpochDone
from sweeps.running.lock import hold_driver_lock
from sweeps.running.recovery import ingest
from trainables.errors import UserError
from trainables.job import EpochReport
from trainables.storage.checkpoints import checkpoint_paths
from trainables.storage.runs import run_dir, weights_path, write_result


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_checkpoints_and_half_written_files_of_ended_runs_go(tmp_path: Path) -> None:
    """A process may die after it has written a result and before it has dropped the checkpoints."""
    ended, weightless, open_run = spec("net", 1), spec("net", 2), spec("net", 3)
    for one in (ended, weightless, open_run):
        run_dir(tmp_path, one.run_id).mkdir(parents=True)
        for path in checkpoint_paths(tmp_path, one.run_id):
            path.touch()
    for one in (ended, weightless):
        write_result(tmp_path, result(one))
    weights_path(tmp_path, ended.run_id).touch()
    for name in ("tables/.table5.tex.12", "jobs/.job.json.345", ".ledger.sqlite.6", "tables/table5.tex"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        assert ingest(tmp_path, ledger, [one.run_id for one in (ended, weightless, open_run)]) == 2
        assert ingest(tmp_path, ledger, [ended.run_id]) == 0
    kept = [
        str(path.relative_to(tmp_path))
        for one in (weightless, open_run)
        for path in checkpoint_paths(tmp_path, one.run_id)
    ]
    ends = [f"runs/{one.run_id}/result.json" for one in (ended, weightless)] + [f"runs/{ended.run_id}/weights.pt"]
    assert files(tmp_path) == sorted(["ledger.sqlite", "tables/table5.tex", *ends, *kept])


def test_what_tune_kept_of_earlier_sweeps_goes(tmp_path: Path) -> None:
    for name in ("20261125T144701.453015Z/tuner.pkl", "train/train-1/x", "curves/run/events"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    _forget_experiments(tmp_path)
    assert files(tmp_path) == ["curves/run/events"]
    _forget_experiments(tmp_path / "none")


def test_folders_of_killed_drivers_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's logs and sockets: those of a driver at work stay, and so does what is not ours."""
    with tempfile.TemporaryDirectory(dir="/tmp") as base:
        monkeypatch.setattr(tempfile, "tempdir", base)
        for name in ("ekd-killed/driver", "ekd-killed/session/logs", "ekd-not-ours/file"):
            (Path(base) / name).parent.mkdir(exist_ok=True)
            (Path(base) / name).touch()
        with _temporary_folder(keep=True) as debugged:
            assert not (Path(base) / "ekd-killed").exists()
            with _temporary_folder(keep=False) as own:
                assert {path.name for path in Path(base).iterdir()} == {
                    "ekd-not-ours",
                    *(Path(debugged).name, Path(own).name),
                }
        with _temporary_folder(keep=False):
            assert Path(debugged).exists()
        assert not Path(own).exists()


def test_what_others_lay_in_the_way_neither_hangs_a_sweep_nor_is_followed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A pipe that nobody writes, a link to a folder of ours, a file of another user."""
    (tmp_path / "ours").mkdir()
    for name in ("driver", "thesis"):
        (tmp_path / "ours" / name).touch()
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        base = Path(folder)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        for name in ("ekd-pipe", "ekd-link", "ekd-other"):
            (base / name).mkdir()
        os.mkfifo(base / "ekd-pipe" / "driver")
        (base / "ekd-link" / "driver").symlink_to(tmp_path / "ours" / "driver")
        (base / "ekd-folder").symlink_to(tmp_path / "ours")
        (base / "ekd-other" / "driver").touch()
        there = sorted(base.iterdir())
        if os.getuid() == 0:
            os.chown(base / "ekd-other", 12345, 12345)
        else:
            monkeypatch.setattr(os, "getuid", lambda: 12345)
        with _temporary_folder(keep=False):
            pass
        assert sorted(base.iterdir()) == there
    assert files(tmp_path) == ["ours/driver", "ours/thesis"]


def test_a_half_removed_folder_goes_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as base:
        monkeypatch.setattr(tempfile, "tempdir", base)
        with monkeypatch.context() as patch:
            with _temporary_folder(keep=False) as first:
                (Path(first) / "session").mkdir()
                patch.setattr(shutil, "rmtree", lambda *_, **__: None)
            assert Path(first).exists()
        with _temporary_folder(keep=False):
            assert not Path(first).exists()


def test_a_disk_that_fills_up_under_a_driver_is_one_line(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match=f"cannot write to {tmp_path}: no space left on device"),
        hold_driver_lock(tmp_path),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    with hold_driver_lock(tmp_path):
        pass


def test_a_damaged_checkpoint_is_told(tmp_path: Path) -> None:
    one = spec()
    job = PlannedJob(one.name, JobKind.VANILLA, (one,))
    out = io.StringIO()
    line = f"checkpoint.pt of {one.name} is damaged: not used; it goes on after epoch 3"
    report = EpochReport(0, 4, {}, (), {}, damaged=(line,))
    Lines(State(Plan({}, (job,))), out)(EpochDone(job, report))
    assert out.getvalue() == f"damaged  {line}\n"

"""What killed processes and full disks leave: removed by the next driver, and told in one line."""

from __future__ import annotations

import errno
import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_job import result, spec

from analysis.record.ledger import Ledger
from sweeps.display.progress import Lines
from sweeps.planning.plan import JobKind, Plan, PlannedJob
from sweeps.running.cluster import make_temporary_folder
from sweeps.running.events import EpochDone
from sweeps.running.progress import State
from sweeps.running.recovery import ingest
from sweeps.running.tune_adapter import forget_experiments
from trainables.errors import UserError
from trainables.job import EpochReport
from trainables.storage.checkpoints import checkpoint_paths
from trainables.storage.locks import hold_driver_lock
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
    for name in ("sweep-20261125T144701.453015Z/tuner.pkl", "sweep-train-1/x", "curves/run/events", "aTbZ/mine"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    forget_experiments(tmp_path)
    assert files(tmp_path) == ["aTbZ/mine", "curves/run/events"]
    forget_experiments(tmp_path / "none")


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The system's folder for temporary files."""
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


def test_folders_of_killed_drivers_go(temporary: Path) -> None:
    """Ray's logs and sockets: those of a driver at work stay, and so does what is not ours."""
    base = temporary / f"ekd-{os.getuid()}"
    for name in ("killed.lock", "killed/session/logs", "not-ours/file"):
        (base / name).parent.mkdir(exist_ok=True, parents=True)
        (base / name).touch()
    with make_temporary_folder(keep=True) as debugged:
        assert not (base / "killed").exists()
        with make_temporary_folder(keep=False) as own:
            assert {path.name for path in base.iterdir() if path.is_dir()} == {
                "not-ours",
                *(Path(debugged).name, Path(own).name),
            }
    with make_temporary_folder(keep=False):
        assert Path(debugged).exists()
    assert not Path(own).exists()
    assert [path.name for path in base.iterdir() if path.suffix == ".lock"] == []


@pytest.mark.parametrize("way", ["file", "pipe", "link", "other"])
def test_what_others_lay_in_the_way_neither_hangs_a_sweep_nor_is_followed(
    way: str, temporary: Path, tmp_path: Path
) -> None:
    base = temporary / f"ekd-{os.getuid()}"
    (tmp_path / "thesis.lock").touch()
    (tmp_path / "thesis").mkdir()
    match way:
        case "file":
            base.touch()
        case "pipe":
            os.mkfifo(base)
        case "link":
            base.symlink_to(tmp_path)
        case "other":
            if os.getuid() != 0:
                pytest.skip("only root can give a folder away")
            base.mkdir()
            os.chown(base, 12345, 12345)
    with make_temporary_folder(keep=False) as folder:
        assert base not in Path(folder).parents
        assert Path(folder).is_dir()
    assert files(tmp_path) == ["thesis.lock"]
    assert not Path(folder).exists()


def test_a_half_removed_folder_goes_the_next_time(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, make_temporary_folder(keep=False) as first:
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)
    assert Path(first).exists()
    with make_temporary_folder(keep=False):
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
    report = EpochReport(0, 4, damaged=(line,))
    Lines(State(Plan({}, (job,))), out)(EpochDone(job, report))
    assert out.getvalue() == f"damaged  {line}\n"

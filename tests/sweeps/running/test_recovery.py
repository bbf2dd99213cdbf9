"""Results that lie in the folder: taken in, waited for, refused; and who may write there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fake_job import result, spec

from analysis.record.ledger import Ledger
from sweeps.running import recovery
from sweeps.running.recovery import ingest, wait_for_result
from trainables import time_limits
from trainables.errors import UserError
from trainables.storage.locks import hold_driver_lock
from trainables.storage.runs import read_result, run_dir, write_result


def test_results_of_runs_that_ended_unseen_are_taken_in(tmp_path: Path) -> None:
    ended, failed, running = spec("a"), spec("b"), spec("c")
    for one, reason in ((ended, None), (failed, "diverged")):
        run_dir(tmp_path, one.run_id).mkdir(parents=True)
        write_result(tmp_path, result(one, reason))
    ids = [one.run_id for one in (ended, failed, running)]
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        assert ingest(tmp_path, ledger, ids) == 2
        assert ingest(tmp_path, ledger, ids) == 0
        assert {run_id: entry.status for run_id, entry in ledger.entries(ids).items()} == {
            ended.run_id: "done",
            failed.run_id: "failed",
        }
        write_result(tmp_path, result(failed))
        assert ingest(tmp_path, ledger, ids) == 1
        assert ledger.entries([failed.run_id])[failed.run_id].status == "done"


def test_a_result_that_a_network_file_system_shows_late_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = spec()
    run_dir(tmp_path, one.run_id).mkdir(parents=True)
    write_result(tmp_path, result(one))
    looks = iter([None, None, None, None])
    monkeypatch.setattr(recovery, "read_result", lambda *where: next(looks, read_result(*where)))
    monkeypatch.setattr(time_limits, "RESULT_LOOK", 0.01)
    checks: list[None] = []
    with pytest.raises(UserError, match="its result is not in"):
        wait_for_result(tmp_path, one.run_id, 0, lambda: checks.append(None))
    assert wait_for_result(tmp_path, one.run_id, 60, lambda: checks.append(None))["run_id"] == one.run_id
    assert len(checks) == 3


def test_a_result_that_cannot_be_read_names_its_folder(tmp_path: Path) -> None:
    folder = run_dir(tmp_path, "abc")
    folder.mkdir(parents=True)
    (folder / "result.json").write_text('{"half')
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger, pytest.raises(UserError, match=f"delete {folder}"):
        ingest(tmp_path, ledger, ["abc"])


def test_a_second_driver_on_the_same_results_is_refused_and_named_the_first(tmp_path: Path) -> None:
    with hold_driver_lock(tmp_path / "new"):
        with pytest.raises(UserError, match=f"process {os.getpid()} on "), hold_driver_lock(tmp_path / "new"):
            pass
        with hold_driver_lock(tmp_path / "other"):
            pass
    with hold_driver_lock(tmp_path / "new"):
        pass


def test_results_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "taken" / "lock").mkdir(parents=True)
    named = f"cannot use {tmp_path}/taken/lock: is a directory: name a file, or remove it"
    with pytest.raises(UserError, match=named), hold_driver_lock(tmp_path / "taken"):
        pass
    for folder in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/results")):
        with pytest.raises(UserError, match=f"cannot write to the results folder {folder}"), hold_driver_lock(folder):
            pass

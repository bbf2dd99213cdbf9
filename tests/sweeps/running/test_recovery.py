"""Results that lie in the folder: taken in, waited for, refused; and who may write there."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_job import result, spec
from test_engine import CPU, job, plan

from analysis.record.ledger import Ledger
from sweeps.planning.job_queue import Feed
from sweeps.running import engine
from sweeps.running.engine import ingest
from sweeps.running.lock import hold_driver_lock
from trainables.errors import UserError
from trainables.job import Execution
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


@pytest.mark.parametrize("joined", [True, False])
def test_a_result_that_a_network_file_system_shows_late_is_waited_for(
    joined: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster's machines share one; on this machine alone nobody waits."""
    one = spec()
    run_dir(tmp_path, one.run_id).mkdir(parents=True)
    write_result(tmp_path, result(one))
    looks = iter([None, None])
    monkeypatch.setattr(engine, "read_result", lambda *where: next(looks, read_result(*where)))
    monkeypatch.setattr(engine, "LOOK_SECONDS", 0.01)
    machines: Any = SimpleNamespace() if joined else None
    watch: Any = SimpleNamespace(check=lambda: None)
    feed = Feed(plan(job(one)))
    feed.take()
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        seeing = engine._Sweep(feed, ledger, Execution(tmp_path), lambda _: None, lambda: 1, watch, {}, CPU, machines)
        seeing._record(one.run_id)
    feed.ended(job(one), None)
    assert (feed.outcome().done == {one.run_id}) == joined
    assert joined or "is not in" in feed.outcome().failed[one.run_id]


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
    for folder in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/results")):
        with pytest.raises(UserError, match=f"cannot write to the results folder {folder}"), hold_driver_lock(folder):
            pass

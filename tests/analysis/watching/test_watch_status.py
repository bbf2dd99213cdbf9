"""A sweep under way on the page: its runs, its queue, its troubles; entries that show their epoch; what it costs."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
import reports
from made_up import cells
from reports import HOSTILE, Page
from web import ask

from analysis import paper
from analysis.watching.follower import Follower
from analysis.watching.guard import Guard
from analysis.watching.server import make_application
from trainables.storage.runs import STATUS_SCHEMA, status_path

CELL = next(cell for cell in cells(paper.find("table5"), reports.SETTINGS) if cell.row == "dkd")
RUN = CELL.specs[0].run_id


def write_status(results: Path, **changes: Any) -> None:
    curve = [[epoch, 2.0 / epoch, 10.0 * epoch] for epoch in range(1, 4)]
    run = {"id": RUN, "name": f"{HOSTILE} run", "epoch": 3, "epochs": 240, "curve": curve}
    job = {"key": f"{HOSTILE} job", "where": "node1, GPU 3", "epoch": 3, "epochs": 240, "resumed": 0, "pace": 12.5}
    usual = {
        "schema": STATUS_SCHEMA,
        "process": os.getpid(),
        "host": socket.gethostname(),
        "command": "python sweeps/run.py table5",
        "began": "2026-01-02T03:04:05+00:00",
        "written": "2026-01-02T03:05:05+00:00",
        "ended": "",
        "asked": 40,
        "done": 30,
        "failed": 1,
        "left": 3725.0,
        "queued": 7,
        "jobs": [job | {"left": 2962.5, "runs": [run]}],
        "queue": [{"key": "the next", "runs": 5}],
        "troubles": [f"failed   {HOSTILE}"],
    }
    status_path(results).write_text(json.dumps(usual | changes))


@pytest.fixture
def results(tmp_path: Path) -> Path:
    made = reports.write_ledger(tmp_path / "results")
    write_status(made)
    return made


@pytest.fixture
def follower(results: Path) -> Follower:
    made = Follower(results)
    made.look()
    return made


@pytest.fixture
def application(follower: Follower) -> Guard:
    return make_application(follower)


def test_the_first_page_says_what_runs(application: Guard) -> None:
    page = Page(ask(application).text)
    (title, line) = page.table("Run", "Epoch", "Top-1 so far", "Seconds an epoch", "Left")
    assert title == [f"node1, GPU 3: {HOSTILE} job"]
    assert line == [f"{HOSTILE} run", "3 of 240", "30.00", "12.5", "49:22 min"]
    assert "30 of 40 runs done, 1 failed, about 1:02 h left" in page.text
    assert page.table("Job", "Runs") == [["the next", "5"]]
    assert "And 6 more." in page.text
    assert "epoch 3 of 240" in page.text


def test_a_run_under_way_has_a_page_and_its_cell_its_curve(application: Guard) -> None:
    run = ask(application, f"/run?id={RUN}")
    assert run.status == 200
    assert "epoch 3 of 240" in run.text
    assert run.text.count('class="curve"') == 2
    cell = ask(application, "/cell?table=table5&part=main&row=dkd&pair=resnet56/resnet20").text
    assert "under way" in cell
    assert cell.count('class="curve"') == 2


def test_runs_under_way_are_among_the_runs(application: Guard) -> None:
    answer = ask(application, "/runs?where=status=running method=dkd")
    (line,) = Page(answer.text).table("Run", "State", "Best top-1", "Last top-1", "Epochs", "Ended (UTC)")
    assert line == [CELL.specs[0].name, "running", "", "", "3 of 240", ""]
    assert answer.text.count('class="curve"') == 1
    assert "running" not in ask(application, "/runs?where=method=kd").text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ended": "2026-01-02T04:00:00+00:00"}, "The last sweep ended at 2026-01-02 04:00 UTC"),
        ({"process": 2**22 + 1}, "Its process has gone without a word"),
    ],
)
def test_a_sweep_that_has_ended_runs_nothing(results: Path, changes: dict[str, Any], words: str) -> None:
    write_status(results, **changes)
    follower = Follower(results)
    follower.look()
    application = make_application(follower)
    page = Page(ask(application).text)
    assert words in page.text
    assert "epoch 3 of 240" not in page.text
    assert page.table("Job", "Runs") == []
    assert ask(application, f"/run?id={RUN}").status == 404


def test_each_epoch_is_a_new_version(follower: Follower, results: Path) -> None:
    version = follower.view.version
    follower.look()
    assert follower.view.version == version
    write_status(results, done=31)
    follower.look()
    assert follower.view.version == version + 1


def test_cost_is_what_was_used_and_what_is_to_come(application: Guard, follower: Follower) -> None:
    """Each made-up run took 10 s for 240 epochs."""
    page = Page(ask(application).text)
    lines = {line[0]: line[1:] for line in page.table("Device-hours", "Used", "Planned", "Share")}
    asked = follower.view.chapter("table5")
    assert asked is not None
    assert asked.grid is not None
    resolved = asked.grid.resolved
    runs = len(resolved.runs)
    done = sum(run.run_id in follower.view.snapshot.runs for run in resolved.runs)
    (used, planned, _) = lines[asked.title]
    assert float(planned) == pytest.approx(runs * 10 / 3600, abs=0.006)
    assert float(used) == pytest.approx(done * 10 / 3600, abs=0.02)

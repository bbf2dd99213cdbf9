"""A ledger is followed: read once, then only what is new; never written, never waited for."""

from __future__ import annotations

import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import made_up
import pytest
from made_up import made_up_top1, result, specs_of

from analysis import paper
from analysis.record.ledger import Ledger
from analysis.record.settings import Settings
from analysis.reporting.snapshot import read_snapshot
from analysis.watching import follower as follower_module
from analysis.watching.follower import Follower

TABLES = [paper.find("table5"), paper.find("table13")]
SETTINGS = Settings(pairs=("resnet56/resnet20",), teachers=(("resnet56", "f" * 64),))


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return made_up.write_ledger(tmp_path / "results", TABLES, SETTINGS)


def test_it_shows_what_the_report_shows(results: Path) -> None:
    follower = Follower(results)
    follower.look()
    whole = read_snapshot(results)
    assert [chapter.grid for chapter in follower.view.snapshot.chapters] == [one.grid for one in whole.chapters]
    assert follower.entries(whole.runs) == whole.runs


def test_only_the_tables_of_new_runs_are_made_again(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = {table.key: {spec.run_id for spec in specs_of(table, SETTINGS)} for table in TABLES}
    own = next(spec for spec in specs_of(TABLES[1], SETTINGS) if spec.run_id not in runs["table5"])
    with closing(sqlite3.connect(results / "ledger.sqlite")) as connection:
        connection.execute("UPDATE runs SET status = 'failed', reason = 'x' WHERE run_id = ?", [own.run_id])
        connection.commit()
    follower = Follower(results)
    follower.look()
    before = follower.view
    made: list[str] = []
    monkeypatch.setattr(
        follower_module,
        "make_chapter",
        lambda table, *rest, make=follower_module.make_chapter: made.append(table.key) or make(table, *rest),
    )
    follower.look()
    assert follower.view is before
    with Ledger.open(results / "ledger.sqlite") as ledger:
        assert ledger.record(result(own, 55.5))
    follower.look()
    assert made == ["table13"]
    assert follower.view.version == before.version + 1
    assert follower.view.snapshot.runs[own.run_id].best_top1 == 55.5
    whole = read_snapshot(results)
    assert [chapter.grid for chapter in follower.view.snapshot.chapters] == [one.grid for one in whole.chapters]


def test_a_sweep_that_is_asked_for_later_is_seen(results: Path) -> None:
    follower = Follower(results)
    follower.look()
    with Ledger.open(results / "ledger.sqlite") as ledger:
        ledger.remember(["table4"], SETTINGS, "python sweeps/run.py table4")
    follower.look()
    assert {chapter.table.key for chapter in follower.view.snapshot.chapters} == {"table4", "table5", "table13"}


def test_another_ledger_in_its_place_is_read_anew(results: Path, tmp_path: Path) -> None:
    follower = Follower(results)
    follower.look()
    other = made_up.write_ledger(tmp_path / "other", [TABLES[1]], SETTINGS)
    (other / "ledger.sqlite").replace(results / "ledger.sqlite")
    follower.look()
    assert list(follower.view.snapshot.runs) == list(read_snapshot(results).runs)


def test_a_folder_without_a_ledger_gets_one_later(tmp_path: Path) -> None:
    follower = Follower(tmp_path)
    follower.look()
    assert "there is no ledger" in follower.view.trouble
    version = follower.view.version
    follower.look()
    assert follower.view.version == version
    made_up.write_ledger(tmp_path, TABLES, SETTINGS)
    follower.look()
    assert follower.view.trouble == ""
    assert follower.view.snapshot.runs


def test_the_transaction_of_a_killed_writer_is_left_to_others(results: Path) -> None:
    """A journal that must be undone first: mode ro refuses."""
    path = results / "ledger.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE runs SET reason = hex(randomblob(3000))")
        journal, half = path.with_name(path.name + "-journal").read_bytes(), path.read_bytes()
    path.write_bytes(half)
    path.with_name(path.name + "-journal").write_bytes(journal)
    before = path.read_bytes()
    follower = Follower(results)
    follower.look()
    assert follower.view.trouble
    assert not follower.view.snapshot.runs
    assert path.read_bytes() == before
    spec = specs_of(TABLES[0], SETTINGS)[0]
    with Ledger.open(path, readonly=True) as ledger:
        entry = ledger.get(spec.run_id)
    assert entry is not None
    assert entry.best_top1 == made_up_top1(spec)
    follower.look()
    assert follower.view.trouble == ""
    assert follower.view.snapshot.runs


def test_a_writer_never_meets_a_lock_of_a_reader_that_never_rests(results: Path) -> None:
    """It waits for nobody, so that a lock would be an error."""
    path = results / "ledger.sqlite"
    spec, ended = specs_of(TABLES[0], SETTINGS)[0], threading.Event()
    before = len(Ledger.open(path, readonly=True).all())
    seen: list[int] = []

    def keep_reading() -> None:
        follower = Follower(results)
        while not ended.is_set():
            follower.look()
            follower.entries(follower.view.snapshot.runs)
            seen.append(len(follower.view.snapshot.runs))

    reader = ThreadPoolExecutor(1).submit(keep_reading)
    with Ledger.open(path) as writer:
        writer._connection.execute("PRAGMA busy_timeout = 0")
        for seed in range(100, 200):
            assert writer.record(result(replace(spec, seed=seed), 50.0))
    deadline = time.monotonic() + 30
    while seen[-1:] != [before + 100] and not reader.done() and time.monotonic() < deadline:
        time.sleep(0.01)
    ended.set()
    reader.result()
    assert seen == sorted(seen)
    assert seen[-1] == before + 100


def test_pages_read_while_a_transaction_was_written_are_forgotten(results: Path) -> None:
    path = results / "ledger.sqlite"
    whole = path.read_bytes()
    with Ledger.open(path, beside=True) as ledger:
        path.write_bytes(whole.replace(b"NVIDIA MADE-UP", b"NVIDIA HALF-UP"))
        assert ledger.all()[0].provenance["device"] == "NVIDIA HALF-UP"
        path.write_bytes(whole)
        assert ledger.all()[0].provenance["device"] == "NVIDIA MADE-UP"


def test_a_long_look_is_followed_by_a_long_rest(tmp_path: Path) -> None:
    follower = Follower(tmp_path)
    with follower.working():
        began = time.thread_time()
        while time.thread_time() < began + 0.2:
            pass
    assert 2 <= follower._rest() < 4
    assert follower._rest() == 1

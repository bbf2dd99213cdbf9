"""A ledger of the first version: opened, kept and named; its runs are not taken for new ones."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fake_job import result
from made_up import cells
from plans import plan_of

from analysis import paper
from analysis.export import to_frame
from analysis.record.ledger import Ledger
from analysis.record.settings import Settings
from analysis.table.resolved import resolve
from sweeps.display.forecast import of_other_code
from trainables.spec import RunSpec

TABLE = paper.find("table5")
SETTINGS = Settings(dataset="digits", seeds=1, pairs=("resnet20/resnet8",), rows=("kd", "kd_cutmix", "kd_he_da_40"))


def specs() -> dict[str, RunSpec]:
    return {cell.row: cell.specs[0] for cell in cells(TABLE, SETTINGS)}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Schema 1, which had no shares, and records that name no revision."""
    path = tmp_path / "ledger.sqlite"
    with Ledger.open(path) as ledger:
        for spec in specs().values():
            record = result(spec.as_of(1))
            assert "revision" not in record["spec"]
            assert ledger.record(record)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("ALTER TABLE runs DROP COLUMN shares")
        connection.execute("PRAGMA user_version = 1")
        connection.commit()
    return path


def rows(path: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT run_id, name, best_top1, curve, provenance FROM runs").fetchall()


def test_it_is_read_as_it_is(old: Path) -> None:
    before = old.read_bytes()
    with Ledger.open(old, readonly=True) as ledger:
        entries = ledger.all()
    assert old.read_bytes() == before
    assert [entry.spec.outdated for entry in entries] == [False, False, True]
    assert [entry.shares for entry in entries] == [(), (), ()]
    assert "he_cutmix40-revision1-" in entries[2].spec.name


def test_writing_to_it_keeps_its_runs(old: Path) -> None:
    before = rows(old)
    new = specs()["kd_he_da_40"]
    with Ledger.open(old) as ledger:
        assert ledger.record(result(new) | {"shares": [[1, 0.4, 0.41, 0.39]]})
    assert rows(old)[: len(before)] == before
    with Ledger.open(old, readonly=True) as ledger:
        frame = to_frame(ledger.all())
    assert list(frame["revision"]) == [1, 1, 1, 2]
    assert frame["share_mixed"].iloc[3] == 0.39
    assert frame["share_mixed"].isna().sum() == 3


def test_what_has_changed_its_meaning_is_trained_again(old: Path) -> None:
    asked = resolve(TABLE, SETTINGS).run_ids
    with Ledger.open(old, readonly=True) as ledger:
        plan = plan_of([TABLE], SETTINGS, ledger.entries(asked), pack=None)
    kd, cutmix, he_da = (spec.run_id for spec in specs().values())
    assert plan.done == {kd, cutmix}
    assert plan.outdated == {he_da}
    assert he_da in {spec.run_id for job in plan.jobs for spec in job.specs}
    assert of_other_code(plan)[0].startswith("1 run to train again: an earlier version")


def test_it_can_be_merged_into_a_new_one(old: Path, tmp_path: Path) -> None:
    new = specs()["kd_he_da_40"]
    with Ledger.open(tmp_path / "new.sqlite") as ledger, Ledger.open(old, readonly=True) as other:
        ledger.record(result(new))
        assert ledger.merge(other).added == 3
        assert sorted(entry.spec.revision for entry in ledger.all()) == [1, 1, 1, 2]

"""The ledger's rows: what goes in comes out, what must not go in does not, and a damaged row is named."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from some_results import EPOCHS, failed, query, result_of, spec_of, write

from analysis.record import ledger as ledger_module
from analysis.record.entry import entry_of
from analysis.record.ledger import SCHEMA, Ledger
from analysis.record.settings import Settings
from trainables.errors import UserError
from trainables.spec import Mixing, Temperature

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


def test_a_result_is_read_back_exactly(path: Path) -> None:
    spec = spec_of(mixing=Mixing("cutmix", "high", 0.3), temperature=Temperature(4, "energy", 2, -2, 0.2))
    result = result_of(spec)
    write(path, result)
    with Ledger.open(path, readonly=True) as ledger:
        entry = ledger.get(spec.run_id)
        assert entry is not None
        assert ledger.all() == [entry]
        assert ledger.entries([spec.run_id]) == {spec.run_id: entry}
    assert entry.spec == spec
    assert entry.done
    for name in result.keys() - {"schema", "name", "spec", "epoch_seconds", "curve"}:
        assert getattr(entry, name) == result[name], name
    assert [list(row) for row in entry.curve] == result["curve"]
    assert list(entry.epoch_seconds) == result["epoch_seconds"]


NUMBER = st.floats(allow_nan=False, allow_infinity=False)
PERCENT = st.floats(0, 100)
POSITIVE = st.floats(0, allow_infinity=False)


@given(
    st.fixed_dictionaries(
        {
            "best_top1": PERCENT,
            "last_top5": PERCENT,
            "last_loss": POSITIVE,
            "train_loss": NUMBER,
            "seconds": POSITIVE,
            "teacher_top1": st.none() | PERCENT,
            "epoch_seconds": st.lists(POSITIVE, min_size=EPOCHS, max_size=EPOCHS).map(tuple),
            "curve": st.lists(st.tuples(NUMBER, PERCENT, PERCENT, NUMBER), min_size=EPOCHS, max_size=EPOCHS).map(
                lambda rows: tuple((epoch, *row) for epoch, row in enumerate(rows, 1))
            ),
            "provenance": st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | NUMBER | st.text()),
        }
    ),
    st.integers(0, 2**63 - 1),
)
def test_every_number_keeps_all_its_digits(numbers: dict[str, Any], seed: int) -> None:
    spec = spec_of(seed)
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / "l", result_of(spec, **numbers))
        with Ledger.open(Path(folder) / "l", readonly=True) as ledger:
            entry = ledger.get(spec.run_id)
    assert {name: getattr(entry, name) for name in numbers} == numbers


def test_a_failed_run_needs_no_numbers_but_a_reason(path: Path) -> None:
    write(path, failed(spec_of(), "a name in Latin-1: \udce9"))
    with Ledger.open(path) as ledger:
        (entry,) = ledger.all()
    assert (entry.status, entry.reason, entry.done) == ("failed", "a name in Latin-1: ?", False)
    assert (entry.best_top1, entry.curve, entry.weights_sha256) == (None, (), None)


def test_a_done_run_is_never_replaced_and_a_failed_one_is(path: Path) -> None:
    spec = spec_of()
    with Ledger.open(path) as ledger:
        assert ledger.record(failed(spec))
        assert ledger.record(failed(spec, "again"))
        assert [entry.reason for entry in ledger.all()] == ["again"]
        assert ledger.record(result_of(spec))
        first = ledger.all()
        assert not ledger.record(result_of(spec))
        assert not ledger.record(result_of(spec, best_top1=99.0))
        assert not ledger.record(failed(spec))
        assert ledger.all() == first
    assert first[0].best_top1 == 75.06


def test_runs_come_in_the_order_asked_for(path: Path) -> None:
    specs = [spec_of(seed) for seed in range(1, 6)]
    write(path, *map(result_of, specs))
    ids = [spec.run_id for spec in specs]
    with Ledger.open(path, readonly=True) as ledger:
        assert [entry.run_id for entry in ledger.all()] == ids
        asked = [ids[3], "unknown", ids[0], ids[3]]
        assert list(ledger.entries(asked)) == [ids[3], ids[0]]
        assert ledger.entries([]) == {}
        assert ledger.get("unknown") is None


def test_the_fields_of_a_run_are_columns_for_sql(path: Path) -> None:
    write(path, result_of(spec_of(7, mixing=Mixing("cutmix", "high", 0.3))))
    columns = "dataset, teacher, student, method, treatment, seed, epochs_asked, mixing_rate, best_top1, timing"
    row = ("digits", "resnet20", "resnet8", "kd", "kd-he_cutmix30", 7, EPOCHS, 0.3, 75.06, 0)
    assert query(path, f"SELECT {columns} FROM runs") == [row]


def test_the_file_says_what_it_is_and_is_whole_alone(path: Path) -> None:
    write(path, result_of(spec_of()))
    assert query(path, "PRAGMA application_id") == [(ledger_module.APPLICATION_ID,)]
    assert query(path, "PRAGMA user_version") == [(SCHEMA,)]
    assert query(path, "PRAGMA journal_mode") == [("delete",)]
    assert os.listdir(path.parent) == [path.name]


def test_sweeps_that_were_asked_for(path: Path) -> None:
    first, second, third = Settings(), Settings(dataset="digits", seeds=1), Settings(epochs=3)
    with Ledger.open(path) as ledger:
        assert ledger.settings_of("table5") is None
        ledger.remember(["table4", "table5"], first, "run.py table4 table5")
        ledger.remember(["table5"], second, "run.py table5 --dataset \udce9")
        ledger.remember(["table4"], third, "run.py table4")
        assert ledger.settings_of("table5") == second
        assert ledger.settings_of("table4") == third
        assert ledger.settings_of("table13") == third
        sweeps = ledger.sweeps()
    assert [sweep.tables for sweep in sweeps] == [("table4", "table5"), ("table5",), ("table4",)]
    assert [sweep.settings for sweep in sweeps] == [first, second, third]
    assert sweeps[1].command == "run.py table5 --dataset ?"
    assert sweeps[0].asked < sweeps[1].asked < sweeps[2].asked
    assert sweeps[0].asked.endswith("+00:00")


# What must not go in


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"best_top1": math.nan}, "best_top1 is nan"),
        ({"best_top1": 100.01}, "best_top1 is 100.01"),
        ({"best_top1": -1}, "best_top1 is -1"),
        ({"best_top1": None}, "best_top1 is missing"),
        ({"best_top1": "75"}, "best_top1 is '75'"),
        ({"best_top1": True}, "best_top1 is True"),
        ({"last_top5": math.inf}, "last_top5 is inf"),
        ({"last_loss": -0.1}, "last_loss is -0.1"),
        ({"train_loss": math.inf}, "train_loss is inf"),
        ({"train_loss": 10**400}, "train_loss is 1000"),
        ({"seconds": -1}, "seconds is -1"),
        ({"parameters": 0}, "parameters is 0"),
        ({"parameters": 2**63}, "parameters is 9223372036854775808"),
        ({"best_epoch": 0}, "best_epoch is 0"),
        ({"best_epoch": 2.5}, "best_epoch is 2.5"),
        ({"best_epoch": EPOCHS + 1}, "best epoch is later than its last"),
        ({"epochs": EPOCHS - 1}, f"done after {EPOCHS - 1} of {EPOCHS} epochs"),
        ({"teacher_top1": 101}, "teacher_top1 is 101"),
        ({"epoch_seconds": [1, math.nan]}, "epoch_seconds are not"),
        ({"epoch_seconds": [1, -1]}, "epoch_seconds have -1"),
        ({"epoch_seconds": "12"}, "epoch_seconds are not"),
        ({"curve": [[1, 1.0, 70, 90, math.nan]]}, "test_loss that is no number"),
        ({"curve": [[1, None, 70, 90, 1]]}, "train_loss that is no number"),
        ({"curve": [[1, 1.0, 101, 90, 1]]}, "top1 outside 0 to 100"),
        ({"curve": [[1, 1.0, 70, 90]]}, "other rows than epoch, train_loss, top1, top5, test_loss"),
        ({"curve": [1, 2]}, "other rows"),
        ({"curve": {"1": 2}}, "other rows"),
        ({"curve": [[2, 1.0, 70, 90, 1], [1, 1.0, 70, 90, 1]]}, "do not rise"),
        ({"weights_sha256": "abc"}, "weights_sha256 is 'abc', no SHA-256"),
        ({"teacher_sha256": 5}, "teacher_sha256 is 5"),
        ({"provenance": [1]}, "provenance is no JSON object"),
        ({"provenance": {"seconds": math.nan}}, "provenance cannot be written"),
        ({"provenance": {"path": Path()}}, "provenance cannot be written"),
        ({"status": "running"}, "status is 'running', neither done nor failed"),
        ({"reason": "because"}, "says why it failed"),
        ({"status": "failed"}, "failed without a reason"),
        ({"run_id": "0" * 16}, "its id is '0000000000000000', but that of its fields is"),
        ({"spec": spec_of(2).as_dict()}, "but that of its fields is"),
        ({"spec": None}, "missing"),
        ({"spec": {"gpus": 8}}, "unknown field gpus"),
        ({"schema": 2}, "written by a newer version: upgrade"),
        ({"schema": None}, "schema is None"),
    ],
)
def test_bad_results_are_refused_in_one_line(path: Path, changes: dict[str, Any], message: str) -> None:
    with Ledger.open(path) as ledger:
        with pytest.raises(UserError, match=message) as caught:
            ledger.record(result_of(spec_of()) | changes)
        assert ledger.all() == []
    assert "\n" not in str(caught.value)
    assert "cannot be recorded" in str(caught.value)


@pytest.mark.parametrize("result", [None, [], "done", {}])
def test_what_is_no_result_is_refused(path: Path, result: Any) -> None:
    with Ledger.open(path) as ledger, pytest.raises(UserError, match="cannot be recorded"):
        ledger.record(result)


# Damage that a row can take


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("best_top1", 175.06, "best_top1 is 175.06"),
        ("best_top1", None, "best_top1 is missing"),
        ("best_top1", "high", "best_top1 is 'high'"),
        ("best_epoch", 99, "best epoch is later"),
        ("status", "finished", "neither done nor failed"),
        ("spec", "{", "its spec is not JSON"),
        ("spec", None, "its spec is not JSON"),
        ("spec", "[" * 100_000, "its spec is not JSON"),
        ("spec", spec_of(2).canonical(), "but that of its fields is"),
        ("curve", "[[1,2]]", "other rows"),
        ("curve", "[[1,NaN,1,1,1]]", "no number"),
        ("curve", b"\xff\xfe", "its curve is not JSON"),
        ("epoch_seconds", "[-1]", "epoch_seconds have -1"),
        ("provenance", "7", "provenance is no JSON object"),
        ("weights_sha256", "x", "no SHA-256"),
        ("run_id", "someone", "its id is 'someone'"),
    ],
)
def test_a_damaged_row_is_not_merged_and_the_others_are_read(
    path: Path, column: str, value: object, message: str
) -> None:
    good, bad = spec_of(1), spec_of(2, lr=0.1)
    write(path, result_of(good), result_of(bad))
    cast = "CAST(? AS TEXT)" if isinstance(value, bytes) else "?"
    query(path, f"UPDATE runs SET {column} = {cast} WHERE run_id = ?", value, bad.run_id)
    name = value if column == "run_id" else bad.run_id
    with Ledger.open(path.with_name("ours.sqlite")) as ours, Ledger.open(path, readonly=True) as ledger:
        with pytest.raises(UserError, match=message) as caught:
            ours.merge(ledger)
        assert ours.all() == []
        assert ledger.get(good.run_id) is not None
    assert f"run '{name}' of the ledger {path} is damaged" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("spec", "{}"),
        ("curve", "{"),
        ("curve", "[1]"),
        ("best_top1", "high"),
        ("best_top1", "9776"),
        ("status", "DONE"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(path: Path, column: str, value: str) -> None:
    write(path, result_of(spec_of()))
    query(path, f"UPDATE runs SET {column} = ?", value)
    with Ledger.open(path, readonly=True) as ledger, pytest.raises(UserError, match="is damaged") as caught:
        ledger.all()
    assert f"run '{spec_of().run_id}' of the ledger {path}" in str(caught.value)


@pytest.mark.parametrize(("column", "value"), [("settings", "{}"), ("tables", "{"), ("tables", None)])
def test_a_damaged_sweep_is_named(path: Path, column: str, value: object) -> None:
    with Ledger.open(path) as ledger:
        ledger.remember(["table5"], Settings(), "run.py")
        query(path, f"UPDATE sweeps SET {column} = ?", value)
        with pytest.raises(UserError, match=r"the sweep of .* is damaged: .*; restore the ledger from a copy"):
            ledger.sweeps()


@pytest.mark.medium
def test_two_thousand_runs(path: Path) -> None:
    specs = [spec_of(seed) for seed in range(2_000)]
    one_by_one, at_once = specs[:200], specs[200:]
    with Ledger.open(path) as ledger:
        began = time.process_time()
        for spec in one_by_one:
            ledger.record(result_of(spec))
        assert time.process_time() - began < 2
        with ledger._transaction():
            rows = (ledger_module._row(entry_of(result_of(spec))) for spec in at_once)
            ledger._connection.executemany(ledger_module._INSERT, rows)
    began = time.process_time()
    with Ledger.open(path, readonly=True) as ledger:
        assert time.process_time() - began < 1
        began = time.process_time()
        found = ledger.entries([spec.run_id for spec in specs[::-2]] + ["unknown"] * 9)
        assert time.process_time() - began < 2
        assert list(found) == [spec.run_id for spec in specs[::-2]]
        began = time.process_time()
        assert len(ledger.all()) == 2_000
        assert time.process_time() - began < 4


def test_the_ledger_needs_neither_torch_nor_ray() -> None:
    code = (
        "import sys, analysis.record.ledger; sys.exit(any(name in sys.modules for name in ('torch', 'ray', 'pandas')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0

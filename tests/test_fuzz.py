"""Malformed input of every kind at the entry points: success, --help, or one line that says what is wrong."""

from __future__ import annotations

import io
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from fuzzing import (
    DEEP,
    SETTINGS,
    SPEC,
    VALUES,
    accepts,
    changed,
    ends,
    mangled,
    result_of,
    texts,
    two_runs,
)
from hypothesis import given
from hypothesis import strategies as st

from analysis import export, tables
from analysis.record.entry import entry_of
from analysis.record.ledger import Ledger
from analysis.record.settings import from_json as settings_from_json
from analysis.table import published
from sweeps.running.recovery import ingest, load_entries
from trainables.errors import UserError
from trainables.models import build
from trainables.models.checkpoint import load_weights
from trainables.spec import RunSpec, flatten, from_dict, from_json
from trainables.storage.checkpoints import checkpoint_path
from trainables.storage.job_file import Execution, job_json, read_job
from trainables.storage.runs import run_dir, with_checksum
from trainables.training.student import Student

# Runs and jobs


@given(st.one_of(changed(SPEC.as_dict()), VALUES))
def test_fields_of_a_run(fields: Any) -> None:
    if accepts(lambda: from_dict(fields)):
        spec = from_dict(fields)
        assert from_json(spec.canonical()) == spec
        assert spec.name
        assert flatten(spec)


@given(texts(SPEC.as_dict()))
def test_json_of_a_run(text: str) -> None:
    accepts(lambda: from_json(text))


JOB = json.loads(job_json([SPEC], Execution(Path("results"), teachers=(("a" * 64, "w.pth"),), threads=1)))


@given(st.one_of(texts(JOB).map(lambda text: text.encode(errors="replace")), mangled(json.dumps(JOB).encode())))
def test_job_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "JOB.json").write_bytes(content)
    if accepts(lambda: read_job(tmp_path / "JOB.json")):
        specs, execution = read_job(tmp_path / "JOB.json")
        assert all(isinstance(spec, RunSpec) for spec in specs)
        assert job_json(specs, execution)
        assert isinstance(execution.threads, int)


# Results, settings, ledgers


@given(changed(result_of(SPEC)))
def test_results(result: Any) -> None:
    if accepts(lambda: entry_of(result)):
        assert entry_of(result).run_id == result["run_id"]


@given(
    st.one_of(
        mangled(json.dumps(result_of(SPEC)).encode()),
        texts(result_of(SPEC)).map(lambda text: text.encode("utf-8", "replace")),
    )
)
def test_results_in_their_folder(tmp_path: Path, content: bytes) -> None:
    folder = run_dir(tmp_path, SPEC.run_id)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_bytes(content)
    (tmp_path / "ledger.sqlite").unlink(missing_ok=True)
    whole = accepts(lambda: load_entries(tmp_path, [SPEC.run_id]))
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        assert accepts(lambda: ingest(tmp_path, ledger, [SPEC.run_id])) == whole
        assert len(ledger.all()) == whole


@pytest.mark.parametrize("content", [b"{}", b"[]", b"\xff\xfe\xff", b"[" * 100_000, b"null", b'"a"'])
def test_a_result_of_another_kind_is_refused_by_its_name(tmp_path: Path, content: bytes) -> None:
    folder = run_dir(tmp_path, SPEC.run_id)
    folder.mkdir(parents=True)
    (folder / "result.json").write_bytes(content)
    with pytest.raises(UserError, match=f"cannot use {folder}/result.json .it is damaged.: delete {folder} to train"):
        load_entries(tmp_path, [SPEC.run_id])


@given(texts(json.loads(SETTINGS.as_json())))
def test_settings(text: str) -> None:
    if accepts(lambda: settings_from_json(text)):
        found = settings_from_json(text)
        assert settings_from_json(found.as_json()) == found


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_runs(tmp_path_factory.mktemp("results"))


def read_all(path: Path) -> None:
    for readonly in (True, False):
        with Ledger.open(path, readonly=readonly) as ledger:
            ledger.all()
            ledger.sweeps()
            ledger.settings_of("table5")


def test_a_whole_ledger_is_read(results: Path) -> None:
    assert accepts(lambda: read_all(results / "ledger.sqlite"))


@given(st.data())
def test_ledgers_of_other_bytes(results: Path, tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(data.draw(mangled((results / "ledger.sqlite").read_bytes())))
    accepts(lambda: read_all(path))


CELLS = st.one_of(
    st.none(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.binary(max_size=9), st.text(max_size=9), st.just(DEEP)
).filter(lambda value: not isinstance(value, str) or value.isprintable())


@given(st.data())
def test_ledgers_of_other_values(results: Path, tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes((results / "ledger.sqlite").read_bytes())
    with closing(sqlite3.connect(path)) as connection, connection:
        table = data.draw(st.sampled_from(["runs", "sweeps"]))
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        column = data.draw(st.sampled_from([name for name in columns if name != "run_id"]))
        connection.execute(f"UPDATE {table} SET {column} = ?", [data.draw(CELLS)])
    accepts(lambda: read_all(path))
    for main, *argv in ((tables.main, "table5"), (tables.main, "--list"), (export.main, "--csv", tmp_path / "out.csv")):
        ends(main, [*map(str, argv), "--results", str(tmp_path)])


LINES = (published.FOLDER / "table5.csv").read_bytes()[:2000]


@given(content=mangled(LINES))
def test_published_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    (tmp_path / "table5.csv").write_bytes(content)
    monkeypatch.setattr(published, "FOLDER", tmp_path)
    if accepts(lambda: published.published.__wrapped__("table5")):
        assert all(isinstance(number.value, float) for number in published.published.__wrapped__("table5").values())


# Weights and checkpoints


@pytest.fixture(scope="module")
def weights() -> bytes:
    buffer = io.BytesIO()
    torch.save({"model": build("resnet8", 10).state_dict()}, buffer)
    return buffer.getvalue()


@given(st.data())
def test_weights(weights: bytes, tmp_path: Path, data: st.DataObject) -> None:
    (tmp_path / "w.pth").write_bytes(data.draw(mangled(weights)))
    accepts(lambda: load_weights(build("resnet8", 10), tmp_path / "w.pth", "resnet8"))


def some_checkpoints(content: bytes) -> st.SearchStrategy[bytes]:
    """Damaged after its checksum was made, or before."""
    return st.one_of(mangled(with_checksum(content)), mangled(content).map(with_checksum))


@given(st.data())
def test_a_checkpoint_of_other_bytes_is_not_used(
    digits: Any, weights: bytes, tmp_path: Path, data: st.DataObject
) -> None:
    spec = RunSpec("digits", "resnet8", 1, 2, (), 0.05)
    path = checkpoint_path(tmp_path, spec.run_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.draw(some_checkpoints(weights)))
    student = Student(spec, dataset=digits, context=None, results=tmp_path, started="")
    assert student.record.epoch == 0
    (said,) = student.damaged
    assert said.endswith("not used; it goes on after epoch 0")

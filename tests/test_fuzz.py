"""Malformed input of every kind at the entry points: success, --help, or one line that says what is wrong."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis import export, published, report, tables
from analysis.entry import entry_of
from analysis.ledger import Ledger
from analysis.settings import Settings
from analysis.settings import from_json as settings_from_json
from sweeps import arguments, search_arguments
from sweeps.cluster import _reach
from sweeps.finished import ingest, known
from sweeps.request import make_request
from sweeps.space import parse_space
from trainables.errors import UserError
from trainables.job import Place, job_json, read_job
from trainables.models import build
from trainables.models.checkpoint import load_weights
from trainables.runs import checkpoint_path, run_dir, sealed
from trainables.spec import Mixing, RunSpec, Temperature, flatten, from_dict, from_json, params
from trainables.student import Student

few = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
many = settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])

SPEC = RunSpec(
    *("digits", "resnet8", 1, 2, (1,), 0.05),
    method="kd",
    params=params(ce=0.1, kd=0.9),
    temperature=Temperature(4, "energy", 2, -2, 0.2),
    mixing=Mixing("cutmix", "high", 0.4),
    teacher="resnet8",
    teacher_source="run:0",
)
DEEP = "[" * 3_000
NUMBERS = st.one_of(
    st.integers(), st.floats(), st.sampled_from([0, 1, -1, 2**63, 10**400, 1e308, float("nan"), float("inf")])
)
WORDS = st.one_of(
    st.text(max_size=12), st.sampled_from(["", "a\nb", "kd", "vanilla", "digits", "resnet8", "run:", "\ud800", DEEP])
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, WORDS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(WORDS, inner, max_size=3)),
    max_leaves=5,
)


def accepts(action: Callable[[], Any]) -> bool:
    """Whether it is taken; if not, it must be refused in one line."""
    refusal = None
    try:
        action()
    except UserError as error:
        refusal = str(error)
    assert refusal is None or (refusal.strip() and len(refusal.splitlines()) == 1)
    return refusal is None


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a JSON value, as its container and key."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from places(value[key])


@st.composite
def changed(draw: st.DrawFn, good: Any) -> Any:
    """`good`, a JSON value, with some of its parts replaced, removed or added."""
    value = json.loads(json.dumps(good))
    for _ in range(draw(st.integers(1, 3))):
        there = list(places(value))
        if not there:
            break
        where, key = there[draw(st.integers(0, len(there) - 1))]
        how = draw(st.sampled_from(["replace", "remove", "add"]))
        if how == "remove":
            del where[key]
        elif how == "add" and isinstance(where, dict):
            where[draw(WORDS)] = draw(VALUES)
        else:
            where[key] = draw(VALUES)
    return value


@st.composite
def mangled(draw: st.DrawFn, good: bytes) -> bytes:
    """`good` cut short, with bytes changed, repeated, or something else altogether."""
    content = bytearray(good)
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, max(0, len(content) - 1)))
        match draw(st.sampled_from(["cut", "change", "change", "insert", "other"])):
            case "cut":
                del content[place:]
            case "change" if content:
                content[place] = draw(st.integers(0, 255))
            case "insert":
                content[place:place] = draw(st.binary(max_size=20))
            case "other" if draw(st.integers(0, 9)) == 0:
                content = bytearray(draw(st.binary(max_size=200)))
    return bytes(content)


def texts(good: Any) -> st.SearchStrategy[str]:
    """JSON, whole and broken."""
    return st.one_of(
        changed(good).map(json.dumps),
        mangled(json.dumps(good).encode()).map(lambda content: content.decode(errors="replace")),
        VALUES.map(json.dumps),
        st.sampled_from(["", DEEP, "null", "[]", "{}", "1e999"]),
    )


# Runs and jobs


@many
@given(st.one_of(changed(SPEC.as_dict()), VALUES))
def test_fields_of_a_run(fields: Any) -> None:
    if accepts(lambda: from_dict(fields)):
        spec = from_dict(fields)
        assert from_json(spec.canonical()) == spec
        assert spec.name
        assert flatten(spec)


@many
@given(texts(SPEC.as_dict()))
def test_json_of_a_run(text: str) -> None:
    accepts(lambda: from_json(text))


JOB = json.loads(job_json([SPEC], Place(Path("results"), teachers=(("a" * 64, "w.pth"),), threads=1)))


@many
@given(st.one_of(texts(JOB).map(lambda text: text.encode(errors="replace")), mangled(json.dumps(JOB).encode())))
def test_job_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "JOB.json").write_bytes(content)
    if accepts(lambda: read_job(tmp_path / "JOB.json")):
        specs, place = read_job(tmp_path / "JOB.json")
        assert all(isinstance(spec, RunSpec) for spec in specs)
        assert job_json(specs, place)
        assert isinstance(place.threads, int)


# Results, settings, ledgers


def result_of(spec: RunSpec) -> dict[str, Any]:
    numbers = dict.fromkeys(("best_top1", "best_top5", "last_top1", "last_top5", "teacher_top1", "teacher_top5"), 50.0)
    numbers |= dict.fromkeys(("last_loss", "train_loss", "seconds"), 1.5)
    return numbers | {
        "schema": 1,
        "run_id": spec.run_id,
        "spec": spec.as_dict(),
        "status": "done",
        "reason": None,
        "best_epoch": 1,
        "epochs": spec.epochs,
        "parameters": 9,
        "epoch_seconds": [1.0] * spec.epochs,
        "weights_sha256": "a" * 64,
        "teacher_sha256": "b" * 64,
        "curve": [[epoch, 1.0, 50.0, 50.0, 1.0] for epoch in range(1, spec.epochs + 1)],
        "provenance": {"commit": None, "device": "here"},
    }


@many
@given(changed(result_of(SPEC)))
def test_results(result: Any) -> None:
    if accepts(lambda: entry_of(result)):
        assert entry_of(result).run_id == result["run_id"]


@many
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
    whole = accepts(lambda: known(tmp_path, [SPEC.run_id]))
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        assert accepts(lambda: ingest(tmp_path, ledger, [SPEC.run_id])) == whole
        assert len(ledger.all()) == whole


@pytest.mark.parametrize("content", [b"{}", b"[]", b"\xff\xfe\xff", b"[" * 100_000, b"null", b'"a"'])
def test_a_result_of_another_kind_is_refused_by_its_name(tmp_path: Path, content: bytes) -> None:
    folder = run_dir(tmp_path, SPEC.run_id)
    folder.mkdir(parents=True)
    (folder / "result.json").write_bytes(content)
    with pytest.raises(UserError, match=f"cannot use {folder}/result.json .it is damaged.: delete {folder} to train"):
        known(tmp_path, [SPEC.run_id])


SETTINGS = Settings(
    dataset="digits",
    pairs=("resnet8/resnet8",),
    rows=("kd",),
    seeds=1,
    epochs=2,
    teachers=(("resnet8", "a" * 64),),
    overrides=(("lr", "0.1"),),
)


@many
@given(texts(json.loads(SETTINGS.as_json())))
def test_settings(text: str) -> None:
    if accepts(lambda: settings_from_json(text)):
        found = settings_from_json(text)
        assert settings_from_json(found.as_json()) == found


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with a ledger of two runs and a sweep."""
    folder = tmp_path_factory.mktemp("results")
    with Ledger.open(folder / "ledger.sqlite") as ledger:
        for spec in (SPEC, from_dict(SPEC.as_dict() | {"seed": 2})):
            ledger.record(result_of(spec))
        ledger.remember(["table5"], SETTINGS, "python sweeps/run.py table5")
    return folder


def read_all(path: Path) -> None:
    for readonly in (True, False):
        with Ledger.open(path, readonly=readonly) as ledger:
            ledger.all()
            ledger.sweeps()
            ledger.settings_of("table5")


def test_a_whole_ledger_is_read(results: Path) -> None:
    assert accepts(lambda: read_all(results / "ledger.sqlite"))


@few
@given(st.data())
def test_ledgers_of_other_bytes(results: Path, tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(data.draw(mangled((results / "ledger.sqlite").read_bytes())))
    accepts(lambda: read_all(path))


CELLS = st.one_of(
    st.none(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.binary(max_size=9), st.text(max_size=9), st.just(DEEP)
).filter(lambda value: not isinstance(value, str) or value.isprintable())


@few
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


@few
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


@few
@given(st.data())
def test_weights(weights: bytes, tmp_path: Path, data: st.DataObject) -> None:
    (tmp_path / "w.pth").write_bytes(data.draw(mangled(weights)))
    accepts(lambda: load_weights(build("resnet8", 10), tmp_path / "w.pth", "resnet8"))


def some_checkpoints(content: bytes) -> st.SearchStrategy[bytes]:
    """Damaged after it was sealed, or sealed by another program."""
    return st.one_of(mangled(sealed(content)), mangled(content).map(sealed))


@few
@given(st.data())
def test_a_checkpoint_of_other_bytes_is_not_used(
    digits: Any, weights: bytes, tmp_path: Path, data: st.DataObject
) -> None:
    spec = RunSpec("digits", "resnet8", 1, 2, (), 0.05)
    path = checkpoint_path(tmp_path, spec.run_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.draw(some_checkpoints(weights)))
    student = Student(spec, dataset=digits, teaching=None, results=tmp_path, started="")
    assert student.record.epoch == 0
    assert student.damaged == [f"{path.name} of {spec.name} is damaged: not used; it goes on after epoch 0"]


# Command lines


def ends(main: Callable[[list[str]], int], argv: list[str]) -> None:
    """The command ends by itself: its errors are one line and status 2, or it is --help."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(argv)
        except SystemExit as stop:
            status = stop.code
    assert status in (None, 0, 2), err.getvalue()
    if status == 2:
        assert err.getvalue().startswith("error: ")
        assert len(err.getvalue().splitlines()) == 1


@contextlib.contextmanager
def help_only() -> Iterator[None]:
    """Who asks for help gets it and no more; nothing else ends a program."""
    status: Any = 0
    try:
        yield
    except SystemExit as stop:
        status = stop.code
    assert status in (None, 0)


ODD = st.one_of(
    st.sampled_from(["", "-", "--", "-1", "0", "1", "nan", "inf", "9" * 30, "é", "\udcff", "a b", "a\nb", "=,:"]),
    st.text(st.characters(exclude_characters="\0/~", exclude_categories=["Cs"]), max_size=6),
)
ASKED = st.sampled_from(["table5", "table1", "figure5", "all", "table", "resnet8", "vgg13/vgg8", "kd", "text"])
FIELD = st.sampled_from(["lr=0.1", "lr=", "params.beta=1", "temperature.rule=low", "milestones=1,2", "lr=[[1", "x=1"])
SPACE = st.sampled_from(["T=2:8", "T+=0:4", "T-=-4:0", "r=0.1:0.5:0.1", "rule=energy,low", "lr=1:0", "lr=1:2:log"])


def lines_of(*options: str) -> st.SearchStrategy[list[str]]:
    word = st.one_of(st.sampled_from(options), ASKED, FIELD, SPACE, ODD)
    return st.lists(word, max_size=7)


WHAT = ("--dataset", "--teachers", "--seeds", "--epochs", "--train-fraction", "--imbalance", "--precision", "--set")
WHERE = ("--gpus", "--gpus-per-job", "--cpus-per-job", "--pack", "--address", "--results", "--retry")


@many
@given(lines_of("--pairs", "--rows", "--assistant", "--plan", "--json", "--list", "--help", *WHAT, *WHERE))
def test_command_lines_of_a_sweep(empty: Path, argv: list[str]) -> None:
    with contextlib.redirect_stdout(io.StringIO()), help_only():
        accepts(lambda: make_request(arguments.parse(argv)))
        accepts(lambda: make_request(arguments.parse(["table5", "--rows", "kd", *argv])))


@many
@given(lines_of("--trials", "--row", "--space", "--sampler", "--prune", "--holdout", "--help", "--top", *WHAT, *WHERE))
def test_command_lines_of_a_search(empty: Path, argv: list[str]) -> None:
    with contextlib.redirect_stdout(io.StringIO()), help_only():
        accepts(lambda: search_arguments.parse(argv))
        accepts(lambda: search_arguments.parse(["--pair", "vgg13/vgg8", *argv]))


HOSTS = st.one_of(ODD, st.sampled_from(["a..b", "a" * 70, ".", "::1", "[::1]", "[", "127.0.0.1", "²", "ß.", "x\0y"]))
PORTS = st.one_of(ODD, NUMBERS.map(str), st.sampled_from(["80", "²", "٣", "65535", "65536", "-1", "+1", " 1", "1_0"]))


@many
@given(st.one_of(st.tuples(HOSTS, PORTS).map(":".join), HOSTS, st.text(max_size=9)))
def test_addresses(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Nobody is asked for a name, and nobody answers."""

    def refuse(connection: socket.socket, where: tuple[str, int]) -> None:
        raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")

    def look_up(host: str, port: int, *_: object) -> list[Any]:
        host.encode("idna")
        assert 0 < port < 65536
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert accepts(lambda: _reach(address)) == (address == "auto")


@pytest.mark.parametrize("address", ["a..b:80", f"localhost:{'9' * 30}", "localhost:²", f"{'a' * 70}:80", "a:0", ":1"])
def test_an_address_of_no_machine_is_refused_in_a_line(address: str) -> None:
    assert not accepts(lambda: _reach(address))


PARTS = st.sampled_from(["T", "T+", "T-", "r", "rule", "lr", "=", ":", ",", "log", "0.1", "2", "-4", "8", "nan"])


@many
@given(st.lists(st.one_of(SPACE, FIELD, st.lists(st.one_of(PARTS, ODD), max_size=8).map("".join)), max_size=3))
def test_ranges(words: list[str]) -> None:
    if accepts(lambda: parse_space(words)):
        space = parse_space(words)
        assert len(space.distributions()) == len(words)
        assert parse_space(space.text.split(" ")).text == space.text


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


SHOWN = ("--results", "--metric", "--sweep", "--out", "--help", "best", "last")


@few
@given(argv=lines_of("--format", "--list", "latex", "csv", "json", *SHOWN))
def test_command_lines_of_tables(empty: Path, results: Path, argv: list[str]) -> None:
    for before in ([], ["table5", "--results", str(results)]):
        ends(tables.main, before + argv)


@few
@given(argv=lines_of("--csv", "--parquet", "--merge", str(Path("ledger.sqlite")), "--results", "--help"))
def test_command_lines_of_exports(empty: Path, results: Path, argv: list[str]) -> None:
    ends(export.main, ["--csv", "out.csv", *argv, "--results", str(results)])
    ends(export.main, argv)


@settings(few, max_examples=15)
@given(argv=lines_of("--title", "--metric", "--out", "--results", "--help", "best", "last"))
def test_command_lines_of_reports(empty: Path, results: Path, argv: list[str]) -> None:
    ends(report.main, ["--results", str(results), "--no-pdf", "--out", os.fspath(empty / "report"), *argv])

"""Malformed command lines and addresses: success, --help, or one line that says what is wrong."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fuzzing import (
    NUMBERS,
    accepts,
    ends,
    two_runs,
)
from hypothesis import given
from hypothesis import strategies as st

from analysis import claims, export, report, tables
from sweeps.request import arguments
from sweeps.request.request import make_request
from sweeps.running.cluster import reach
from sweeps.searching import arguments as search_arguments
from sweeps.searching.space import parse_space


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


@given(lines_of("--pairs", "--rows", "--assistant", "--plan", "--json", "--list", "--help", *WHAT, *WHERE))
def test_command_lines_of_a_sweep(empty: Path, argv: list[str]) -> None:
    with contextlib.redirect_stdout(io.StringIO()), help_only():
        accepts(lambda: make_request(arguments.parse(argv)))
        accepts(lambda: make_request(arguments.parse(["table5", "--rows", "kd", *argv])))


@given(
    lines_of(
        "--trials",
        "--row",
        "--space",
        "--sampler",
        "--pruner",
        "--objective",
        "--trial-seeds",
        "--holdout",
        "--help",
        "--top",
        *WHAT,
        *WHERE,
    )
)
def test_command_lines_of_a_search(empty: Path, argv: list[str]) -> None:
    with contextlib.redirect_stdout(io.StringIO()), help_only():
        accepts(lambda: search_arguments.parse(argv))
        accepts(lambda: search_arguments.parse(["--pair", "vgg13/vgg8", *argv]))


HOSTS = st.one_of(ODD, st.sampled_from(["a..b", "a" * 70, ".", "::1", "[::1]", "[", "127.0.0.1", "²", "ß.", "x\0y"]))
PORTS = st.one_of(ODD, NUMBERS.map(str), st.sampled_from(["80", "²", "٣", "65535", "65536", "-1", "+1", " 1", "1_0"]))


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
    assert accepts(lambda: reach(address)) == (address == "auto")


@pytest.mark.parametrize("address", ["a..b:80", f"localhost:{'9' * 30}", "localhost:²", f"{'a' * 70}:80", "a:0", ":1"])
def test_an_address_of_no_machine_is_refused_in_a_line(address: str) -> None:
    assert not accepts(lambda: reach(address))


PARTS = st.sampled_from(["T", "T+", "T-", "r", "rule", "lr", "=", ":", ",", "log", "0.1", "2", "-4", "8", "nan"])


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


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_runs(tmp_path_factory.mktemp("results"))


SHOWN = ("--results", "--metric", "--sweep", "--out", "--help", "best", "last")


@given(argv=lines_of("--format", "--list", "latex", "csv", "json", *SHOWN))
def test_command_lines_of_tables(empty: Path, results: Path, argv: list[str]) -> None:
    for before in ([], ["table5", "--results", str(results)]):
        ends(tables.main, before + argv)


@given(argv=lines_of("--csv", "--parquet", "--merge", str(Path("ledger.sqlite")), "--results", "--help"))
def test_command_lines_of_exports(empty: Path, results: Path, argv: list[str]) -> None:
    ends(export.main, ["--csv", "out.csv", *argv, "--results", str(results)])
    ends(export.main, argv)


@given(argv=lines_of("--title", "--metric", "--out", "--results", "--help", "best", "last"))
def test_command_lines_of_reports(empty: Path, results: Path, argv: list[str]) -> None:
    ends(report.main, ["--results", str(results), "--no-pdf", "--out", os.fspath(empty / "report"), *argv])


@given(argv=lines_of("--power", "--std", "0.4", "--format", "json", "markdown", *SHOWN))
def test_command_lines_of_claims(empty: Path, results: Path, argv: list[str]) -> None:
    ends(claims.main, ["--results", str(results), *argv])

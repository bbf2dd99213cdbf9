"""Who may see the page."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import reports
from web import LOCAL, ask

from analysis import watch
from analysis.watching.follower import Follower
from analysis.watching.guard import Guard
from analysis.watching.server import make_application

TOKEN = "a-token-that-nobody-guesses"
COOKIE = "ekd-watch-8321"


@pytest.fixture(scope="module")
def follower(tmp_path_factory: pytest.TempPathFactory) -> Follower:
    made = Follower(reports.write_ledger(tmp_path_factory.mktemp("results")))
    made.look()
    return made


@pytest.fixture(scope="module")
def guarded(follower: Follower) -> Guard:
    return make_application(follower, token=TOKEN, port=8321)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8321", "localhost:1", "[::1]:8321", "LOCALHOST"])
def test_this_machine_may_look(follower: Follower, host: str) -> None:
    assert ask(make_application(follower), headers={"host": host}).status == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "evil@127.0.0.1", "", "127.0.0.1:8321:1"])
def test_a_name_from_elsewhere_that_leads_here_may_not(follower: Follower, host: str) -> None:
    assert ask(make_application(follower), headers={"host": host}).status == 400
    assert ask(make_application(follower), headers={}).status == 400


@pytest.mark.parametrize(
    "target", ["/", "/static/watch.js", "/runs", "/nothing", "/?token=", "/?token=wrong", "/?token=%ff"]
)
def test_without_the_token_nothing_is_shown(guarded: Guard, target: str) -> None:
    answer = ask(guarded, target)
    assert answer.status == 403
    assert "table5" not in answer.text
    wrong = {"cookie": f"{COOKIE}=wrong; {COOKIE}x={TOKEN}"}
    assert ask(guarded, target, LOCAL | wrong).status == 403


def test_the_address_with_the_token_gives_a_cookie(guarded: Guard) -> None:
    answer = ask(guarded, f"/?token={TOKEN}", {"host": "cluster.example"})
    assert (answer.status, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    for host in ("cluster.example", "["):
        assert ask(guarded, "/", {"host": host, "cookie": cookie.partition(";")[0]}).status == 200


def test_other_protocols_are_refused(guarded: Guard) -> None:
    assert ask(guarded, scheme="websocket").status == 0


def test_a_port_that_is_taken_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert watch.main(["--results", str(tmp_path), "--port", str(port)]) == 2
    assert capsys.readouterr().err == (
        f"error: cannot listen on 127.0.0.1, port {port} (address already in use): name another --host or --port\n"
    )


@pytest.mark.parametrize(("words", "said"), [(["--port", "70000"], "is no port"), (["--results", "x"], "no folder x")])
def test_what_cannot_be_is_one_line(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    assert watch.main(words) == 2
    assert said in capsys.readouterr().err


def test_what_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(watch, "find_spec", lambda name: None if name == "uvicorn" else object())
    assert watch.main(["--results", str(tmp_path)]) == 2
    assert capsys.readouterr().err == ("error: the page needs uvicorn: pip install uvicorn\n")

"""The page beside a sweep: it answers while the sweep runs, and ends with it, however that ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from analysis import watch
from sweeps.display.page import show_page
from trainables.errors import UserError

DEADLINE = 60


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return b"in the ledger" in answer.read()
    except OSError:
        return False


def wait_until(address: str, *, answering: bool) -> None:
    deadline = time.monotonic() + DEADLINE
    while answers(address) != answering:
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.slow
def test_it_answers_until_the_sweep_ends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with show_page(tmp_path, 0):
        address = capsys.readouterr().out.removeprefix("page: ").strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
        wait_until(address, answering=True)
    assert not answers(address)


@pytest.mark.slow
def test_it_ends_with_a_sweep_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from sweeps.display.page import show_page\n"
        "with show_page(Path(sys.argv[1]), 0): time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as sweep:
        assert sweep.stdout is not None
        address = sweep.stdout.readline().removeprefix("page: ").strip()
        wait_until(address, answering=True)
        os.kill(sweep.pid, signal.SIGKILL)
    wait_until(address, answering=False)


def test_a_port_that_is_taken_is_told_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server((watch.LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} "), show_page(tmp_path, port):
            raise AssertionError


def test_no_page_was_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with show_page(tmp_path, None):
        assert capsys.readouterr().out == ""

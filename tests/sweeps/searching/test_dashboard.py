"""Optuna's dashboard open beside a search: it reads the study and writes notes, and neither finds the file locked."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_study import study

pytestmark = pytest.mark.slow
STUDY, TRIALS, EPOCHS = 1, 12, 5


@contextlib.contextmanager
def dashboard(path: Path) -> Iterator[int]:
    """Its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).with_name("optuna-dashboard")), f"sqlite:///{path}", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(240):
                with contextlib.suppress(OSError):
                    call(port, "GET", "/api/studies")
                    break
                time.sleep(0.5)
            yield port
        finally:
            process.terminate()


def call(port: int, method: str, path: str, body: object = None) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def test_notes_are_written_beside_a_search_and_nobody_finds_the_file_locked(tmp_path: Path) -> None:
    one, answers, over = study(tmp_path, prunes="median"), Counter[tuple[str, int]](), threading.Event()

    def look(port: int) -> None:
        while not over.is_set():
            answers["GET", call(port, "GET", f"/api/studies/{STUDY}")] += 1

    def note(port: int, trial: int) -> None:
        version = 0
        while not over.is_set():
            version += 1
            path = f"/api/studies/{STUDY}/{trial}/note"
            answers["PUT", call(port, "PUT", path, {"body": f"note {version}", "version": version})] += 1

    for place in range(TRIALS):
        if place == 2:
            stack = contextlib.ExitStack()
            port = stack.enter_context(dashboard(one.path))
            others = [threading.Thread(target=look, args=(port,)) for _ in range(2)]
            others += [threading.Thread(target=note, args=(port, trial)) for trial in (1, 2)]
            for other in others:
                other.start()
        one.begin(one.ask()[0], f"run{place}")
        for epoch in range(1, EPOCHS + 1):
            one.report(f"run{place}", epoch, 50.0 + place)
        one.end(f"run{place}", 50.0 + place)
    over.set()
    for other in others:
        other.join()
    stack.close()
    assert {kind for kind, _ in answers} == {"GET", "PUT"}
    assert all(200 <= status < 300 for _, status in answers), answers
    assert one.counted == TRIALS

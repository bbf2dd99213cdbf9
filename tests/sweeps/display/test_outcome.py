"""The command that a stopped sweep prints."""

from __future__ import annotations

import sys

import pytest

from sweeps.display.outcome import resuming, typed


@pytest.mark.parametrize(
    ("called", "command"),
    [
        ("/opt/env/bin/ekd", "ekd run table5 --gpus 0"),
        ("../sweeps/run.py", "python ../sweeps/run.py table5 --gpus 0"),
    ],
)
def test_a_sweep_is_resumed_as_it_was_started(called: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [called])
    assert resuming(typed("run.py", ["table5", "--gpus", "0"])) == command

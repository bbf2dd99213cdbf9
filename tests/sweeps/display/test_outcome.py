"""The command that a stopped sweep prints."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sweeps.display.outcome import typed
from trainables.commands import as_called


@pytest.mark.parametrize(
    ("called", "command"),
    [
        ("/opt/env/bin/ekd", "ekd run table5 --gpus 0"),
        ("../sweeps/run.py", "python ../sweeps/run.py table5 --gpus 0"),
    ],
)
def test_a_sweep_is_resumed_as_it_was_started(called: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    monkeypatch.setattr(sys, "argv", [called])
    assert as_called(typed("run.py", ["table5", "--gpus", "0"])) == command

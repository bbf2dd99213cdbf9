"""A command to run, and weights to give it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from commands import Command

from sweeps.run import main
from trainables.commands import run_command
from trainables.models import build
from trainables.models.checkpoint import save_weights


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run the command in an empty folder, in this process: status, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*argv: object) -> tuple[int, str, str]:
        status = run_command(main, [str(word) for word in argv])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "resnet8.pth"
    torch.manual_seed(0)
    save_weights(build("resnet8", 10), path)
    return path

"""What the record says of the program's commit where git does not name it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from trainables.storage import provenance


def test_why_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    provenance.surroundings.cache_clear()
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    try:
        subprocess.run(["git", "--version"], check=True, capture_output=True)
    except OSError:
        pytest.skip("no git here")
    assert "not a git repository" in provenance.surroundings("cpu")["no_commit"]
    subprocess.run(["git", "-C", str(tmp_path), "init", "-q"], check=True)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    assert "dubious ownership" in str(provenance.why_no_commit())
    monkeypatch.setenv("PATH", str(tmp_path))
    assert str(provenance.why_no_commit()).startswith("git did not run: ")
    provenance.surroundings.cache_clear()


def test_an_installed_program_has_no_commit_of_another_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "is_checkout", lambda: False)
    provenance.surroundings.cache_clear()
    record = provenance.surroundings("cpu")
    provenance.surroundings.cache_clear()
    assert (record["commit"], record["dirty"]) == (None, None)
    assert "checkout" in record["no_commit"]

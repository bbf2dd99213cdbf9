"""The example of docs/pandas.md prints what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_example_prints_and_draws_what_its_page_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    page = (ROOT / "docs" / "pandas.md").read_text()
    code = "".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL))
    (said,) = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert printed == said.splitlines()

"""The commands that README, docs and --help name, found where they stand."""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainables.commands import COMMANDS

ROOT = Path(__file__).parents[1]
EXTEND = ROOT / "docs" / "extend"
PAGES = [page for page in sorted((ROOT / "docs").rglob("*.md")) if page.parent != EXTEND]
TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES]
"""But for the pages on adding things, whose commands need what they add: `sweeps/test_additions.py`."""
FENCED = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?:^    .*\n)+", re.MULTILINE)
INLINE = re.compile(r"`([^`]+)`")
OURS = re.compile(r"\b(?:python ((?:\w+/)+\w+\.py)|ekd (\w+))\b((?:(?!: )[^\n;&|'`#])*)")
MADE = re.compile(r"\bmake ([a-z-]+)")
RAYS = re.compile(r"\bray ([a-z-]+)([^\n;&|'`#]*)")


def code(text: str) -> Iterator[str]:
    """All that is set as code, a line continued by a backslash in one."""
    fenced = FENCED.findall(text)
    rest = FENCED.sub("\n", text)
    for found in (*fenced, *INDENTED.findall(rest), *INLINE.findall(INDENTED.sub("\n", rest))):
        yield re.sub(r"\\\n\s*", "", found)


def ours(text: str) -> list[tuple[str, ...]]:
    """The commands of this program in some code: the script and its words. `...` stands for words left out."""
    found = []
    for script, name, words in OURS.findall(text):
        if name and name not in COMMANDS:
            continue
        path = script or f"{COMMANDS[name].replace('.', '/')}.py"
        if "..." not in words:
            found.append((path, *shlex.split(words)))
    return found


def written() -> list[tuple[str, ...]]:
    """Those of README and docs, each once. A name without words stands for the command itself."""
    found = (one for path in TEXTS for part in code(path.read_text()) for one in ours(part))
    return list(dict.fromkeys(one for one in found if len(one) > 1))


def matches(pattern: re.Pattern[str]) -> set[str] | set[tuple[str, ...]]:
    return {found for path in TEXTS for part in code(path.read_text()) for found in pattern.findall(part)}


def help_of(module: str, patch: pytest.MonkeyPatch) -> str:
    """What a command says of itself, each sentence on one line."""
    patch.setenv("COLUMNS", "10000")
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        importlib.import_module(module).main(["--help"])
    return out.getvalue()

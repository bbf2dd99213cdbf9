"""A report as one LaTeX file for pdflatex, with its pictures beside it, and as the PDF that it becomes."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from analysis.reporting.document import Document, Picture, Styled, Words, kind_of
from analysis.table import latex
from analysis.table.sheet import Panel
from trainables.error_texts import LATEX_UNFINISHED

NAME = "report"
FIGURES = "figures"
ACROSS = 7
"""Columns of numbers that stand side by side on a page."""
LONG = 16
"""Letters of a word that is kept whole; a longer one may be broken."""
LONGEST_TITLE = 200
"""In letters, among the properties of the PDF."""
SECONDS = 300
PASSES = 4
MOST_LETTERS = 900
"""Of an entry of a listing, which cannot go on over pages; the HTML page has all of it."""

_NUMBERED = "{[}U+"
"""How a letter that is printed by its number begins."""
_PUNCTUATION = "/_-=.,:"
_IN_TEXT = {"-": "-{}"}
_IN_CODE = _IN_TEXT | {"'": r"\textquotesingle{}", '"': r"\textquotedbl{}", "`": r"\textasciigrave{}"}


def article(document: Document) -> str:
    """The LaTeX; it needs the pictures that `pictures_of` names."""
    templates = Environment(
        loader=PackageLoader("analysis.reporting"),
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        comment_start_string="<#",
        comment_end_string="#>",
        autoescape=True,
        finalize=_safe,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters |= {"kind": kind_of, "code": _code, "cut": _cut, "side_by_side": _parts, "tabular": _tabular}
    return templates.get_template("report.tex").render(
        document=document,
        property=latex.escape(" ".join(document.title.split())[:LONGEST_TITLE]),
        folder=FIGURES,
    )


def pictures_of(document: Document) -> dict[str, bytes]:
    """The pictures of the LaTeX by their names in the folder FIGURES."""
    shown = [block for block in document.blocks if isinstance(block, Picture)]
    return {name: content for picture in shown for name, content, _ in picture.print}


def _safe(value: object) -> Markup:
    """Any value as LaTeX that prints it; what is LaTeX already (from a macro or a filter) as it is."""
    return value if isinstance(value, Markup) else _text(str(value), _IN_TEXT)


def _code(text: str) -> Markup:
    return _text(text, _IN_CODE)


def _text(text: str, own: Mapping[str, str]) -> Markup:
    """Words of any length, which break where they must. own: letters that are written in another way here."""
    words = " ".join(_break_word(word, own) for word in text.split())
    before, after = (" " if end.isspace() else "" for end in (text[:1], text[-1:]))
    return Markup(f"{before}{words}{after}")


def _break_word(word: str, own: Mapping[str, str]) -> str:
    """A word that may break after its punctuation if it is long, and anywhere in a long run of letters."""
    out, run = [], 0
    for letter in word:
        out.append(own.get(letter) or (letter if "À" <= letter <= "ÿ" else latex.escape(letter)))
        run = 0 if letter in _PUNCTUATION else run + 1
        if out[-1].startswith(_NUMBERED) or (len(word) > LONG and (run == 0 or run > LONG)):
            out.append(r"\allowbreak{}")
    return "".join(out)


def _cut(entry: Words) -> Words:
    """An entry of a listing, shortened where it would not fit on a page."""
    if isinstance(entry, Styled):
        return replace(entry, text=str(_cut(entry.text)))
    return entry if len(entry) <= MOST_LETTERS else f"{entry[:MOST_LETTERS]} ..."


def _tabular(panel: Panel) -> Markup:
    return Markup(latex.tabular(panel).rstrip("\n"))


def _parts(panel: Panel) -> Iterator[Panel]:
    """A panel of many columns as several of about as many each, with the names of the rows at the left of each."""
    columns = len(panel.heads[0]) - 1
    pieces = max(1, -(-columns // ACROSS))
    width = max(1, -(-columns // pieces))
    for start in range(0, columns, width):
        end = min(start + width, columns)
        yield Panel(
            panel.title,
            tuple((head[0], *head[start + 1 : end + 1]) for head in panel.heads),
            tuple(tuple(replace(line, entries=line.entries[start:end]) for line in group) for group in panel.groups),
        )


def how(folder: Path) -> str:
    """The command that makes the PDF by hand."""
    return f"cd {shlex.quote(str(folder))} && pdflatex {NAME}.tex && pdflatex {NAME}.tex"


def compile_pdf(folder: Path) -> bytes:
    """The PDF of the folder's LaTeX. Raises MissingError where something is not installed, LatexError."""
    program = shutil.which("pdflatex")
    if program is None:
        raise MissingError("pdflatex is not installed")
    with tempfile.TemporaryDirectory() as scratch:
        options = ["-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", f"-output-directory={scratch}"]
        for _ in range(PASSES):
            log = _run([program, *options, f"{NAME}.tex"], folder, Path(scratch))
            if not LATEX_UNFINISHED.search(log):
                break
        return (Path(scratch) / f"{NAME}.pdf").read_bytes()


class MissingError(Exception):
    """LaTeX, or one of its packages, is not installed."""


class LatexError(Exception):
    """pdflatex failed; its log as it is."""

    def __init__(self, reason: str, log: str) -> None:
        super().__init__(reason)
        self.log = log


def _run(command: list[str], folder: Path, scratch: Path) -> str:
    """One pass; its log."""
    environment = os.environ | {"max_print_line": "1000", "openin_any": "a"}
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            timeout=SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as error:
        raise LatexError(f"pdflatex took more than {SECONDS} s", "") from error
    path = scratch / f"{NAME}.log"
    log = path.read_text(encoding="utf-8", errors="replace") if path.exists() else done.stdout.decode(errors="replace")
    if done.returncode == 0:
        return log
    lacking = re.search(r"File `([^']+)' not found", log)
    if lacking:
        raise MissingError(f"LaTeX lacks {lacking[1]}")
    reason = next((line for line in log.splitlines() if line.startswith("!")), f"status {done.returncode}")
    raise LatexError(f"pdflatex failed: {reason.removeprefix('! ')}", log)

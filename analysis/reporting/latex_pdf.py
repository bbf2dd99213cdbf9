"""A report as one LaTeX file for pdflatex, with its pictures beside it, and as the PDF that it becomes."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from analysis.reporting.document import (
    BAD,
    CODE,
    GOOD,
    QUIET,
    STRONG,
    Block,
    Column,
    Document,
    Heading,
    Listing,
    Paragraph,
    Picture,
    Styled,
    Words,
)
from analysis.table import latex
from analysis.table.sheet import Panel, Sheet

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

_PREAMBLE = r"""
\documentclass[10pt,a4paper]{article}
\usepackage[T1]{fontenc}
\IfFileExists{lmodern.sty}{\usepackage{lmodern}}{}
\usepackage[margin=18mm]{geometry}
\usepackage{array,booktabs,longtable,graphicx,xcolor}
\usepackage[hidelinks]{hyperref}
\definecolor{good}{HTML}{00603F}
\definecolor{bad}{HTML}{A03A00}
\definecolor{quiet}{HTML}{666666}
\newsavebox{\whole}
\newcommand{\fitted}[1]{\sbox{\whole}{#1}%
  \ifdim\wd\whole>\linewidth\sbox{\whole}{\resizebox{\linewidth}{!}{\usebox{\whole}}}\fi
  \ifdim\dimexpr\ht\whole+\dp\whole>0.9\textheight\sbox{\whole}{\resizebox{!}{0.9\textheight}{\usebox{\whole}}}\fi
  \usebox{\whole}}
\newcommand{\shrunk}[1]{\ifdim\ht\whole>#1\textheight\sbox{\whole}{\resizebox{!}{#1\textheight}{\usebox{\whole}}}\fi}
\newcommand{\drawn}[2]{\sbox{\whole}{\includegraphics[width=#1\linewidth]{#2}}%
  \ifdim\ht\whole<0.65\textheight\shrunk{0.46}\else\shrunk{0.9}\fi
  \begin{center}\usebox{\whole}\end{center}}
\newcommand{\room}[1]{\par\begingroup\dimen0=#1\relax\dimen2=\pagegoal\advance\dimen2-\pagetotal
  \ifdim\dimen0>\dimen2\ifdim\dimen2>0pt\vfil\break\fi\fi\endgroup}
\makeatletter
\renewcommand*{\l@section}{\@dottedtocline{1}{0em}{0em}}
\makeatother
\newcolumntype{P}[1]{>{\raggedright\arraybackslash}p{#1}}
\setlength{\parindent}{0pt}
\setlength{\parskip}{4pt plus 2pt}
\setlength{\LTpre}{4pt}
\setlength{\LTpost}{4pt}
\setlength{\LTleft}{0pt}
\emergencystretch=3em
\raggedbottom
\pdfinfoomitdate=1
\pdftrailerid{}
""".strip()

_STYLES = {
    CODE: r"\texttt{%s}",
    STRONG: r"\textbf{%s}",
    GOOD: r"\textcolor{good}{\textbf{%s}}",
    BAD: r"\textcolor{bad}{\textbf{%s}}",
    QUIET: r"\textcolor{quiet}{%s}",
}
_NUMBERED = "{[}U+"
"""How a letter that is printed by its number begins."""
_PUNCTUATION = "/_-=.,:"
_IN_TEXT = {"-": "-{}"}
_IN_CODE = _IN_TEXT | {"'": r"\textquotesingle{}", '"': r"\textquotedbl{}", "`": r"\textasciigrave{}"}


def article(document: Document) -> str:
    """The LaTeX; it needs the pictures that `pictures_of` names."""
    title, subtitle = _text(document.title), _text(document.subtitle)
    blocks = [line for block in document.blocks for line in _block(block)]
    return "\n".join(
        [
            _PREAMBLE,
            rf"\hypersetup{{pdftitle={{{latex.escape(_line(document.title)[:LONGEST_TITLE])}}}}}",
            r"\setcounter{secnumdepth}{0}\setcounter{tocdepth}{1}",
            r"\begin{document}",
            rf"{{\LARGE\raggedright\bfseries {title}\par}}",
            rf"{{\color{{quiet}}\raggedright {subtitle}\par}}",
            r"{\setlength{\parskip}{0pt}\tableofcontents}",
            *blocks,
            r"\end{document}",
            "",
        ]
    )


def pictures_of(document: Document) -> dict[str, bytes]:
    """The pictures of the LaTeX by their names in the folder FIGURES."""
    shown = [block for block in document.blocks if isinstance(block, Picture)]
    return {name: content for picture in shown for name, content, _ in picture.print}


def _block(block: Block) -> list[str]:
    if isinstance(block, Heading):
        lines, name = (10, "section") if block.level == 1 else (6, "subsection")
        return [rf"\room{{{lines}\baselineskip}}\{name}{{{_text(block.text)}}}"]
    if isinstance(block, Paragraph):
        return [rf"{{\raggedright {''.join(map(_words, block.words))}\par}}"]
    if isinstance(block, Listing):
        return _listing(block)
    if isinstance(block, Sheet):
        return [*_sheet(block), *(rf"{{\small {_text(words)}\par}}" for words in (block.caption, *block.notes))]
    return [rf"\drawn{{{share:g}}}{{{FIGURES}/{name}}}" for name, _, share in block.print]


def _line(text: str) -> str:
    return " ".join(text.split())


def _escaped(text: str) -> str:
    """The western letters with accents as they are; pdflatex knows them."""
    return "".join(c if "À" <= c <= "ÿ" else latex.escape(c) for c in text)


def _text(text: str) -> str:
    """Words of any length, which break where they must."""
    return " ".join(_broken(word, code=False) for word in text.split())


def _broken(word: str, *, code: bool) -> str:
    """A word that may break after its punctuation if it is long, and anywhere in a long run of letters."""
    own = _IN_CODE if code else _IN_TEXT
    out, run = [], 0
    for letter in word:
        out.append(own.get(letter) or _escaped(letter))
        run = 0 if letter in _PUNCTUATION else run + 1
        if out[-1].startswith(_NUMBERED) or (len(word) > LONG and (run == 0 or run > LONG)):
            out.append(r"\allowbreak{}")
    return "".join(out)


def _words(words: Words) -> str:
    if not isinstance(words, Styled):
        return (" " if words[:1].isspace() else "") + _text(words) + (" " if words[-1:].isspace() else "")
    text = " ".join(_broken(word, code=words.style == CODE) for word in words.text.split())
    return _STYLES[words.style] % text if text else ""


def _entry(words: Words) -> str:
    """An entry of a listing, cut where it would not fit on a page."""
    text = words.text if isinstance(words, Styled) else words
    if len(text) <= MOST_LETTERS:
        return _words(words)
    cut = text[:MOST_LETTERS] + " ..."
    return _words(replace(words, text=cut) if isinstance(words, Styled) else cut)


def _listing(block: Listing) -> list[str]:
    """A longtable; its head is repeated on each page."""
    layout = "".join(_column(column) for column in block.columns)
    heads = " & ".join(_text(column.head) for column in block.columns)
    out = [r"{\small\setlength{\tabcolsep}{3pt}", rf"\begin{{longtable}}{{@{{}}{layout}@{{}}}}", r"\toprule"]
    out += [rf"{heads} \\", r"\midrule"] if any(column.head for column in block.columns) else []
    out += [r"\endhead", r"\bottomrule", r"\endfoot"]
    for number, group in enumerate(block.groups):
        out += [r"\addlinespace"] if number else []
        if group.title:
            out.append(rf"\multicolumn{{{len(block.columns)}}}{{@{{}}l@{{}}}}{{\textbf{{{_text(group.title)}}}}} \\*")
        out += [" & ".join(map(_entry, line)) + r" \\" for line in group.lines]
    return [*out, r"\end{longtable}}"]


def _column(column: Column) -> str:
    if column.share:
        return rf"P{{{column.share:.3f}\linewidth}}"
    return "r" if column.right else "l"


def _sheet(sheet: Sheet) -> Iterator[str]:
    """The panels of a table, wide ones in several; each no wider than the page."""
    for panel in sheet.panels:
        for part in _parts(panel):
            yield r"\begin{minipage}{\linewidth}\centering\small\setlength{\tabcolsep}{4pt}"
            if part.title:
                yield rf"\textbf{{{_text(part.title)}}}\par\smallskip"
            yield r"\fitted{%" + "\n" + latex.tabular(part).rstrip("\n") + r"}\end{minipage}\par\medskip"


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
            if "Rerun" not in log.replace("rerunfilecheck", ""):
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
    log = path.read_text(errors="replace") if path.exists() else done.stdout.decode(errors="replace")
    if done.returncode == 0:
        return log
    lacking = re.search(r"File `([^']+)' not found", log)
    if lacking:
        raise MissingError(f"LaTeX lacks {lacking[1]}")
    reason = next((line for line in log.splitlines() if line.startswith("!")), f"status {done.returncode}")
    raise LatexError(f"pdflatex failed: {reason.removeprefix('! ')}", log)

"""A sheet as LaTeX, as an author would have typed it: a caption of two sentences, one tabular a panel, comments."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass, replace

from analysis.table.captions import SPREAD
from analysis.table.costs import COLUMNS
from analysis.table.layout import PAPER_TITLE
from analysis.table.sheet import Line, Panel, Sheet, Shown

CAPTIONS = ("short", "long")
SPREADS = {
    "pm": SPREAD,
    "subscript": "mean and standard deviation (subscript)",
    "off": "mean",
}
"""How a standard deviation is printed, and what the caption says of it."""


@dataclass(frozen=True)
class LatexStyle:
    """How a table looks.

    Attributes:
        caption: `short`: one or two sentences, and the rest as comments; `long`: all of it in print.
        spread: Of SPREADS.
        second: Whether the second best number of each block is underlined.
        siunitx: Whether numbers stand in columns of siunitx, which align them at their points.
    """

    caption: str = "short"
    spread: str = "pm"
    second: bool = False
    siunitx: bool = False


PLAIN = LatexStyle()

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "%": r"\%",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "±": r"$\pm$",
    "§": r"\S{}",
    "—": r"\textemdash{}",
    "†": r"\dag{}",
    "‡": r"\ddag{}",
    "*": "{*}",
    "[": "{[}",
    "]": "{]}",
}

TALL = 30
"""Lines of numbers from which on they are printed smaller."""
_SIZES = (
    (79, 30, r"\small\setlength{\tabcolsep}{4pt}", r"\scriptsize"),
    (88, 45, r"\footnotesize\setlength{\tabcolsep}{3pt}", r"\tiny"),
    (97, 999, r"\scriptsize\setlength{\tabcolsep}{2pt}", r"\tiny"),
)
"""How many letters fit a line and lines a page, the size of the letters, and that of what stands beside a number."""
_NUMBER = re.compile(r"([+-]?)(\d+)(\.\d+)?([%‡]*)")
_COMMENT = 100
"""Letters of a line of comments."""


def escape(text: str) -> str:
    r"""Any text as LaTeX that prints it, also after a `\\`; what a bare pdflatex does not know, by its code."""
    words = "".join(_SPECIAL.get(c, c if " " <= c <= "~" else f"{{[}}U+{ord(c):04X}{{]}}") for c in text)
    return re.sub(r"(?<== )-(?=\d)", "$-$", re.sub("-(?=-)", "-{}", words))


def _number(text: str) -> str:
    """Signed numbers with a real minus; anything else as text."""
    match = _NUMBER.fullmatch(text)
    return f"${text[: match.start(4)]}${escape(match[4])}" if match and match[1] else escape(text)


def _show_entry(entry: Shown, style: LatexStyle, small: str) -> str:
    """A number with its marks and its standard deviation."""
    spread = escape(entry.spread)
    if style.spread == "pm":
        spread = spread and rf" {{{small} $\pm$ {spread}}}"
    else:
        spread = f"$_{{{spread}}}$" if style.spread == "subscript" and spread else spread.lstrip("0123456789.")
    number = _NUMBER.fullmatch(entry.text) if style.siunitx else None
    if number is not None:
        return _align(entry, number, spread, second=style.second and entry.second)
    text = _number(entry.text)
    text = rf"\textbf{{{text}}}" if entry.best else rf"\textit{{{text}}}" if entry.near_best else text
    text = ((rf"\underline{{{text}}}" if style.second and entry.second else text) + spread).replace("$$", "")
    return f"{{{text}}}" if style.siunitx else text


def _align(entry: Shown, number: re.Match[str], behind: str, *, second: bool) -> str:
    """An entry for a column of siunitx, which reads the number by itself: what marks it stands before and behind."""
    digits = entry.text[: number.start(4)]
    mark = r"\bfseries " if entry.best else r"\itshape " if entry.near_best else ""
    line = rf"\llap{{\underline{{\phantom{{{digits}}}}}}}" if second else ""
    behind = line + escape(number[4]) + behind
    behind = rf"\normalfont{{}}{behind}" if mark and behind else behind
    return f"{mark}{digits}" + (f" {{{behind}}}" if behind else "")


def _rows(line: Line, style: LatexStyle, small: str) -> list[list[str]]:
    """The paper's numbers, and what is missing, stand below on lines of their own: six columns then fit a page."""
    below = [
        [f"({_number(entry.paper)})" if entry.paper else "" for entry in line.entries],
        [escape(entry.note) for entry in line.entries],
        [escape(entry.lost) for entry in line.entries],
    ]
    texts = [[rf"{{{small} {text}}}" if text else "" for text in row] for row in below if any(row)]
    return [
        [escape(line.label), *(_show_entry(entry, style, small) for entry in line.entries)],
        *(["", *t] for t in texts),
    ]


def _describe_column(panel: Panel, style: LatexStyle, small: str) -> str:
    """A column of siunitx with room for any number of the panel."""
    shown = [(entry, _NUMBER.fullmatch(entry.text)) for line in panel.lines for entry in line.entries]
    found = [(_show_entry(entry, style, small), match) for entry, match in shown if match is not None]
    sign = "+" if any(match[1] for _, match in found) else ""
    whole, point = (max((len(match[place] or "") for _, match in found), default=1) for place in (2, 3))
    behind = max((text.partition(" {")[2].removesuffix("}") for text, _ in found), key=len, default="")
    room = f",table-space-text-post={{{behind}}}" if behind else ""
    return f"S[table-format={sign}{whole}.{max(0, point - 1)}{room}]"


def tabular(panel: Panel, style: LatexStyle = PLAIN, small: str = r"\scriptsize") -> str:
    """The panel with rules between its groups; below each name of the columns the lines about it, as in the paper:
    `Teacher`, `Acc.`, `Student`, `Acc.`"""
    head: list[Line] = []
    about = {f"{name} {word}": word for name, *_ in panel.heads for word in ("Acc.", *COLUMNS.values())}
    for name, *names in panel.heads:
        head.append(Line(name, tuple(map(Shown, names))))
        head += [
            replace(line, label=about[line.label].capitalize())
            for line in panel.lines
            if line.label in about and line.label.startswith(name)
        ]
    groups = [head, *([line for line in group if line.label not in about] for group in panel.groups)]
    blocks = [[row for line in group for row in _rows(line, style, small)] for group in groups if group]
    body = "\n\\midrule\n".join("\n".join(" & ".join(row) + r" \\" for row in block) for block in blocks)
    count = len(panel.heads[0]) - 1
    columns = f"*{{{count}}}{{{_describe_column(panel, style, small)}}}" if style.siunitx else "c" * count
    begin = rf"\begin{{tabular}}{{@{{}}l{columns}@{{}}}}"
    return "\n".join([begin, r"\toprule", body, r"\bottomrule", r"\end{tabular}"])


def _count_letters(panel: Panel, style: LatexStyle) -> float:
    """How long a line is, in letters of its size."""
    share = {"pm": 1.0, "subscript": 0.6, "off": 0.0}[style.spread]
    rows: list[list[float]] = [[len(name) for name in head] for head in panel.heads]
    for line in panel.lines:
        spreads = [share * len(f"± {one.spread}") if one.spread else 0.0 for one in line.entries]
        rows.append([len(line.label), *(len(one.text) + more for one, more in zip(line.entries, spreads, strict=True))])
    return sum(max(column) + 3 + 2 * style.siunitx for column in zip(*rows, strict=True))


def latex(sheet: Sheet, style: LatexStyle = PLAIN) -> str:
    """A table environment to paste; what must be known above it as comments, or in its caption and, as that would not
    fit on the page of a tall table, behind it."""
    title, label = sheet.title, f"tab:ekd-{sheet.key}"
    said = [f"{title}. {sheet.caption}", *sheet.notes]
    caption = f"{{{escape(sheet.short.replace(SPREAD, SPREADS[style.spread]))}}}"
    behind = []
    if style.caption == "long":
        if match := PAPER_TITLE.fullmatch(title):
            title = f"{match[2][0].upper()}{match[2][1:]} ({match[1]} of the Energy KD paper)"
        caption = f"[{{{escape(title)}}}]{{{escape(title)}. {escape(sheet.caption)}}}"
        notes = escape(" ".join(sheet.notes))
        behind = [rf"{{\footnotesize\emergencystretch=3em\noindent Notes to Table~\ref{{{label}}}: {notes}\par}}"]
        said = []
    letters = max((_count_letters(panel, style) for panel in sheet.panels), default=0)
    lines = sum(len(_rows(line, style, "")) for panel in sheet.panels for line in panel.lines)
    fitting = [(size, small) for wide, tall, size, small in _SIZES if letters <= wide and lines <= tall]
    size, small = (fitting or [_SIZES[-1][2:]])[0]
    packages = ["booktabs", *["siunitx"] * style.siunitx, *["graphicx"] * (not fitting)]
    comments = [line for text in said for line in textwrap.wrap(" ".join(text.split()), _COMMENT)]
    out = [f"% {line}" for line in (f"{sheet.key}: needs \\usepackage{{{','.join(packages)}}}", *comments)]
    out += [r"\begin{table}[t]", r"\centering\emergencystretch=3em", rf"\caption{caption}", rf"\label{{{label}}}", size]
    out += [r"\sisetup{detect-all,mode=text,retain-explicit-plus}"] * style.siunitx
    for panel in sheet.panels:
        out.append(rf"\par\medskip{{{escape(panel.title)}}}\par\smallskip" if panel.title else r"\par\smallskip")
        body = tabular(panel, style, small)
        out.append(body if fitting else rf"\resizebox{{\linewidth}}{{!}}{{{body}}}")
    return "\n".join([*out, r"\end{table}", *(behind if sheet.notes else []), ""])

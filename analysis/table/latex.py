"""A sheet as LaTeX: one tabular a panel, no wider than the line; it needs `\\usepackage{booktabs,graphicx}`."""

from __future__ import annotations

import re
from itertools import groupby

from analysis.table.layout import PAPER_TITLE
from analysis.table.sheet import Line, Panel, Sheet

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


def escape(text: str) -> str:
    r"""Any text as LaTeX that prints it, also after a `\\`; what a bare pdflatex does not know, by its code."""
    words = "".join(_SPECIAL.get(c, c if " " <= c <= "~" else f"{{[}}U+{ord(c):04X}{{]}}") for c in text)
    return re.sub("-(?=-)", "-{}", words)


def _number(text: str) -> str:
    """Signed numbers with a real minus; anything else as text."""
    match = re.fullmatch(r"([+-][\d.]+)(%?‡?)", text)
    return f"${match[1]}${escape(match[2])}" if match else escape(text)


def _rows(line: Line) -> list[list[str]]:
    """The paper's numbers, and what is missing, stand below on lines of their own: six columns then fit a page."""
    first = [escape(line.label)]
    for entry in line.entries:
        text = _number(entry.text)
        text = rf"\textbf{{{text}}}" if entry.best else rf"\textit{{{text}}}" if entry.near_best else text
        first.append(text + (rf" {{\scriptsize $\pm$ {escape(entry.spread)}}}" if entry.spread else ""))
    below = [
        [f"({_number(entry.paper)})" if entry.paper else "" for entry in line.entries],
        [escape(entry.note) for entry in line.entries],
        [escape(entry.lost) for entry in line.entries],
    ]
    small = [[rf"{{\scriptsize {text}}}" if text else "" for text in texts] for texts in below if any(texts)]
    return [first, *(["", *texts] for texts in small)]


def tabular(panel: Panel) -> str:
    """The panel with rules between its groups; equal neighbouring heads are one, but for those of the last line."""
    *shared, last = panel.heads
    heads = []
    for head in shared:
        spans = [(escape(name), len([*same])) for name, same in groupby(head)]
        heads.append([name if n == 1 else rf"\multicolumn{{{n}}}{{c}}{{{name}}}" for name, n in spans])
    blocks = [
        [*heads, [*map(escape, last)]],
        *([row for line in group for row in _rows(line)] for group in panel.groups),
    ]
    body = "\n\\midrule\n".join("\n".join(" & ".join(row) + r" \\" for row in block) for block in blocks)
    begin = rf"\begin{{tabular}}{{l{'c' * (len(last) - 1)}}}"
    return "\n".join([begin, r"\toprule", body, r"\bottomrule", r"\end{tabular}"])


def latex(sheet: Sheet) -> str:
    """A table environment to paste, and behind it the notes, which would not fit on its page with a tall table."""
    label, title = f"tab:ekd-{sheet.key}", sheet.title
    if match := PAPER_TITLE.fullmatch(title):
        title = f"{match[2][0].upper()}{match[2][1:]} ({match[1]} of the Energy KD paper)"
    short = escape(title)
    columns = max((len(panel.heads[0]) for panel in sheet.panels), default=0)
    lines = sum(len(_rows(line)) for panel in sheet.panels for line in panel.lines)
    out = [
        f"% {sheet.key}: needs \\usepackage{{booktabs,graphicx}}",
        r"\begin{table}[t]",
        r"\centering\emergencystretch=3em",
        rf"\caption[{{{short}}}]{{{short}. {escape(sheet.caption)}}}",
        rf"\label{{{label}}}",
        r"\footnotesize" if lines > TALL else r"\small",
        rf"\setlength{{\tabcolsep}}{{{3 if columns > 7 else 4}pt}}",
    ]
    for panel in sheet.panels:
        out.append(rf"\par\medskip{{{escape(panel.title)}}}\par\smallskip" if panel.title else r"\par\medskip")
        out += [r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%", tabular(panel) + "}"]
    out.append(r"\end{table}")
    if sheet.notes:
        notes = escape(" ".join(sheet.notes))
        out.append(rf"{{\footnotesize\emergencystretch=3em\noindent Notes to Table~\ref{{{label}}}: {notes}\par}}")
    return "\n".join([*out, ""])

"""A sheet as LaTeX: booktabs, one tabular a panel, nothing that needs more than `\\usepackage{booktabs}`."""

from __future__ import annotations

import re

from analysis.sheet import Line, Panel, Sheet, Shown

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
    '"': r"\textquotedbl{}",
    "±": r"$\pm$",
    "—": "---",
}


def escape(text: str) -> str:
    """Any text as LaTeX that prints it; characters that a bare pdflatex does not know, by their code."""
    return "".join(_SPECIAL.get(c, c if " " <= c <= "~" else f"[U+{ord(c):04X}]") for c in text)


def _number(text: str) -> str:
    """Signed numbers with a real minus; anything else as text."""
    match = re.fullmatch(r"([+-][\d.]+)(%?)", text)
    return f"${match[1]}${escape(match[2])}" if match else escape(text)


def _main(entry: Shown) -> str:
    text = _number(entry.text)
    bold = rf"\textbf{{{text}}}" if entry.best else text
    return bold + (rf" {{\scriptsize $\pm$ {escape(entry.spread)}}}" if entry.spread else "")


def _below(entry: Shown) -> str:
    """The paper's number and what is missing, on a line of their own: six columns then fit a page."""
    words = [f"({_number(entry.paper)})" if entry.paper else "", escape(entry.note)]
    text = " ".join(word for word in words if word)
    return rf"{{\scriptsize {text}}}" if text else ""


def _rows(line: Line) -> list[list[str]]:
    rows = [[escape(line.label), *(_main(entry) for entry in line.entries)]]
    if any(entry.paper or entry.note for entry in line.entries):
        rows.append(["", *(_below(entry) for entry in line.entries)])
    return rows


def _tabular(panel: Panel) -> str:
    """pandas' Styler writes the tabular; the rules between groups and below shared teachers are added to its lines."""
    import pandas as pd

    groups = [[row for line in group for row in _rows(line)] for group in panel.groups]
    heads = [[escape(name) for name in head] for head in panel.heads]
    columns = pd.MultiIndex.from_arrays(heads) if len(heads) > 1 else pd.Index(heads[0])
    frame = pd.DataFrame([row for group in groups for row in group], columns=columns)
    styled = frame.style.hide(axis="index").to_latex(
        hrules=True, column_format="l" + "c" * (len(heads[0]) - 1), multicol_align="c"
    )
    top, body = styled.split("\\midrule\n")
    rows = body.splitlines()
    ends = {sum(len(group) for group in groups[: count + 1]) for count in range(len(groups) - 1)}
    ruled = [line + ("\n\\midrule" if number in ends else "") for number, line in enumerate(rows, 1)]
    return "\n".join([top + "\\midrule", *ruled])


def latex(sheet: Sheet) -> str:
    """A table environment to paste; it needs the package booktabs."""
    number, _, name = sheet.title.partition(": ")
    short = escape(f"{name[:1].upper()}{name[1:]} ({number} of the Energy KD paper)")
    out = [
        f"% {sheet.key}: needs \\usepackage{{booktabs}}",
        r"\begin{table}[t]",
        r"\centering",
        rf"\caption[{short}]{{{short}. {escape(sheet.caption)}}}",
        rf"\label{{tab:ekd-{sheet.key}}}",
        r"\small",
        r"\setlength{\tabcolsep}{4pt}",
    ]
    for panel in sheet.panels:
        out.append(rf"\par\medskip{{{escape(panel.title)}}}\par\smallskip" if panel.title else r"\par\medskip")
        out.append(_tabular(panel))
    if sheet.notes:
        out += [r"\par\medskip", r"\parbox{\linewidth}{\footnotesize " + escape(" ".join(sheet.notes)) + "}"]
    return "\n".join([*out, r"\end{table}", ""])

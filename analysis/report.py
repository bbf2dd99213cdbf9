"""All that a ledger can fill, as one HTML page and one PDF: `python analysis/report.py --results results`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from trainables.environment import check_environment

    check_environment(__file__)

from analysis.reporting.claims_section import claims_section
from analysis.reporting.document import Document
from analysis.reporting.html import page
from analysis.reporting.latex_pdf import FIGURES, NAME, LatexError, MissingError, article, compile_pdf, how, pictures_of
from analysis.reporting.missing_section import missing_section
from analysis.reporting.snapshot import Snapshot, read_snapshot
from analysis.reporting.summary_section import last_run, summary_section
from analysis.reporting.table_section import table_sections
from analysis.table.command_line import add_arguments, write
from trainables.commands import Parser, command_name, parse_path, run_command

TITLE = "Energy KD and HE-DA, rebuilt"
TO_INSTALL = "texlive-latex-recommended texlive-fonts-recommended"


def make_report(snapshot: Snapshot, title: str = TITLE, *, printed: bool = True) -> Document:
    """The whole report; printed: with the pictures of the PDF."""
    blocks = (
        *summary_section(snapshot),
        *claims_section(snapshot),
        *table_sections(snapshot, printed=printed),
        *missing_section(snapshot),
    )
    ended = last_run(snapshot)
    subtitle = f"From the ledger of {snapshot.results}" + (f"; its last run ended {ended} UTC" if ended else "")
    return Document(title, subtitle, blocks)


def write_report(document: Document, folder: Path, *, printed: bool = True) -> int:
    """report.html, and report.tex with its figures and report.pdf. 1 where LaTeX fails; 0 also where there is none."""
    write(folder / f"{NAME}.html", page(document).encode(errors="replace"))
    print(folder / f"{NAME}.html")
    if not printed:
        return 0
    for name, content in pictures_of(document).items():
        write(folder / FIGURES / name, content)
    write(folder / f"{NAME}.tex", article(document).encode(errors="replace"))
    try:
        write(folder / f"{NAME}.pdf", compile_pdf(folder))
    except MissingError as error:
        print(f"{folder / NAME}.tex: no PDF yet, {error}: install {TO_INSTALL}, then {how(folder)}")
        return 0
    except LatexError as error:
        write(folder / f"{NAME}.log", error.log.encode())
        print(f"error: {error} (see {folder / NAME}.log)", file=sys.stderr)
        return 1
    print(folder / f"{NAME}.pdf")
    return 0


def _command(arguments: Sequence[str]) -> int:
    parser = Parser(
        prog=command_name("report"), description="Everything that the ledger can fill, as one HTML page and one PDF."
    )
    add_arguments(parser, sweep=False)
    parser.add_argument("--out", type=parse_path, metavar="DIR", help="default: report in the results folder")
    parser.add_argument("--no-pdf", action="store_true", help="the HTML page alone")
    parser.add_argument("--title", default=TITLE, help=f"default: {TITLE}")
    options = parser.parse_args(arguments)
    printed = not options.no_pdf
    document = make_report(read_snapshot(options.results, options.metric), options.title, printed=printed)
    return write_report(document, options.out or options.results / NAME, printed=printed)


def main(arguments: Sequence[str] | None = None) -> int:
    return run_command(_command, arguments)


if __name__ == "__main__":
    sys.exit(main())

"""The paper's claims beside its own tables and beside the ledger: `python analysis/claims.py --results results`.

`--power` says instead how many seeds a difference needs.
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from trainables.environment import check_environment

    check_environment(__file__)

from analysis import paper
from analysis.claim.power import Spread, report, spread, spread_of_runs
from analysis.reporting.claims_section import RULE, Judged, judged_claims
from analysis.reporting.snapshot import Snapshot, read_snapshot
from analysis.table import names
from analysis.table.command_line import add_arguments, ledger_path
from analysis.table.grid import Grid, make_grid
from analysis.table.render import TEXT_WIDTH, markdown_row, markdown_text
from analysis.table.resolved import resolve
from analysis.table.verdicts import SEED_STD
from trainables.commands import Parser, command_name, run_command
from trainables.errors import UserError

SEEDS = 3


def text(judged: Sequence[Judged]) -> str:
    """A claim a paragraph: what it says, what the paper's tables give, what the ledger gives, what to run."""
    paragraphs = []
    for one in judged:
        lines = [("", f"{one.claim.says} ({one.claim.where}; {_tables(one)}) [{one.claim.key}]")]
        lines += [("  reading: ", one.claim.reading)] if one.claim.reading else []
        lines += [("  paper:   ", one.printed.answer), ("  ledger:  ", one.answer)]
        wrapped = [_wrap(head, words) for head, words in lines]
        paragraphs.append("\n".join([*wrapped, *([f"  to run:  {one.command}"] if one.command else [])]))
    return "\n\n".join([*paragraphs, "\n".join(textwrap.wrap(RULE, TEXT_WIDTH))]) + "\n"


def _wrap(head: str, words: str) -> str:
    return textwrap.fill(
        words, TEXT_WIDTH, initial_indent=head, subsequent_indent=" " * len(head), break_on_hyphens=False
    )


def _tables(one: Judged) -> str:
    return names.listed([paper.find(name).title.partition(":")[0] for name in one.claim.tables])


def markdown(judged: Sequence[Judged]) -> str:
    """One table, a claim a line; below it the rule, the readings and the commands."""
    heads = ["Claim", "Where", "The paper's tables", "Ledger"]
    lines = [[one.claim.says, one.claim.where, one.printed.answer, one.answer] for one in judged]
    readings = [f"- {one.claim.says}: {one.claim.reading}" for one in judged if one.claim.reading]
    commands = list(dict.fromkeys(one.command for one in judged if one.command))
    out = [markdown_row(heads), markdown_row([":--"] * len(heads))]
    out += [markdown_row([markdown_text(words) for words in line]) for line in lines]
    out += ["", RULE, "", *readings]
    return "\n".join([*out, *(["", "```", *commands, "```"] if commands else []), ""])


def as_json(judged: Sequence[Judged]) -> str:
    """Everything, with each comparison that was made."""
    return json.dumps([_facts(one) for one in judged], indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _facts(one: Judged) -> dict[str, object]:
    found = one.finding
    return {
        "claim": one.claim.key,
        "says": one.claim.says,
        "where": one.claim.where,
        "tables": one.claim.tables,
        "reading": one.claim.reading,
        "paper": {
            "word": one.printed.word,
            "words": one.printed.words,
            "cells": [
                {"pair": cell.place, "row": cell.row, "number": cell.number, "over": cell.over, "other": cell.other}
                for cell in one.printed.cells
            ],
        },
        "ledger": {
            "word": one.word,
            "unlike": one.unlike,
            "why": one.why,
            "unit": one.unit,
            "of": found.of if found else "",
            "difference": found.estimate.mean if found else None,
            "interval": found.estimate.interval() if found else None,
            "p": found.p if found else None,
            "comparisons": [
                {
                    "pair": each.unit.place,
                    "row": each.unit.rows[each.unit.closest[0]],
                    "over": each.unit.over[each.unit.closest[1]],
                    "by_seed": dict(each.unit.difference.by_seed),
                    "difference": each.unit.difference.summary.mean,
                    "std": each.unit.difference.summary.std,
                    "interval": each.unit.difference.estimate.interval(),
                    "p_holm": each.p,
                }
                for each in (found.measured if found else ())
            ],
        },
        "command": one.command,
    }


FORMATS = {"text": text, "markdown": markdown, "json": as_json}


def spreads(snapshot: Snapshot) -> list[Spread]:
    """The spread of each data set that the latest sweeps of its tables trained on."""
    latest = {name: sweep for sweep in snapshot.sweeps for name in sweep.tables if name in paper.tables()}
    by_data: dict[str, list[Grid]] = {}
    for name, sweep in latest.items():
        table = paper.find(name)
        if table.kind.compares_accuracies:
            grid = make_grid(resolve(table, sweep.settings), snapshot.runs, snapshot.metric)
            by_data.setdefault(names.dataset(grid.settings.dataset), []).append(grid)
    found = (spread(grids, f"from the ledger's runs on {data}") for data, grids in by_data.items())
    return [one for one in found if one]


def read_ledger(results: Path | None, metric: str) -> Snapshot:
    """The ledger of a folder; an empty one where no folder was named and the usual one has no ledger."""
    usual = Path("results")
    if results is None and not ledger_path(usual).exists():
        return Snapshot(usual, {}, (), metric)
    return read_snapshot(results or usual, metric)


def power_lines(results: Path | None, metric: str, std: float | None) -> list[str]:
    if std is not None:
        if not 0 < std < 100:
            raise UserError(f"--std {std:g} must lie between 0 and 100 points")
        return report(spread_of_runs(std, "given; pairing is taken to gain nothing"), SEEDS)
    found = spreads(read_ledger(results, metric)) or [
        spread_of_runs(
            SEED_STD, "an assumption: the ledger has no two rows of two seeds; pairing is taken to gain nothing"
        )
    ]
    return [line for number, one in enumerate(found) for line in ([""] * (number > 0) + report(one, SEEDS))]


def _command(arguments: Sequence[str]) -> int:
    parser = Parser(
        prog=command_name("claims"), description="The paper's claims beside its own tables and beside the ledger."
    )
    add_arguments(parser)
    parser.set_defaults(results=None)
    parser.add_argument("--format", default="text", choices=FORMATS, help="default: text")
    parser.add_argument(
        "--power", action="store_true", help="how many seeds a difference needs, from the ledger's spread"
    )
    parser.add_argument(
        "--std", type=float, metavar="X", help="for --power: the standard deviation of a run, in points"
    )
    options = parser.parse_args(arguments)
    if options.std is not None and not options.power:
        raise UserError("--std is for --power")
    if options.power and (options.format != "text" or options.sweep is not None):
        raise UserError("--power takes neither --format nor --sweep")
    if options.power:
        print("\n".join(power_lines(options.results, options.metric, options.std)))
        return 0
    judged = judged_claims(read_ledger(options.results, options.metric), sweep=options.sweep)
    sys.stdout.write(FORMATS[options.format](judged))
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    return run_command(_command, arguments)


if __name__ == "__main__":
    sys.exit(main())

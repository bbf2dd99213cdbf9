"""The paper's claims in a report: each beside what its own tables give and what the ledger gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from analysis import paper
from analysis.claim.kinds import Above, Claim
from analysis.claim.numbers import FAILS, InThePaper, in_the_ledger, in_the_paper, widened
from analysis.claim.rules import CONTRADICTED, SUPPORTED, Finding, Unit, decide
from analysis.paper.claims import CLAIMS
from analysis.record.ledger import Sweep
from analysis.record.settings import Settings
from analysis.reporting.comparison import unlike
from analysis.reporting.document import (
    BAD,
    CODE,
    GOOD,
    QUIET,
    Block,
    Column,
    Heading,
    Styled,
    Words,
    listing,
    paragraph,
)
from analysis.reporting.missing import full_command, sweep_options
from analysis.reporting.snapshot import Snapshot
from analysis.table.grid import Grid, make_grid
from analysis.table.layout import Table
from analysis.table.resolved import CellKey, resolve
from analysis.table.verdicts import NOT_COMPARABLE, NOT_RUN
from trainables.commands import command_name
from trainables.errors import UserError

RULE = (
    "Every difference is paired over the seeds that both rows have, with a paired t-test at 5 % and Holm's correction "
    "over the comparisons of one claim. A claim about all pairs is contradicted by one pair in which the difference is "
    "significantly against it, and supported where all pairs were run, each mean is on its side, and their average is "
    "so significantly. A claim of up to x points is about the largest gain: supported where that gain is significant "
    "and its interval reaches x. Not shown: missing runs, too few seeds, or too small a difference to tell. Brackets: "
    "the 95 % confidence interval, without correction; p: with it. The rules in full: analysis/claim/rules.py."
)
_STYLES = {SUPPORTED: GOOD, CONTRADICTED: BAD, NOT_RUN: QUIET, NOT_COMPARABLE: QUIET}


@dataclass(frozen=True)
class Judged:
    """A claim with both answers. word: of the ledger's. finding: None where nothing of it was run.

    unlike: why the finding cannot be compared with the paper, and what it is. why: what the word does not say.
    command: runs what is missing of the paper's; empty where nothing is.
    """

    claim: Claim
    printed: InThePaper
    word: str
    finding: Finding | None
    why: str = ""
    command: str = ""
    unlike: str = ""

    @property
    def unit(self) -> str:
        return "% of cost" if isinstance(self.claim.kind, Above) and self.claim.kind.base else "points"

    @property
    def answer(self) -> str:
        """What the ledger gives: the word, the difference, and what must be said with it."""
        words = [word for word in (self.unlike, self.measured, self.why) if word]
        return f"{self.word}: {'; '.join(words)}" if words else self.word

    @property
    def measured(self) -> str:
        """The ledger's difference in words: `+0.85 points [+0.70, +1.00] on average over 11 comparisons, 3 seeds`."""
        if self.finding is None:
            return ""
        found = self.finding.estimate
        interval = found.interval()
        words = f"{found.mean:+z.2f} {self.unit}"
        words += f" [{interval[0]:+z.2f}, {interval[1]:+z.2f}]" if interval else ""
        seeds = sorted({one.unit.n for one in self.finding.measured})
        counted = f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"{seeds[0]}"
        words += f" {self.finding.of}, {counted} seed{'' if seeds[-1] == 1 else 's'}"
        return f"{words}, p = {self.finding.p:.2g}" if self.finding.p is not None else words


def judged_claims(snapshot: Snapshot, claims: Sequence[Claim] = CLAIMS, *, sweep: int | None = None) -> list[Judged]:
    """Every claim, by the settings of its table's latest sweep, or of the `sweep`-th (from 1)."""
    sweeps = snapshot.sweeps
    if sweep is not None:
        if not 1 <= sweep <= len(sweeps):
            raise UserError(f"there is no sweep {sweep}: the ledger has 1 to {len(sweeps)}")
        sweeps = sweeps[sweep - 1 : sweep]
    latest = {name: asked for asked in sweeps for name in asked.tables}
    used = dict.fromkeys(name for claim in claims for name in claim.tables)
    grids = {name: _grid(name, claims, latest, sweeps, snapshot) for name in used}
    judged = []
    for claim in claims:
        first = paper.find(claim.tables[0])
        asked = latest.get(first.key, sweeps[-1] if sweeps else None)
        options = sweep_options(first, asked) if asked else ()
        command = full_command(claim.tables, ("--rows", *claim.rows, *options), str(snapshot.results))
        printed = in_the_paper(claim, paper.tables())
        found = [grids[name] for name in claim.tables]
        if refused := [one for one in found if isinstance(one, str)]:
            judged.append(Judged(claim, printed, NOT_RUN, None, refused[0], command))
        else:
            units, lacking = in_the_ledger(claim, [one for one in found if not isinstance(one, str)])
            judged.append(_judge(claim, printed, units, lacking, command))
    return judged


def _grid(
    name: str, claims: Sequence[Claim], latest: Mapping[str, Sweep], sweeps: Sequence[Sweep], snapshot: Snapshot
) -> tuple[Grid, Mapping[CellKey, str]] | str:
    """A table's numbers of all rows that the claims need, with what is unlike the paper; or why it cannot be made."""
    table = paper.find(name)
    rows = tuple(dict.fromkeys(row for claim in claims if name in claim.tables for row in claim.rows))
    asked = latest[name].settings if name in latest else _find_settings(table, sweeps)
    try:
        grid = make_grid(resolve(table, widened(asked, table, rows)), snapshot.runs, snapshot.metric)
        return grid, {} if table.kind.timed else unlike(grid)
    except UserError as error:
        return str(error)


def _find_settings(table: Table, sweeps: Sequence[Sweep]) -> Settings:
    """For a table that no sweep named: the latest settings on its data set, whose runs it may share; or the paper's."""
    settings = [sweep.settings.on(table.dataset) for sweep in reversed(sweeps)]
    return next((one for one in settings if one.dataset == table.dataset), Settings(dataset=table.dataset))


def _judge(claim: Claim, printed: InThePaper, units: Sequence[Unit], lacking: int, command: str) -> Judged:
    if not units:
        return Judged(claim, printed, NOT_RUN, None, "", command)
    finding = decide(claim.kind, units, lacking)
    strange = next((unit.unlike for unit in units if unit.unlike), "")
    if strange:
        other = f"{strange}. There the claim is {finding.word}"
        return Judged(claim, printed, NOT_COMPARABLE, finding, finding.why, command, other)
    return Judged(claim, printed, finding.word, finding, finding.why, command if lacking else "")


def claims_section(snapshot: Snapshot) -> Iterator[Block]:
    judged = judged_claims(snapshot)
    yield Heading("The paper's claims")
    yield paragraph(RULE)
    columns = [
        Column("Claim", 0.25),
        Column("Where", 0.1),
        Column("The paper's tables", 0.26),
        Column("Ledger", 0.34),
    ]
    yield listing(columns, [_line(one) for one in judged])
    readings = dict.fromkeys(f"{one.claim.says}: {one.claim.reading}" for one in judged if one.claim.reading)
    yield paragraph(" ".join(readings))
    commands = [one.command for one in judged if one.command]
    if commands:
        yield paragraph(
            f"{len(commands)} of {len(judged)} claims lack runs by the paper's data and schedule. Their commands: ",
            Styled(f"{command_name('claims')} --results {snapshot.results}", CODE),
        )


def _line(one: Judged) -> list[Words]:
    printed = one.printed.answer
    return [
        one.claim.says,
        one.claim.where,
        Styled(printed, BAD) if one.printed.word == FAILS else printed,
        Styled(one.answer, _STYLES[one.word]) if one.word in _STYLES else one.answer,
    ]

"""The beginning of a report: what ran, when and on what, and how all of it compares with the paper."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby

from analysis.record.ledger import Sweep
from analysis.reporting.document import CODE, COPIED, Block, Column, Heading, Styled, Words, listing, paragraph
from analysis.reporting.provenance import UNKNOWN, hours, minute, origins, sum_up
from analysis.reporting.snapshot import Chapter, Snapshot
from analysis.table.stats import ALPHA
from analysis.table.verdicts import PAPER_RUNS, SEED_STD, WORDS, Tally, tally
from trainables.commands import as_called, command_name, count

_EPOCHS = {"best": "best", "last": "last", "unknown": "not known"}
_COUNTED = {"device": "Devices", "commit": "Commits", "torch": "PyTorch"}


def summary_section(snapshot: Snapshot) -> Iterator[Block]:
    yield Heading("What ran")
    yield from what_ran(snapshot)
    yield from _outcome([chapter for chapter in snapshot.chapters if chapter.judged])


def last_run(snapshot: Snapshot) -> str:
    """When the last run ended, as it was recorded; empty where there was none."""
    return minute(max((str(run.provenance.get("ended") or "") for run in snapshot.runs.values()), default=""))


def what_ran(snapshot: Snapshot) -> Iterator[Block]:
    """The ledger in numbers, and the sweeps."""
    yield listing([Column("Ledger", 0.16), Column("", 0.8)], _totals(snapshot))
    if not snapshot.sweeps:
        yield paragraph(
            "No sweep of this ledger has asked for a table; these can be: ",
            Styled(f"{command_name('run')} --list", CODE),
        )
        return
    heads = ("Sweep", "First asked (UTC)", "Last asked", "Times")
    yield listing([*map(Column, heads), Column("Command", 0.46)], list(_sweeps(snapshot.sweeps)))


def _sweeps(sweeps: Sequence[Sweep]) -> Iterator[list[Words]]:
    """A line for each sweep; the same command given again goes on with it and is counted."""
    numbered = list(enumerate(sweeps, 1))
    for _, group in groupby(numbered, lambda one: (one[1].tables, one[1].settings, one[1].command)):
        (number, first), *again = group
        last = minute(again[-1][1].asked) if again else ""
        yield [str(number), minute(first.asked), last, str(1 + len(again)), Styled(as_called(first.command), CODE)]


def _totals(snapshot: Snapshot) -> list[list[Words]]:
    runs = origins(snapshot.runs.values())
    done = int(runs.done.sum())
    began = minute(min(filter(None, runs.started), default=""))
    lines: list[list[Words]] = [
        ["Runs", f"{done} done, {len(runs) - done} failed"],
        ["Device-hours", f"{hours(runs.seconds.sum())} of training; runs that trained together share their time"],
        ["Trained", f"{began} to {last_run(snapshot)} UTC" if began else UNKNOWN],
    ]
    if old := Counter(entry.spec.treatment for entry in snapshot.runs.values() if entry.spec.outdated):
        words = ", ".join(f"{times} {treatment}" for treatment, times in sorted(old.items()))
        lines.append(
            ["Earlier version", f"{words}: kept but shown in no table: the same settings now mean something else"]
        )
    for name, head in _COUNTED.items():
        for place, one in sum_up(runs, name).iterrows():
            words = f"{one[name]}: {count(one.runs, 'run')}, {hours(one.seconds)} h"
            lines.append([head if place == 0 else "", words])
    return lines


def _outcome(judged: Sequence[Chapter]) -> Iterator[Block]:
    """The verdicts, counted."""
    if not judged:
        return
    yield Heading("Measured against the paper")
    lines = []
    for chapter in judged:
        words = Counter(verdict.word for _, verdict in chapter.judged)
        lines.append([chapter.title, str(len(chapter.judged)), *(str(words[word] or "-") for word in WORDS)])
    heads = [Column(word.capitalize(), right=True) for word in ("cells", *WORDS)]
    yield listing([Column("Table", 0.26), *heads], lines)
    yield paragraph(_multiple(tally(pair for chapter in judged for pair in chapter.judged)))
    if any(value.paper_epoch for chapter in judged for value, _ in chapter.judged):
        yield paragraph(_kinds(judged))
    yield paragraph(
        "The test: t = (measured - paper) / (s sqrt(1/n + 1/k)) with the standard deviation s of the n seeds measured; "
        f"the paper's number is a mean of k runs, taken to have the same spread ({PAPER_RUNS} where no source says how "
        f"many; a teacher is one network); n - 1 degrees of freedom, two-sided, at {ALPHA:.0%}. Both are of the same "
        "test epoch: the paper's own numbers are of the best one, many that it copied are of the last "
        f"({COPIED} marks those from earlier papers), and the best is never below the last. Noise: the least "
        "difference that this test calls one. A cell within it agrees with the paper as far as so few seeds can tell, "
        f"no further. One seed is not tested: its noise is the band of a standard deviation of {SEED_STD} points "
        "between seeds. The rows * and ** are made of others and are not tested again."
    )


def _kinds(judged: Sequence[Chapter]) -> str:
    """Of which test epoch and of how many runs the paper's numbers are that stand beside the cells."""
    values = [value for chapter in judged for value, _ in chapter.judged if value.paper_epoch]
    epochs = Counter(value.paper_epoch for value in values)
    runs_of = Counter(value.paper_runs for value in values)
    by_epoch = [f"{epochs[epoch]} {word}" for epoch, word in _EPOCHS.items() if epochs[epoch]]
    by_runs = [f"{runs_of[number]} of {count(number, 'run')}" for number in sorted(filter(None, runs_of))]
    by_runs += [f"{runs_of[None]} not known"] if runs_of[None] else []
    return (
        f"The paper's numbers beside these cells, by test epoch: {', '.join(by_epoch)}; "
        f"by the number of runs that they are means of: {', '.join(by_runs)}."
    )


def _multiple(counted: Tally) -> str:
    if not counted.tested:
        return "No cell could be tested: that takes two seeds or more, on the paper's data and schedule."
    return (
        f"{count(counted.tested, 'cell')} tested, each once however many tables show it: {counted.different} differ "
        f"from the paper. Were all alike, about {counted.by_chance:.1f} would differ by chance, and one or more with a "
        f"probability of {counted.any_by_chance:.0%} (if cells were independent; those of one teacher are not)."
    )

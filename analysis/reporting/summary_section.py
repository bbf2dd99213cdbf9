"""How a report opens: what ran when and on what, and what all of it comes to beside the paper."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from analysis.reporting import provenance
from analysis.reporting.contents import Chapter, Knowledge, cells, runs
from analysis.reporting.document import CODE, COPIED, Block, Column, Heading, Styled, Words, listing, paragraph
from analysis.table.stats import ALPHA
from analysis.table.verdicts import PAPER_RUNS, SEED_STD, WORDS, Tally, tally

_EPOCHS = {"best": "best", "last": "last", "unknown": "not known"}
_COUNTED = (("Devices", "device"), ("Commits", "commit"), ("PyTorch", "torch"))


def opening(known: Knowledge, made: Sequence[Chapter]) -> Iterator[Block]:
    yield from _what_ran(known)
    yield from _outcome([chapter for chapter in made if chapter.judged])


def last_run(known: Knowledge) -> str:
    """When the last run ended, as it was recorded; nothing where none was."""
    return provenance.minute(max((share.ended for share in provenance.sources(known.runs.values())), default=""))


def _what_ran(known: Knowledge) -> Iterator[Block]:
    yield Heading("What ran")
    yield listing([Column("Ledger", 0.16), Column("", 0.8)], _totals(known))
    if not known.sweeps:
        yield paragraph("No sweep of this ledger has asked for a table; these can be: ", _code("--list"))
        return
    heads = ("Sweep", "First asked (UTC)", "Last asked", "Times")
    lines: list[list[Words]] = [
        [
            str(asked.number),
            provenance.minute(asked.sweep.asked),
            provenance.minute(asked.last) if asked.times > 1 else "",
            str(asked.times),
            Styled(asked.sweep.command, CODE),
        ]
        for asked in provenance.asked(known.sweeps)
    ]
    yield listing([*map(Column, heads), Column("Command", 0.46)], lines)


def _code(arguments: str) -> Styled:
    return Styled(f"python sweeps/run.py {arguments}", CODE)


def _totals(known: Knowledge) -> list[list[Words]]:
    shares = provenance.sources(known.runs.values())
    done, failed = sum(share.done for share in shares), sum(share.failed for share in shares)
    hours = provenance.hours(sum(share.seconds for share in shares))
    began = provenance.minute(min((share.began for share in shares if share.began), default=""))
    lines: list[list[Words]] = [
        ["Runs", f"{done} done, {failed} failed"],
        ["Device-hours", f"{hours} of training; runs that trained together share their time"],
        ["Trained", f"{began} to {last_run(known)} UTC" if began else provenance.UNKNOWN],
    ]
    if old := Counter(entry.spec.treatment for entry in known.runs.values() if entry.spec.outdated):
        words = ", ".join(f"{count} {treatment}" for treatment, count in sorted(old.items()))
        lines.append(
            ["Earlier version", f"{words}: kept but shown in no table: the same settings now mean something else"]
        )
    for head, name in _COUNTED:
        for word, (count, seconds) in provenance.counted(shares, name).items():
            lines.append([head, f"{word}: {runs(count)}, {provenance.hours(seconds)} h"])
            head = ""
    return lines


def _outcome(judged: Sequence[Chapter]) -> Iterator[Block]:
    """The verdicts, counted."""
    if not judged:
        return
    yield Heading("Measured against the paper")
    lines = []
    for chapter in judged:
        counts = Counter(verdict.word for _, verdict in chapter.judged)
        lines.append([chapter.table.title, str(len(chapter.judged)), *(str(counts[word] or "-") for word in WORDS)])
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
    by_runs = [f"{runs_of[number]} of {runs(number)}" for number in sorted(filter(None, runs_of))]
    by_runs += [f"{runs_of[None]} not known"] if runs_of[None] else []
    return (
        f"The paper's numbers beside these cells, by test epoch: {', '.join(by_epoch)}; "
        f"by the number of runs that they are means of: {', '.join(by_runs)}."
    )


def _multiple(counted: Tally) -> str:
    if not counted.tested:
        return "No cell could be tested: that takes two seeds or more, on the paper's data and schedule."
    return (
        f"{cells(counted.tested)} tested, each once however many tables show it: {counted.different} differ from the "
        f"paper. Were all alike, about {counted.by_chance:.1f} would differ by chance, and one or more with a "
        f"probability of {counted.any_by_chance:.0%} (if cells were independent; those of one teacher are not)."
    )

"""What ran, where, and of which code: sums over the ledger's runs, and the sweeps that asked for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from analysis.record.entry import Entry
from analysis.record.ledger import Sweep

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Origin:
    """Where a run's number comes from. commit: its first digits, with a word where the code had been changed."""

    device: str
    commit: str
    torch: str


@dataclass(frozen=True)
class Contribution:
    """What one source contributed. began, ended: of the first and the last run, as they were recorded."""

    source: Origin
    done: int
    failed: int
    seconds: float
    began: str
    ended: str


@dataclass(frozen=True)
class Asked:
    """A sweep that was asked for, `times` in a row: the same command again goes on where the last one stopped."""

    sweep: Sweep
    number: int
    times: int
    last: str


def source_of(entry: Entry) -> Origin:
    found = entry.provenance
    commit = str(found.get("commit") or UNKNOWN)[:12]
    changed = " + local changes" if found.get("dirty") else ""
    return Origin(str(found.get("device") or UNKNOWN), commit + changed, str(found.get("torch") or UNKNOWN))


def sources(entries: Iterable[Entry]) -> list[Contribution]:
    """The runs by their source, in the order of first appearance."""
    found: dict[Origin, list[Entry]] = {}
    for entry in entries:
        found.setdefault(source_of(entry), []).append(entry)
    return [_share(source, runs) for source, runs in found.items()]


def _share(source: Origin, runs: Sequence[Entry]) -> Contribution:
    done = sum(run.done for run in runs)
    return Contribution(
        source,
        done,
        len(runs) - done,
        seconds=sum(run.seconds or 0.0 for run in runs),
        began=min((_when(run, "started") for run in runs if _when(run, "started")), default=""),
        ended=max((_when(run, "ended") for run in runs), default=""),
    )


def _when(entry: Entry, name: str) -> str:
    return str(entry.provenance.get(name) or "")


def counted(shares: Iterable[Contribution], name: str) -> dict[str, tuple[int, float]]:
    """Each device, commit or torch version with its runs and its seconds."""
    found: dict[str, tuple[int, float]] = {}
    for share in shares:
        word = getattr(share.source, name)
        runs, seconds = found.get(word, (0, 0.0))
        found[word] = runs + share.done + share.failed, seconds + share.seconds
    return found


def asked(sweeps: Sequence[Sweep]) -> list[Asked]:
    """The sweeps, repetitions of one another as one."""
    found: list[Asked] = []
    for number, sweep in enumerate(sweeps, 1):
        last = found[-1] if found else None
        if last and _what(last.sweep) == _what(sweep):
            found[-1] = Asked(last.sweep, last.number, last.times + 1, sweep.asked)
        else:
            found.append(Asked(sweep, number, 1, sweep.asked))
    return found


def _what(sweep: Sweep) -> tuple[object, ...]:
    return sweep.tables, sweep.settings, sweep.command


def minute(time: str) -> str:
    """`2026-11-23 08:02` of an ISO time."""
    return time[:16].replace("T", " ")


def hours(seconds: float) -> str:
    """Device-hours with as many digits as matter."""
    number = seconds / 3600
    return f"{number:,.0f}" if number >= 100 else f"{number:.1f}" if number >= 10 else f"{number:.2f}"

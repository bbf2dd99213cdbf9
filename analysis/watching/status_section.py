"""What happens in the folder now: the sweep, its jobs, its queue and its troubles, and what it has cost so far."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from statistics import fmean

from analysis.record.entry import Entry
from analysis.reporting.document import (
    BAD,
    CODE,
    QUIET,
    Block,
    Column,
    Group,
    Listing,
    Styled,
    Words,
    listing,
    paragraph,
)
from analysis.reporting.provenance import hours, minute
from analysis.reporting.snapshot import Chapter
from analysis.watching.follower import Seen
from analysis.watching.page import Section, href, link, section
from analysis.watching.status import JobUnderWay, RunUnderWay, Status
from trainables.commands import as_called, count, duration
from trainables.spec import RunSpec


def status_sections(view: Seen) -> Iterator[Section]:
    status = view.status
    if status is not None:
        yield section("now", "Now", _describe_sweep(status))
        if status.is_alive:
            yield section("queue", "Queue", _list_queue(status), folded=True, aside=count(status.queued, "job"))
    yield section("cost", "Cost", _compare_costs(view), folded=True)


def _describe_sweep(status: Status) -> Iterator[Block]:
    how_far = f"{status.done} of {count(status.asked, 'run')} done"
    failed = f", {status.failed} failed" if status.failed else ""
    left = f", about {duration(status.left)} left" if status.left and status.is_alive else ""
    words = f" {how_far}{failed}{left}. "
    if status.ended:
        state: Words = f"The last sweep ended at {minute(status.ended)} UTC:"
    elif status.is_alive:
        state = Styled(f"Running since {minute(status.began)} UTC on {status.host}:", "good")
    else:
        state = Styled(f"Its process has gone without a word; it last wrote at {minute(status.written)} UTC:", BAD)
    yield paragraph(state, words, Styled(as_called(status.command), CODE))
    if status.is_alive and status.jobs:
        heads = ("Epoch", "Top-1 so far", "Seconds an epoch", "Left")
        columns = (Column("Run", 0.4), *(Column(head, right=True) for head in heads))
        yield Listing(columns, tuple(map(_list_runs, status.jobs)))
    if status.troubles:
        yield listing([Column("Notes and failures", 0.9)], [[trouble] for trouble in reversed(status.troubles)])


def _list_runs(job: JobUnderWay) -> Group:
    pace = "" if job.pace is None else f"{job.pace:.3g}"
    left = "" if job.left is None else duration(job.left)
    title = f"{job.where}: {job.key}" if job.where else f"starting: {job.key}"
    return Group(title, tuple((*_describe_run(run, job), pace, left) for run in job.runs))


def _describe_run(run: RunUnderWay, job: JobUnderWay) -> tuple[Words, Words, Words]:
    top1 = run.curve[-1][2] if run.curve else None
    begun = f"from {job.resumed}" if job.resumed and not run.epoch else str(run.epoch)
    number = "" if top1 is None else f"{top1:.2f}"
    return link(run.name, href("run", id=run.id), CODE), f"{begun} of {run.epochs}", number


def _list_queue(status: Status) -> Iterator[Block]:
    if not status.queue:
        return
    yield listing(
        [Column("Job"), Column("Runs", right=True)], [(Styled(job.key, CODE), str(job.runs)) for job in status.queue]
    )
    if status.queued > len(status.queue):
        yield paragraph(f"And {status.queued - len(status.queue)} more.")


def _compare_costs(view: Seen) -> Iterator[Block]:
    """Of each table the device-hours that its runs have taken, and those that all of them will take at their pace."""
    runs = view.snapshot.runs
    pace = _find_paces(runs)
    chapters = [chapter for chapter in view.snapshot.chapters if chapter.grid and chapter.table.kind.trains]
    asked = {chapter.table.key: runs_of(chapter) for chapter in chapters}
    everything = {run_id: spec for specs in asked.values() for run_id, spec in specs.items()}
    if not pace or not everything:
        return
    lines: list[tuple[Words, ...]] = [
        (link(chapter.title, href("table", name=chapter.table.key)), *_sum_up(asked[chapter.table.key], view, pace))
        for chapter in chapters
    ]
    if len(lines) > 1:
        lines.append(("All of them, each run once", *_sum_up(everything, view, pace)))
    heads = ("Used", "Planned", "Share")
    yield listing([Column("Device-hours", 0.5), *(Column(head, right=True) for head in heads)], lines)
    yield paragraph(
        Styled(
            "Planned: what is used, and for runs to come the seconds an epoch of those with the same networks. "
            "Runs that trained together share their time.",
            QUIET,
        )
    )


def runs_of(chapter: Chapter) -> dict[str, RunSpec]:
    """All runs of a table, by their ids."""
    assert chapter.grid is not None
    resolved = chapter.grid.resolved
    groups = (*resolved.cells.values(), *resolved.untaught.values(), resolved.teachers)
    return {spec.run_id: spec for specs in groups for spec in specs}


Networks = tuple[str, str | None, str]
Paces = Mapping[Networks | None, float]
"""Seconds an epoch by data set, teacher and student; of all runs under None."""


def _networks(spec: RunSpec) -> Networks:
    return spec.dataset, spec.teacher, spec.student


def _find_paces(runs: Mapping[str, Entry]) -> Paces:
    found: dict[Networks | None, list[float]] = defaultdict(list)
    for entry in runs.values():
        if entry.seconds and entry.epochs:
            for key in (_networks(entry.spec), None):
                found[key].append(entry.seconds / entry.epochs)
    return {key: fmean(paces) for key, paces in found.items()}


def _sum_up(specs: Mapping[str, RunSpec], view: Seen, pace: Paces) -> tuple[str, str, str]:
    used = to_come = 0.0
    for run_id, spec in specs.items():
        entry, own = view.snapshot.runs.get(run_id), pace.get(_networks(spec), pace[None])
        if entry is not None:
            used += entry.seconds or 0.0
        else:
            epoch = view.running[run_id].epoch if run_id in view.running else 0
            used += epoch * own
            to_come += (spec.epochs - epoch) * own
    planned = used + to_come
    return hours(used), hours(planned), f"{used / planned:.0%}" if planned else ""

"""The plan of a sweep: the jobs that are still needed for the tables asked for, minus what the ledger has."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from enum import StrEnum

from analysis.record.entry import Entry
from analysis.table.kinds import PictureTable
from analysis.table.resolved import ResolvedTable
from trainables.errors import UserError
from trainables.network_names import file_name
from trainables.spec import RunSpec
from trainables.storage.runs import stream_key

MOST_STUDENTS = 16
NAMED_STUDENTS = 3


class JobKind(StrEnum):
    """What the runs of a job are: TEACHER one teacher or assistant; VANILLA students without a teacher; TIMING students
    that are timed; TRIALS of a search."""

    TEACHER = "teacher"
    DISTILLED = "distilled"
    VANILLA = "vanilla"
    TIMING = "timing"
    TRIALS = "trials"


@dataclass(frozen=True)
class PlannedJob:
    """Runs to train together. The same specs have the same key.

    needs: the teacher runs that must be trained before.
    """

    key: str
    kind: JobKind
    specs: tuple[RunSpec, ...]
    needs: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Plan:
    """What was asked for, what of it is known, and the jobs for the rest, teachers first.

    runs: by kind and id, done or not, each once; an assistant that is also a cell's run is among those of the cells.
    done: those with a result.
    failed: those that are recorded as failed and are not to be tried again, with the reason.
    outdated: runs to be trained of which the ledger has a result of an earlier revision.
    other_code: those with a result whose record names other sources of the program than those of now.
    """

    runs: Mapping[JobKind, Mapping[str, RunSpec]]
    jobs: tuple[PlannedJob, ...] = ()
    done: frozenset[str] = frozenset()
    failed: Mapping[str, str] = field(default_factory=dict)
    outdated: frozenset[str] = frozenset()
    other_code: frozenset[str] = frozenset()

    @property
    def all_runs(self) -> dict[str, RunSpec]:
        return {run_id: spec for runs in self.runs.values() for run_id, spec in runs.items()}


@dataclass(frozen=True)
class _Run:
    """What is known of a run of the tables.

    failed: the reason, of a run that is not to be tried again.
    weights: whether its weights are there, if a student or a picture could need them.
    """

    spec: RunSpec
    done: bool
    failed: str | None
    weights: bool

    @property
    def missing(self) -> bool:
        return not self.done and self.failed is None

    @property
    def lost(self) -> bool:
        """Whether it was trained, but its weights are gone."""
        return self.done and not self.weights


def make_plan(
    tables: Sequence[ResolvedTable],
    entries: Mapping[str, Entry],
    *,
    pack: int | None,
    retry: bool = False,
    has_weights: Callable[[str], bool] = lambda run_id: True,
    apart: Callable[[RunSpec], bool] = lambda spec: False,
    sources: str = "",
) -> Plan:
    """The jobs that complete the tables.

    pack: the most students of a job (None: all that share a stream, at most 16).
    retry: try runs again that are recorded as failed.
    has_weights: whether the weights of a run that is done are still there. A teacher without them is trained again as
        soon as a student needs it, any run as soon as a picture does.
    apart: runs that are not trained together with the others, because they take another number of devices.
    sources: the hash of the program's (`hash_program`); empty where runs are not to be compared with it.
    """
    if pack is not None and pack < 1:
        raise UserError(f"--pack {pack} must be at least 1")
    asked = [table for table in tables if table.table.kind.trains]
    distilled = _by_id(spec for table in asked for specs in table.cells.values() for spec in specs)
    teachers = _by_id(spec for table in asked for spec in table.teachers)
    vanilla = _by_id(spec for table in asked for specs in table.untaught.values() for spec in specs)
    drawn = {spec.run_id for table in asked if table.table.kind.needs_weights for spec in _list_drawn(table)}

    runs: dict[str, _Run] = {}
    for run_id, spec in (distilled | teachers | vanilla).items():
        entry = entries.get(run_id)
        weights = not (run_id in teachers or run_id in drawn) or has_weights(run_id)
        done = entry is not None and entry.done and (weights or run_id not in drawn)
        failed = None if entry is None or entry.done or retry else entry.reason or "no reason recorded"
        runs[run_id] = _Run(spec, done, failed, weights)

    taught = _find_teachers([runs[run_id] for run_id in distilled], {run_id: runs[run_id] for run_id in teachers})
    printed = {spec.run_id for table in asked for spec in _list_printed_teachers(table)}
    shown = taught | printed | drawn | vanilla.keys()
    teachers = {run_id: spec for run_id, spec in teachers.items() if run_id in shown or runs[run_id].done}
    vanilla = _leave_out(vanilla, teachers)

    to_teach = {
        run_id: spec
        for run_id, spec in teachers.items()
        if runs[run_id].missing or (run_id in taught and runs[run_id].lost)
    }
    awaited = to_teach.keys() | {run_id for run_id in teachers if runs[run_id].failed is not None}
    students = [spec for run_id, spec in distilled.items() if runs[run_id].missing and run_id not in to_teach]
    alone = [spec for run_id, spec in vanilla.items() if runs[run_id].missing]
    together = [spec for spec in students if not spec.timing]
    waiting = Counter(spec.teacher_run for spec in (*students, *to_teach.values()))
    first = sorted(to_teach.values(), key=lambda spec: -waiting[spec.run_id])
    jobs = (
        *(job_of(JobKind.TEACHER, [spec], _find_awaited([spec], awaited)) for spec in first),
        *packed(JobKind.DISTILLED, [spec for spec in together if not apart(spec)], pack, awaited),
        *packed(JobKind.DISTILLED, [spec for spec in together if apart(spec)], pack, awaited),
        *packed(JobKind.VANILLA, alone, pack),
        *packed(JobKind.TIMING, [spec for spec in students if spec.timing], pack, awaited),
    )
    old = {run_id for run_id, entry in entries.items() if entry.spec.outdated}
    wanted = {run_id: runs[run_id] for run_id in (distilled | vanilla | teachers)}
    return Plan(
        runs={
            JobKind.DISTILLED: distilled,
            JobKind.VANILLA: vanilla,
            JobKind.TEACHER: _leave_out(teachers, distilled),
        },
        jobs=jobs,
        done=frozenset(run_id for run_id, run in wanted.items() if run.done),
        failed={run_id: run.failed for run_id, run in wanted.items() if run.failed is not None},
        outdated=frozenset(
            spec.run_id for job in jobs for spec in job.specs if old and any(one.run_id in old for one in spec.earlier)
        ),
        other_code=frozenset(
            run_id
            for run_id, run in wanted.items()
            if sources and run.done and entries[run_id].provenance.get("sources") not in (None, "", sources)
        ),
    )


def _by_id(specs: Iterable[RunSpec]) -> dict[str, RunSpec]:
    return {spec.run_id: spec for spec in specs}


def _leave_out(runs: Mapping[str, RunSpec], others: Mapping[str, RunSpec]) -> dict[str, RunSpec]:
    return {run_id: spec for run_id, spec in runs.items() if run_id not in others}


def _list_printed_teachers(table: ResolvedTable) -> Iterator[RunSpec]:
    """The teachers whose accuracy the table shows, or whose answers."""
    parts = [part for part in table.parts if part.part.accuracies or not part.rows]
    shown = {pair.teacher for part in parts for pair in part.pairs}
    yield from (spec for spec in table.teachers if spec.student in shown)


def _list_drawn(table: ResolvedTable) -> Iterator[RunSpec]:
    """The runs whose weights a picture shows: its students, and their teachers where it shows those too."""
    kind = table.table.kind
    if isinstance(kind, PictureTable) and kind.shows_teachers:
        yield from table.teachers
    yield from (spec for specs in table.cells.values() for spec in specs)


def _find_teachers(students: Iterable[_Run], teachers: Mapping[str, _Run]) -> set[str]:
    """The runs whose weights teach: those of missing students, and those of assistants that must be trained too."""
    found: set[str] = set()
    waiting = [run.spec.teacher_run for run in students if run.missing]
    while waiting:
        run_id = waiting.pop()
        if run_id is None or run_id in found:
            continue
        found.add(run_id)
        teacher = teachers.get(run_id)
        if teacher is not None and (teacher.missing or teacher.lost):
            waiting.append(teacher.spec.teacher_run)
    return found


def _find_awaited(specs: Iterable[RunSpec], awaited: Set[str]) -> frozenset[str]:
    return frozenset({spec.teacher_run for spec in specs if spec.teacher_run} & awaited)


def packed(
    kind: JobKind, specs: Iterable[RunSpec], pack: int | None, awaited: Set[str] = frozenset()
) -> Iterator[PlannedJob]:
    """Jobs of runs that share a stream: as few as `pack` allows, of nearly equal size.

    awaited: the teachers that are still to be trained.
    """
    streams: dict[tuple[object, ...], list[RunSpec]] = {}
    for spec in specs:
        streams.setdefault(stream_key(spec), []).append(spec)
    for runs in streams.values():
        count = -(-len(runs) // (pack or MOST_STUDENTS))
        for index in range(count):
            some = runs[len(runs) * index // count : len(runs) * (index + 1) // count]
            yield job_of(kind, some, _find_awaited(some, awaited))


def job_of(kind: JobKind, specs: Sequence[RunSpec], needs: frozenset[str] = frozenset()) -> PlannedJob:
    first = specs[0]
    students = list(dict.fromkeys(spec.student for spec in specs))
    shown = "+".join(students) if len(students) <= NAMED_STUDENTS else f"{len(students)}-networks"
    pair = file_name(f"{first.teacher}-{shown}" if first.teacher else shown)
    what = first.treatment if kind is JobKind.DISTILLED and len(specs) == 1 else kind
    size = f"-x{len(specs)}" if len(specs) > 1 else ""
    digest = hashlib.sha256(" ".join(sorted(spec.run_id for spec in specs)).encode()).hexdigest()[:6]
    return PlannedJob(f"{first.dataset}-{pair}-{what}-s{first.seed}{size}-{digest}", kind, tuple(specs), needs)

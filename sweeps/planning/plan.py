"""The plan of a sweep: the jobs that are still needed for the tables asked for, minus what the ledger has."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from analysis.record.entry import Entry
from analysis.record.settings import Settings
from analysis.table.layout import (
    PICTURES,
    Table,
    cells,
    chosen_pairs,
    run_ids,
    settings_for,
    taught_parts,
    teacher_runs,
    vanilla_runs,
)
from trainables.errors import UserError
from trainables.spec import RunSpec
from trainables.storage.runs import stream_key

MOST_STUDENTS = 16
NAMED_STUDENTS = 3


@dataclass(frozen=True)
class PlannedJob:
    """Runs to train together. The same specs have the same key.

    kind: teacher, vanilla, distilled or timing. needs: the teacher runs that must be trained before.
    """

    key: str
    kind: str
    specs: tuple[RunSpec, ...]
    needs: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Plan:
    """What was asked for, what of it is known, and the jobs for the rest, teachers first.

    cells: distillation cells, each counted once however many tables show it. runs: by kind (distilled, vanilla,
    teacher, assistants among them unless they are a cell's) and id, done or not, each once. failed: recorded as
    failed, with the reason, and not to be tried again. outdated: runs to be trained of which the ledger has a result
    of an earlier revision. shared: students that the tables, each trained by itself, would
    train more than once.
    """

    cells: int
    runs: dict[str, dict[str, RunSpec]]
    done: frozenset[str]
    failed: dict[str, str]
    jobs: tuple[PlannedJob, ...]
    shared: int = 0
    outdated: frozenset[str] = frozenset()

    @property
    def all_runs(self) -> dict[str, RunSpec]:
        return {run_id: spec for runs in self.runs.values() for run_id, spec in runs.items()}


def asked_runs(tables: Sequence[Table], settings: Settings) -> list[str]:
    """The ids of all runs that the tables could need, and what those were in earlier revisions: the rows of the ledger
    that a plan looks at."""
    return list(dict.fromkeys(run_id for table in tables for run_id in run_ids(table, settings, earlier=True)))


def make_plan(
    tables: Sequence[Table],
    settings: Settings,
    entries: Mapping[str, Entry],
    *,
    pack: int | None,
    retry: bool = False,
    has_weights: Callable[[str], bool] = lambda run_id: True,
    apart: Callable[[RunSpec], bool] = lambda spec: False,
) -> Plan:
    """The jobs that complete the tables.

    pack: the most students of a job (None: all that share a stream, at most 16). retry: try runs again that are
    recorded as failed. has_weights: whether the weights of a run that is done are still there; a teacher without
    them is trained again as soon as a student needs it, any run as soon as a picture does. apart: runs that are not
    trained together with the others, because they take another number of devices.
    """
    if pack is not None and pack < 1:
        raise UserError(f"--pack {pack} must be at least 1")
    tables = [table for table in tables if table.trains]
    per_table = [cells(table, settings) for table in tables]
    distilled = _by_id(spec for found in per_table for cell in found for spec in cell.specs)
    teachers = _by_id(spec for table in tables for spec in teacher_runs(table, settings))
    vanilla = _by_id(spec for table in tables for spec in vanilla_runs(table, settings))
    known = {*distilled, *teachers, *vanilla}
    drawn = {spec.run_id for table in tables if table.plot in PICTURES for spec in _drawn(table, settings)}
    done = {
        run_id
        for run_id, entry in entries.items()
        if run_id in known and entry.status == "done" and (run_id not in drawn or has_weights(run_id))
    }
    failed = {
        run_id: entry.reason or "no reason recorded"
        for run_id, entry in entries.items()
        if run_id in known and entry.status != "done" and not retry
    }
    missing = {run_id: spec for run_id, spec in distilled.items() if run_id not in done and run_id not in failed}
    ended = {run_id for run_id in teachers if run_id in failed or (run_id in done and has_weights(run_id))}
    taught = _taught(missing.values(), teachers, ended)
    printed = {spec.run_id for table in tables for spec in _printed_teachers(table, settings)}
    shown = taught | printed | drawn | vanilla.keys() | done
    teachers = {run_id: spec for run_id, spec in teachers.items() if run_id in shown}
    vanilla = _without(vanilla, teachers)

    train = {
        run_id: spec
        for run_id, spec in teachers.items()
        if (run_id not in done or (run_id in taught and not has_weights(run_id))) and run_id not in failed
    }
    awaited = {*train, *(teachers.keys() & failed.keys())}
    alone = [spec for run_id, spec in vanilla.items() if run_id not in done and run_id not in failed]
    rest = [spec for run_id, spec in missing.items() if run_id not in train]
    first = [job_of("teacher", [spec], _awaited([spec], awaited)) for spec in train.values()]
    waiting = Counter(spec.teacher_run for spec in (*missing.values(), *train.values()))
    jobs = (
        *sorted(first, key=lambda job: -waiting[job.specs[0].run_id]),
        *packed("distilled", [spec for spec in rest if not spec.timing and not apart(spec)], pack, awaited),
        *packed("distilled", [spec for spec in rest if not spec.timing and apart(spec)], pack, awaited),
        *packed("vanilla", alone, pack, set()),
        *packed("timing", [spec for spec in rest if spec.timing], pack, awaited),
    )
    left = {spec.run_id: spec for job in jobs for spec in job.specs}
    wanted = {*distilled, *vanilla, *teachers}
    per_table_runs = [
        _by_id([*(spec for cell in found for spec in cell.specs), *vanilla_runs(table, settings)])
        for table, found in zip(tables, per_table, strict=True)
    ]
    return Plan(
        cells=len({tuple(spec.run_id for spec in cell.specs) for found in per_table for cell in found}),
        runs={"distilled": distilled, "vanilla": vanilla, "teacher": _without(teachers, distilled)},
        done=frozenset(done & wanted),
        failed={run_id: reason for run_id, reason in failed.items() if run_id in wanted},
        jobs=jobs,
        shared=sum(map(len, per_table_runs)) - len({run_id for runs in per_table_runs for run_id in runs}),
        outdated=frozenset(
            run_id for run_id, spec in left.items() if any(old.run_id in entries for old in spec.earlier)
        ),
    )


def _by_id(specs: Iterable[RunSpec]) -> dict[str, RunSpec]:
    return {spec.run_id: spec for spec in specs}


def _without(runs: Mapping[str, RunSpec], others: Mapping[str, RunSpec]) -> dict[str, RunSpec]:
    return {run_id: spec for run_id, spec in runs.items() if run_id not in others}


def _printed_teachers(table: Table, settings: Settings) -> Iterator[RunSpec]:
    """The teachers whose accuracy the table shows, or whose answers."""
    settings = settings_for(table, settings)
    parts = [part for part in taught_parts(table, settings) if part.accuracies or not part.rows]
    shown = {pair.teacher for part in parts for pair in chosen_pairs(part, settings)}
    yield from (spec for spec in teacher_runs(table, settings) if spec.student in shown)


def _drawn(table: Table, settings: Settings) -> Iterator[RunSpec]:
    """The runs whose weights a picture shows: its students, and their teachers where it shows those too."""
    if table.plot != "embedding":
        yield from teacher_runs(table, settings)
    yield from (spec for cell in cells(table, settings) for spec in cell.specs)


def _taught(students: Iterable[RunSpec], teachers: Mapping[str, RunSpec], ended: set[str]) -> set[str]:
    """The runs whose weights teach: those of the students, and those of assistants that must be trained themselves."""
    found: set[str] = set()
    waiting = [spec.teacher_run for spec in students]
    while waiting:
        run_id = waiting.pop()
        if run_id is None or run_id in found:
            continue
        found.add(run_id)
        if run_id in teachers and run_id not in ended:
            waiting.append(teachers[run_id].teacher_run)
    return found


def _awaited(specs: Iterable[RunSpec], awaited: set[str]) -> frozenset[str]:
    return frozenset({spec.teacher_run for spec in specs if spec.teacher_run} & awaited)


def packed(kind: str, specs: Sequence[RunSpec], pack: int | None, awaited: set[str]) -> Iterator[PlannedJob]:
    """Jobs of runs that share a stream: as few as `pack` allows, of nearly equal size."""
    streams: dict[tuple[object, ...], list[RunSpec]] = {}
    for spec in specs:
        streams.setdefault(stream_key(spec), []).append(spec)
    for runs in streams.values():
        count = -(-len(runs) // (pack or MOST_STUDENTS))
        for index in range(count):
            some = runs[len(runs) * index // count : len(runs) * (index + 1) // count]
            yield job_of(kind, some, _awaited(some, awaited))


def job_of(kind: str, specs: Sequence[RunSpec], needs: frozenset[str] = frozenset()) -> PlannedJob:
    first = specs[0]
    students = list(dict.fromkeys(spec.student for spec in specs))
    shown = "+".join(students) if len(students) <= NAMED_STUDENTS else f"{len(students)}-networks"
    pair = f"{first.teacher}-{shown}" if first.teacher else shown
    what = first.treatment if kind == "distilled" and len(specs) == 1 else kind
    size = f"-x{len(specs)}" if len(specs) > 1 else ""
    digest = hashlib.sha256(" ".join(sorted(spec.run_id for spec in specs)).encode()).hexdigest()[:6]
    return PlannedJob(f"{first.dataset}-{pair}-{what}-s{first.seed}{size}-{digest}", kind, tuple(specs), needs)

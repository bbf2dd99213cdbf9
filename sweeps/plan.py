"""The plan of a sweep: the jobs that are still needed for the tables asked for, minus what the ledger has."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from analysis.entry import Entry
from analysis.layout import Table, cells, chosen_pairs, chosen_parts, teacher_runs, vanilla_runs
from analysis.settings import Settings
from trainables.errors import UserError
from trainables.runs import stream_key
from trainables.spec import RunSpec

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
    teacher) and id, done or not. failed: recorded as failed, with the reason, and not to be tried again.
    """

    cells: int
    runs: dict[str, dict[str, RunSpec]]
    done: frozenset[str]
    failed: dict[str, str]
    jobs: tuple[PlannedJob, ...]

    @property
    def all_runs(self) -> dict[str, RunSpec]:
        return {run_id: spec for runs in self.runs.values() for run_id, spec in runs.items()}


def asked_runs(tables: Sequence[Table], settings: Settings) -> list[str]:
    """The ids of all runs that the tables could need: the rows of the ledger that a plan looks at."""
    specs = itertools.chain.from_iterable(
        [
            *(teacher_runs(table, settings) for table in tables),
            *(vanilla_runs(table, settings) for table in tables),
            *(cell.specs for table in tables for cell in cells(table, settings)),
        ]
    )
    return list(_by_id(specs))


def make_plan(
    tables: Sequence[Table],
    settings: Settings,
    entries: Mapping[str, Entry],
    *,
    pack: int | None,
    retry: bool = False,
    has_weights: Callable[[str], bool] = lambda run_id: True,
) -> Plan:
    """The jobs that complete the tables.

    pack: the most students of a job (None: all that share a stream, at most 16). retry: try runs again that are
    recorded as failed. has_weights: whether the weights of a run that is done are still there; a teacher without
    them is trained again as soon as a student needs it.
    """
    if pack is not None and pack < 1:
        raise UserError(f"--pack {pack} must be at least 1")
    per_table = [cells(table, settings) for table in tables]
    distilled = _by_id(spec for found in per_table for cell in found for spec in cell.specs)
    teachers = _by_id(spec for table in tables for spec in teacher_runs(table, settings))
    vanilla = _by_id(spec for table in tables for spec in vanilla_runs(table, settings))
    known = {*distilled, *teachers, *vanilla}
    done = {run_id for run_id, entry in entries.items() if run_id in known and entry.status == "done"}
    failed = {
        run_id: entry.reason or "no reason recorded"
        for run_id, entry in entries.items()
        if run_id in known and run_id not in done and not retry
    }
    missing = {run_id: spec for run_id, spec in distilled.items() if run_id not in done and run_id not in failed}
    taught = {spec.teacher_run for spec in missing.values()}
    printed = {spec.run_id for table in tables for spec in _printed_teachers(table, settings)}
    teachers = {run_id: spec for run_id, spec in teachers.items() if run_id in taught | printed | vanilla.keys() | done}
    vanilla = {run_id: spec for run_id, spec in vanilla.items() if run_id not in teachers}

    train = [
        spec
        for run_id, spec in teachers.items()
        if (run_id not in done or (run_id in taught and not has_weights(run_id))) and run_id not in failed
    ]
    awaited = {spec.run_id for spec in train} | (teachers.keys() & failed.keys())
    alone = [spec for run_id, spec in vanilla.items() if run_id not in done and run_id not in failed]
    jobs = (
        *sorted((_job("teacher", [spec]) for spec in train), key=lambda job: -_waiting(job, missing)),
        *_packed("distilled", [spec for spec in missing.values() if not spec.timing], pack, awaited),
        *_packed("vanilla", alone, pack, set()),
        *_packed("timing", [spec for spec in missing.values() if spec.timing], pack, awaited),
    )
    wanted = {*distilled, *vanilla, *teachers}
    return Plan(
        cells=len({tuple(spec.run_id for spec in cell.specs) for found in per_table for cell in found}),
        runs={"distilled": distilled, "vanilla": vanilla, "teacher": teachers},
        done=frozenset(done & wanted),
        failed={run_id: reason for run_id, reason in failed.items() if run_id in wanted},
        jobs=jobs,
    )


def _by_id(specs: Iterable[RunSpec]) -> dict[str, RunSpec]:
    return {spec.run_id: spec for spec in specs}


def _printed_teachers(table: Table, settings: Settings) -> Iterator[RunSpec]:
    """The teachers whose accuracy the table shows."""
    parts = [part for part in chosen_parts(table, settings) if part.accuracies]
    shown = {pair.teacher for part in parts for pair in chosen_pairs(part, settings)}
    yield from (spec for spec in teacher_runs(table, settings) if spec.student in shown)


def _waiting(teacher: PlannedJob, missing: Mapping[str, RunSpec]) -> int:
    """How many students wait for this teacher."""
    return sum(spec.teacher_run == teacher.specs[0].run_id for spec in missing.values())


def _packed(kind: str, specs: Sequence[RunSpec], pack: int | None, awaited: set[str]) -> Iterator[PlannedJob]:
    """Jobs of runs that share a stream: as few as `pack` allows, of nearly equal size."""
    streams: dict[tuple[object, ...], list[RunSpec]] = {}
    for spec in specs:
        streams.setdefault(stream_key(spec), []).append(spec)
    for runs in streams.values():
        count = -(-len(runs) // (pack or MOST_STUDENTS))
        for index in range(count):
            some = runs[len(runs) * index // count : len(runs) * (index + 1) // count]
            yield _job(kind, some, frozenset({spec.teacher_run for spec in some if spec.teacher_run} & awaited))


def _job(kind: str, specs: Sequence[RunSpec], needs: frozenset[str] = frozenset()) -> PlannedJob:
    first = specs[0]
    students = list(dict.fromkeys(spec.student for spec in specs))
    shown = "+".join(students) if len(students) <= NAMED_STUDENTS else f"{len(students)}-networks"
    pair = f"{first.teacher}-{shown}" if first.teacher else shown
    what = first.treatment if kind == "distilled" and len(specs) == 1 else kind
    size = f"-x{len(specs)}" if len(specs) > 1 else ""
    digest = hashlib.sha256(" ".join(sorted(spec.run_id for spec in specs)).encode()).hexdigest()[:6]
    return PlannedJob(f"{first.dataset}-{pair}-{what}-s{first.seed}{size}-{digest}", kind, tuple(specs), needs)

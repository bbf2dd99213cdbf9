"""Teacher caches as a plan sees them: which jobs share one, what they take, and whose teacher is spared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sweeps.planning.plan import PlannedJob
from trainables.data.facts import Facts
from trainables.spec import RunSpec
from trainables.storage.runs import stream_key, teacher_cache_bytes


@dataclass(frozen=True)
class TeacherCaches:
    """The caches of a plan. count, bytes: of those that fit; too_large: teacher and data set, and bytes, of the largest
    that does not; spared: by job, the epochs of which another job asks the teacher."""

    count: int
    bytes: int
    too_large: tuple[str, int] | None
    spared: dict[str, int]


def find_teacher_caches(
    jobs: Sequence[PlannedJob], facts_of: Callable[[RunSpec], Facts], most_bytes: float
) -> TeacherCaches:
    """Jobs with equal streams and teachers share a cache, unless one of their methods needs more than logits."""
    groups: dict[tuple[object, ...], list[PlannedJob]] = {}
    for job in jobs:
        if most_bytes and _cached(job):
            groups.setdefault(stream_key(job.specs[0]), []).append(job)
    count = total = 0
    too_large: tuple[str, int] | None = None
    spared: dict[str, int] = {}
    for group in groups.values():
        longest = max((spec for job in group for spec in job.specs), key=lambda spec: spec.epochs)
        about = facts_of(longest)
        size = teacher_cache_bytes(longest, about.train_size, about.num_classes)
        if size > most_bytes:
            if too_large is None or size > too_large[1]:
                too_large = f"{longest.teacher} on {longest.dataset}", size
            continue
        count, total = count + 1, total + size
        filled = 0
        for job in group:
            epochs = _epochs(job)
            spared[job.key] = min(filled, epochs)
            filled = max(filled, epochs)
    return TeacherCaches(count, total, too_large, spared)


def _cached(job: PlannedJob) -> bool:
    from trainables.methods import find

    first = job.specs[0]
    return first.teacher is not None and not first.timing and not any(find(s.method).FEATURES for s in job.specs)


def _epochs(job: PlannedJob) -> int:
    return max(spec.epochs for spec in job.specs)

"""The teacher caches of a plan: which jobs share one, how large they get, and which jobs find their logits there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sweeps.planning.images import count_images
from sweeps.planning.plan import PlannedJob
from trainables import datasets
from trainables.storage.runs import stream_key, teacher_cache_bytes


@dataclass(frozen=True)
class TeacherCaches:
    """The teacher caches of a plan.

    count: caches that fit.
    bytes: their size together.
    too_large: teacher and data set, and size, of the largest cache that does not fit.
    streamed: teacher and data set without a cache because its images are decoded while a job trains.
    spared: by job, the epochs whose logits another job has stored.
    """

    count: int = 0
    bytes: int = 0
    too_large: tuple[str, int] | None = None
    streamed: str | None = None
    spared: dict[str, int] = field(default_factory=dict)


def find_teacher_caches(jobs: Sequence[PlannedJob], data_dir: Path | None, most_bytes: float) -> TeacherCaches:
    """Jobs with equal streams and teachers share a cache, unless one of their methods needs more than logits."""
    groups: dict[tuple[object, ...], list[PlannedJob]] = {}
    for job in jobs:
        if most_bytes and _needs_logits_alone(job):
            groups.setdefault(stream_key(job.specs[0]), []).append(job)
    sizes: list[int] = []
    too_large: list[tuple[str, int]] = []
    streamed = None
    spared: dict[str, int] = {}
    for group in groups.values():
        longest = max((spec for job in group for spec in job.specs), key=lambda spec: spec.epochs)
        about = count_images(longest, data_dir)
        size = teacher_cache_bytes(longest, about.train_size, about.num_classes)
        what = f"{longest.teacher} on {longest.dataset}"
        if datasets.find(longest.dataset).streamed:
            streamed = what
        elif size > most_bytes:
            too_large.append((what, size))
        else:
            sizes.append(size)
            stored = 0
            for job in group:
                epochs = max(spec.epochs for spec in job.specs)
                spared[job.key] = min(stored, epochs)
                stored = max(stored, epochs)
    largest = max(too_large, key=lambda each: each[1], default=None)
    return TeacherCaches(len(sizes), sum(sizes), largest, streamed, spared)


def _needs_logits_alone(job: PlannedJob) -> bool:
    from trainables.methods import find

    first = job.specs[0]
    return first.teacher is not None and not first.timing and not any(find(s.method).FEATURES for s in job.specs)

"""The teacher cache: a teacher's logits for all augmented images of a seed, computed once and read by later jobs.

    results/teacher_cache/NETWORK-KEY/epoch-7.logits    a checksum, then (images, C) in the teacher's own precision
    results/teacher_cache/NETWORK-KEY/bytes             how large the cache will be, as text
    results/teacher_cache/NETWORK-KEY.lock              shared by the jobs that use the cache

The cache changes no number: it stores the very bits that the teacher computes, under a key of all that they depend on.
It may be removed at any time. A file is complete when it is there; one with a wrong checksum is computed again. A disk
that cannot be written costs the cache, not the job. Images that are decoded while a job trains have no cache: decoding
them takes longer than the teacher does, and ImageNet's logits would need 769 GB.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from trainables.data.source import Source
from trainables.data.stream import WHOLE, BatchStream, Chunk, Stream, to_device
from trainables.errors import reason_of
from trainables.network_names import file_name
from trainables.own_code import hash_own
from trainables.spec import RunSpec
from trainables.storage.locks import LockHeldError, hold_lock
from trainables.storage.provenance import surroundings
from trainables.storage.runs import (
    drop_temporaries,
    read_file,
    teacher_cache_bytes,
    verify_checksum,
    with_checksum,
    write_atomically,
)
from trainables.training.teachers import Teacher

GB = 10**9


class TeacherCache:
    """The logits of one teacher over one stream, an epoch at a time.

    folder: where the epochs are stored.
    read: how many epochs were there already.
    notes: receives what the user should know, a sentence each.
    """

    def __init__(self, folder: Path, num_classes: int, stream: BatchStream, teacher: Teacher, notes: list[str]) -> None:
        self.folder, self.stream, self.teacher, self.notes = folder, stream, teacher, notes
        self._num_classes = num_classes
        self.read = 0
        self._usable, self._compared = True, False
        self._epoch, self._logits = 0, torch.empty(0)

    def logits(self, chunk: Chunk) -> Tensor:
        """(n, C) float32: what `teacher.logits` gives for the images of a chunk of the epoch that is loaded."""
        assert chunk.epoch == self._epoch
        start = chunk.first_step * self.stream.batch_size
        return self._logits[start : start + len(chunk.labels)]

    def load(self, epoch: int) -> None:
        """Load the logits of an epoch, in the order of its batches; compute and store them if none are stored.

        A job that needs an epoch that another one computes waits for it.
        """
        path = self.folder / f"epoch-{epoch}.logits"
        logits = None
        if self._usable:
            try:
                with hold_lock(path.with_suffix(".lock")):
                    logits = self._read(path, epoch)
                    self.read += logits is not None
                    if logits is None:
                        drop_temporaries(self.folder, path.name)
                        logits = self._compute(epoch)
                        content = logits.cpu().contiguous().view(torch.uint8).numpy().tobytes()
                        write_atomically(path, with_checksum(content))
            except OSError as error:
                self._usable = False
                self.notes.append(f"no teacher cache from epoch {epoch} on: {reason_of(error)}")
        if logits is None:
            logits = self._compute(epoch)
        self._logits, self._epoch = to_device(logits, self.stream.device).float(), epoch

    def _compute(self, epoch: int) -> Tensor:
        logits = [self.teacher.logits(chunk.images) for chunk in self.stream.epoch(epoch)]
        return torch.cat(logits).to(self.teacher.dtype)

    def _read(self, path: Path, epoch: int) -> Tensor | None:
        """The stored logits; None where there are none that are whole. The first ones that a job reads are compared
        with its teacher: if they differ, everything stored is removed."""
        try:
            content = verify_checksum(read_file(path))
        except FileNotFoundError:
            return None
        if content is None:
            return None
        stored = torch.frombuffer(bytearray(content), dtype=self.teacher.dtype).view(-1, self._num_classes)
        if not self._compared:
            self._compared = True
            live = self.teacher.logits(next(self.stream.epoch(epoch)).images)
            if not torch.equal(live.cpu(), stored[: len(live)].float()):
                for each in self.folder.glob("*.logits"):
                    each.unlink(missing_ok=True)
                self.notes.append(f"the teacher cache {self.folder} does not fit its teacher: computed again")
                return None
        return stored


@contextlib.contextmanager
def open_teacher_cache(
    spec: RunSpec,
    source: Source,
    stream: Stream,
    teacher: Teacher,
    digest: str,
    results: Path,
    most_bytes: float,
    notes: list[str],
) -> Iterator[TeacherCache | None]:
    """The cache of a run's teacher and seed; None where there is no room for it or it would be of no use.

    digest: SHA-256 of the teacher's weights.
    most_bytes: size of all caches together. The least recently used ones make room for a new one, which may never take
    more than half of what is free on the disk.
    """
    root = results / "teacher_cache"
    folder = root / _key(spec, source, stream, teacher, digest)
    need = teacher_cache_bytes(spec, source.train_size, source.num_classes)
    cache = None
    with contextlib.ExitStack() as in_use:
        if need <= most_bytes and isinstance(stream, BatchStream) and stream.share == WHOLE:
            try:
                root.mkdir(parents=True, exist_ok=True)
                with hold_lock(root / "lock"):
                    in_use.enter_context(hold_lock(root / f"{folder.name}.lock", shared=True))
                    if _reserve(folder, need, most_bytes):
                        cache = TeacherCache(folder, source.num_classes, stream, teacher, notes)
            except OSError as error:
                notes.append(f"no teacher cache: {reason_of(error)}")
        yield cache


def _key(spec: RunSpec, source: Source, stream: Stream, teacher: Teacher, digest: str) -> str:
    """All that the bits of the logits depend on: weights, images and their stream, precision, and where they are
    computed."""
    where = surroundings(teacher.device.type)
    if teacher.device.type == "cpu":
        how = f"{torch.backends.cpu.get_cpu_capability()} {torch.get_num_threads()}"
    else:
        how = f"{torch.version.cuda} {torch.backends.cudnn.version()}"
    images = f"{source.fingerprint} {spec.seed} {spec.batch_size} {spec.augmentation} {stream.version}"
    own = hash_own("", spec.dataset, frozenset(filter(None, [spec.teacher])))
    identity = f"{digest} {images} {spec.precision} {where['device']} {where['torch']} {how}{own}"
    return f"{file_name(spec.teacher or '')}-{hashlib.sha256(identity.encode()).hexdigest()[:24]}"


def _reserve(folder: Path, need: int, most_bytes: float) -> bool:
    """Reserve `need` bytes for a cache if they fit, once caches that no job uses are removed, the oldest first."""
    folder.mkdir(exist_ok=True)
    os.utime(folder)
    others = sorted(
        (other for other in folder.parent.iterdir() if other.is_dir() and other != folder),
        key=lambda other: other.stat().st_mtime,
    )
    for other in list(others):
        if need + sum(map(_count_reserved, others)) <= most_bytes:
            break
        with contextlib.suppress(LockHeldError), hold_lock(folder.parent / f"{other.name}.lock", seconds=0):
            shutil.rmtree(other, ignore_errors=True)
            others.remove(other)
    still_to_write = (
        need - _count_stored(folder) + sum(_count_reserved(other) - _count_stored(other) for other in others)
    )
    if need + sum(map(_count_reserved, others)) > most_bytes or still_to_write > shutil.disk_usage(folder).free / 2:
        return False
    if need > _count_reserved(folder):
        (folder / "bytes").write_text(str(need), encoding="utf-8")
    return True


def _count_reserved(folder: Path) -> int:
    """Bytes that a cache will take; what it takes now where that is not known."""
    try:
        return int(read_file(folder / "bytes"))
    except (FileNotFoundError, ValueError):
        return _count_stored(folder)


def _count_stored(folder: Path) -> int:
    """Bytes that a cache takes now."""
    return sum(path.stat().st_size for path in folder.glob("*.logits"))

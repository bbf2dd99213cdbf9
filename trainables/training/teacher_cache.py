"""A teacher cache: what a teacher says of every augmented image of a seed, computed once and kept for all later jobs.

    results/teacher_cache/NETWORK-KEY/logits    (epochs, images, C), in the precision in which the teacher computes
    results/teacher_cache/NETWORK-KEY/sums      (epochs, steps): a checksum of each chunk; 0: not there yet

A cache changes no number: it keeps the very bits that the teacher gives, and is known by all that they depend on. So it
may be removed at any time, be filled by several jobs (on several machines) together, and be damaged: a chunk that does
not fit its checksum is computed again. Chunks are read and written, not mapped: a full or lost disk is then an error
that costs the cache, not a signal that kills the job.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import math
import os
import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from trainables.data.source import Source
from trainables.data.stream import WHOLE, BatchStream, Chunk, Stream, sent
from trainables.spec import RunSpec
from trainables.storage.locks import held, shared, tried
from trainables.storage.provenance import surroundings
from trainables.storage.runs import teacher_cache_bytes
from trainables.training.evaluation import at_once
from trainables.training.teachers import BATCH, Teacher

GB = 10**9
PATIENCE = 60.0
"""Seconds without any progress for which others' chunks are waited for; then they are computed here too."""
SUM = 4
BLOCK = 512


class TeacherCache:
    """The cache of one teacher over one stream. notes: is told what a person should know of it, in a sentence each."""

    def __init__(self, folder: Path, source: Source, stream: Stream, teacher: Teacher, notes: list[str]) -> None:
        self.folder, self.source, self.stream, self.teacher = folder, source, stream, teacher
        self.notes = notes
        self._row = source.num_classes * teacher.dtype.itemsize
        self._writing, self._locking, self._trusted = True, True, False
        self._epoch, self._filled = 0, torch.empty(0)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._logits = os.open(folder / "logits", flags, 0o644)
        self._sums = os.open(folder / "sums", flags, 0o644)

    def reserve(self, size: int) -> None:
        """Let the file be as long as it will get: what is not written takes no room on the disk, but is spoken for."""
        os.ftruncate(self._logits, max(size, os.fstat(self._logits).st_size))

    def close(self) -> None:
        for file in (self._logits, self._sums):
            # What a network file system could not write it may say only now; the checksums tell later.
            with contextlib.suppress(OSError):
                os.close(file)

    def fill(self, epoch: int) -> None:
        """Bring the epoch's answers to the device and compute those that are missing; jobs that do so at the same time
        share the work. Images that are decoded on the way are not waited for: `logits` then looks for each chunk."""
        if not isinstance(self.stream, BatchStream):
            return
        pieces = self.stream.pieces(epoch)
        parts: dict[int, Tensor] = {}
        first = os.getpid() % len(pieces)
        missing = [*range(first, len(pieces)), *range(first)]
        deadline = time.monotonic() + PATIENCE
        while missing:
            known = len(parts)
            for number in missing:
                piece = pieces[number]
                part = self._part(epoch, piece.first_step, piece.size, piece, wait=time.monotonic() < deadline)
                if part is not None:
                    parts[number] = part
            missing = [number for number in missing if number not in parts]
            if len(parts) > known:
                deadline = time.monotonic() + PATIENCE
            elif missing:
                time.sleep(0.01)
        self._filled = torch.cat([sent(parts[number], self.stream.device) for number in range(len(pieces))])
        self._epoch = epoch

    def logits(self, chunk: Chunk) -> Tensor:
        """(n, C) float32: what `teacher.logits` says of the chunk's images."""
        size = len(chunk.labels)
        if chunk.epoch == self._epoch:
            start = chunk.first_step * self.stream.batch_size
            return self._filled[start : start + size].float()
        part = self._part(chunk.epoch, chunk.first_step, size, lambda: chunk, wait=False)
        assert part is not None
        return sent(part, self.stream.device).float()

    def filled(self, epoch: int) -> bool:
        """Whether `epoch_logits` are those of this epoch."""
        return epoch == self._epoch

    def epoch_logits(self) -> Tensor:
        """(images, C) float32 of the whole epoch that was filled last."""
        return self._filled.float()

    def _part(self, epoch: int, step: int, size: int, make: Callable[[], Chunk], *, wait: bool) -> Tensor | None:
        """A chunk's answers: stored, or computed and stored; None where another job is at it and is waited for."""
        known = self._read(epoch, step, size, make)
        if known is not None:
            return known
        with self._claimed(epoch, step) as mine:
            if not mine and wait:
                return None
            known = self._read(epoch, step, size, make) if mine else None
            if known is not None:
                return known
            answers = self._asked(make().images)
            if mine and not self.source.unreadable:
                self._write(epoch, step, answers)
            return answers

    def _asked(self, images: Tensor) -> Tensor:
        return self.teacher.logits(images).to(self.teacher.dtype)

    def _place(self, epoch: int, step: int) -> tuple[int, int]:
        """Where a chunk's answers and its checksum lie."""
        row = (epoch - 1) * self.source.train_size + step * self.stream.batch_size
        return row * self._row, ((epoch - 1) * self.stream.steps + step) * SUM

    def _read(self, epoch: int, step: int, size: int, make: Callable[[], Chunk]) -> Tensor | None:
        place, sum_place = self._place(epoch, step)
        try:
            expected = os.pread(self._sums, SUM, sum_place)
            if not any(expected):
                return None
            content = os.pread(self._logits, size * self._row, place)
        except OSError:
            return None
        if _sum(content) != expected or len(content) != size * self._row:
            return None
        stored = torch.frombuffer(bytearray(content), dtype=self.teacher.dtype).view(size, -1)
        return stored if self._trusted or self._agrees(stored, make) else None

    def _agrees(self, stored: Tensor, make: Callable[[], Chunk]) -> bool:
        """Whether the teacher says now what is stored, of the first chunk that is read. Where it does not, all goes."""
        images = make().images
        part = at_once(BATCH, self.stream.device, images.shape[-1])
        live = self._asked(images[:part])
        self._trusted = True
        if torch.equal(live.cpu(), stored[:part]):
            return True
        os.ftruncate(self._sums, 0)
        self.notes.append(f"the teacher cache {self.folder} does not fit its teacher: made anew")
        return False

    def _write(self, epoch: int, step: int, answers: Tensor) -> None:
        if not self._writing:
            return
        content = answers.cpu().contiguous().view(torch.uint8).numpy().tobytes()
        place, sum_place = self._place(epoch, step)
        try:
            written = 0
            while written < len(content):
                written += os.pwrite(self._logits, content[written:], place + written)
            os.pwrite(self._sums, _sum(content), sum_place)
        except OSError as error:
            self._writing = False
            self.notes.append(f"the teacher cache is written no further: {_reason(error)}")

    @contextlib.contextmanager
    def _claimed(self, epoch: int, step: int) -> Iterator[bool]:
        """Whether the chunk is ours to compute; a claim ends with its process."""
        place = self._place(epoch, step)[1]
        try:
            if self._locking:
                fcntl.lockf(self._sums, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        except (BlockingIOError, PermissionError):
            yield False
            return
        except OSError as error:
            self._locking = False
            self.notes.append(f"the teacher cache is not shared with jobs at the same time: {_reason(error)}")
        try:
            yield True
        finally:
            if self._locking:
                fcntl.lockf(self._sums, fcntl.LOCK_UN, 1, place)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _sum(content: bytes) -> bytes:
    return (zlib.crc32(content) or 1).to_bytes(SUM, "little")


@contextlib.contextmanager
def opened(
    spec: RunSpec,
    source: Source,
    stream: Stream,
    teacher: Teacher,
    digest: str,
    results: Path,
    most_bytes: float,
    notes: list[str],
) -> Iterator[TeacherCache | None]:
    """The cache of a run's teacher and seed, where there is room for it: `most_bytes` for all caches together, of which
    the least recently used go first, and never more than half of what is free on the disk. A disk that cannot be
    written costs the cache, which `notes` is told."""
    need = teacher_cache_bytes(spec, source.train_size, source.num_classes)
    cache = None
    with contextlib.ExitStack() as stack:
        if need <= most_bytes and stream.share == WHOLE:
            caches, key = results / "teacher_cache", _key(spec, source, stream, teacher, digest)
            try:
                cache = _made(
                    caches,
                    key,
                    need,
                    most_bytes,
                    stack,
                    lambda: TeacherCache(caches / key, source, stream, teacher, notes),
                )
            except OSError as error:
                notes.append(f"no teacher cache: {_reason(error)}")
        yield cache


def _made(
    caches: Path, key: str, need: int, most_bytes: float, stack: contextlib.ExitStack, make: Callable[[], TeacherCache]
) -> TeacherCache | None:
    """A cache with its room reserved, in use until the stack is left; None where there is no room."""
    caches.mkdir(parents=True, exist_ok=True)
    with held(caches / "lock", seconds=math.inf):
        stack.enter_context(shared(caches / f"{key}.lock"))
        (caches / key).mkdir(exist_ok=True)
        os.utime(caches / key)
        if not _make_room(caches, key, need, most_bytes):
            return None
        cache = make()
        stack.callback(cache.close)
        cache.reserve(need)
        return cache


def _key(spec: RunSpec, source: Source, stream: Stream, teacher: Teacher, digest: str) -> str:
    """All that the bits of an answer depend on: weights, images and their stream, precision, and where it computes."""
    where = surroundings(teacher.device.type)
    if teacher.device.type == "cpu":
        how = f"{torch.backends.cpu.get_cpu_capability()} {torch.get_num_threads()}"
    else:
        how = f"{torch.version.cuda} {torch.backends.cudnn.version()}"
    images = f"{source.fingerprint} {spec.seed} {spec.batch_size} {spec.augmentation} {stream.version}"
    identity = f"{digest} {images} {spec.precision} {where['device']} {where['torch']} {how}"
    return f"{spec.teacher}-{hashlib.sha256(identity.encode()).hexdigest()[:24]}"


def _make_room(caches: Path, key: str, need: int, most_bytes: float) -> bool:
    """Remove caches that nobody uses, the oldest first, until `need` bytes fit. Whether they do."""
    others = sorted((folder for folder in caches.iterdir() if folder.is_dir() and folder.name != key), key=_used)
    for folder in list(others):
        if sum(_reserved(one) for one in others) + need <= most_bytes:
            break
        with tried(caches / f"{folder.name}.lock") as unused:
            if unused:
                shutil.rmtree(folder, ignore_errors=True)
                others.remove(folder)
    coming = need - _written(caches / key) + sum(_reserved(one) - _written(one) for one in others)
    fits = sum(_reserved(one) for one in others) + need <= most_bytes
    return fits and coming <= shutil.disk_usage(caches).free / 2


def _facts(folder: Path) -> list[os.stat_result]:
    """Of a cache's files; of none where it has just been removed."""
    found = []
    for path in (folder, folder / "logits", folder / "sums"):
        with contextlib.suppress(OSError):
            found.append(path.stat())
    return found


def _used(folder: Path) -> float:
    return max((facts.st_mtime for facts in _facts(folder)[:1]), default=0.0)


def _reserved(folder: Path) -> int:
    return sum(facts.st_size for facts in _facts(folder)[1:])


def _written(folder: Path) -> int:
    return sum(facts.st_blocks * BLOCK for facts in _facts(folder)[1:])

"""What a step and an answer of a network cost, measured on random images; kept for this machine (`kept_costs`).

The steps are those of a job, on images of the data set's size. Needs no data set.
"""

from __future__ import annotations

import functools
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.planning.background_load import keep_busy
from sweeps.planning.durations import Cost
from sweeps.planning.images import count_images
from sweeps.planning.kept_costs import keep_costs, read_costs
from trainables import datasets
from trainables.data.counts import ImageCounts
from trainables.spec import MEMBERSHIPS, PLAIN, RunSpec

if TYPE_CHECKING:
    from trainables.data.dataset import Dataset
    from trainables.data.stream import BatchStream, Chunk
    from trainables.training.teachers import Teacher

Clock = Callable[[], float]

LEAST_SECONDS = 0.6
"""What measuring a network or a loss takes at least on a processor, about: to be made, a warm-up, one step."""
MOST_STEPS = 5
LEAST_PIXELS = 2**14
"""Of the batch that a processor measures first, at most 8 images: 4 of side 64, 2 of side 224."""
STEPS = {"cpu": 1, "cuda": 8}
"""Steps between two looks at the clock: a GPU works ahead, and a job asks its teacher about eight steps at a time."""
LOGITS = ("vanilla", "kd", "dkd")
"""Methods whose losses cost next to nothing beside the networks."""


@dataclass(frozen=True)
class Work:
    """What must be measured: a network as it is trained, or only asked.

    method: of a training whose loss costs more than logits do, and which depends on the `other` network.
    """

    dataset: str
    network: str
    batch_size: int
    precision: str
    augmentation: str
    method: str = ""
    other: str = ""


def _work(spec: RunSpec, network: str) -> Work:
    return Work(spec.dataset, network, spec.batch_size, spec.precision, spec.augmentation)


def asked_work(spec: RunSpec) -> Work:
    return _work(spec, str(spec.teacher))


def student_work(spec: RunSpec) -> Work:
    plain = _work(spec, spec.student)
    if spec.method in LOGITS:
        return plain
    return replace(plain, method=spec.method, other=str(spec.teacher or spec.peer))


def works_of(spec: RunSpec) -> set[Work]:
    """All that a run needs to have measured."""
    return {student_work(spec), _work(spec, spec.student)} | ({asked_work(spec)} if spec.teacher is not None else set())


@dataclass(frozen=True)
class Task:
    """What is measured of a network. spec: a run that needs it. busy: cores that have work meanwhile."""

    work: Work
    spec: RunSpec
    about: ImageCounts
    busy: int
    trained: bool
    asked: bool

    @property
    def keys(self) -> list[str]:
        """The names of equal measurements, its own first, then those of more."""
        parts = replace(self.work, dataset=""), self.about.side, self.about.num_classes, self.busy, self.spec.code
        uses = [(trained, asked) for trained in (False, True) for asked in (False, True)]
        return [repr((*parts, *use)) for use in uses if use[0] >= self.trained and use[1] >= self.asked]

    def find(self, known: Mapping[str, Cost]) -> Cost | None:
        return next((known[key] for key in self.keys if key in known), None)


def list_tasks(specs: Sequence[RunSpec], data_dir: Path | None, busy: int) -> list[Task]:
    """All that some runs need, networks before losses. busy: not beside runs that exist for their timing."""
    trained = {student_work(spec): spec for spec in specs}
    asked = {asked_work(spec): spec for spec in specs if spec.teacher is not None}
    tested = {_work(spec, spec.student): spec for spec in specs}
    beside = {work for spec in specs if not spec.timing for work in works_of(spec)}
    return [
        Task(
            work,
            spec,
            count_images(spec, data_dir),
            busy if work in beside else 0,
            trained=work in trained,
            asked=work in asked,
        )
        for work, spec in sorted({**tested, **asked, **trained}.items(), key=lambda item: item[0].method != "")
    ]


def measure_costs(
    specs: Sequence[RunSpec], data_dir: Path | None, device: str, threads: int, busy: int, seconds: float, kept: Path
) -> dict[Work, Cost]:
    """The cost of every network, trained (students, teachers to train) or only asked, within about `seconds`; on a
    processor while `busy` other cores have work. kept: the file of what is known, to which the rest is added."""
    import torch

    from trainables.job import Execution, check_precision, prepare_torch

    # One thread's own time does not grow with what else it waits for.
    clock = time.thread_time if device == "cpu" and threads == 1 else time.perf_counter
    before = torch.get_num_threads()
    prepare_torch(Execution(results=Path(), device=device, threads=threads if device == "cpu" else 0))
    check_precision(specs[0].precision, Execution(results=Path(), device=device))
    tasks = list_tasks(specs, data_dir, busy)
    known = read_costs(kept)
    costs = {task.work: cost for task in tasks if (cost := task.find(known)) is not None}
    new: dict[str, Cost] = {}
    missing = [task for task in tasks if task.work not in costs]
    end = time.perf_counter() + seconds
    try:
        for number, task in enumerate(missing):
            cost, work, spec = task.find(new), task.work, task.spec
            if cost is None:
                share = max(0.0, end - time.perf_counter()) / (len(missing) - number)
                spec = spec if work.method else _alone(spec, work.network)
                image = costs[replace(work, method="", other="")].image if work.method else None
                uses = {"trained": task.trained, "asked": task.asked}
                with keep_busy(task.busy):
                    cost = _cost(spec, task.about, device, share, clock, image=image, **uses)
                new[task.keys[0]] = cost
            costs[work] = cost
        keep_costs(kept, new)
        return costs
    finally:
        torch.set_num_threads(before)
        _random_images.cache_clear()
        _random_teacher.cache_clear()


@functools.lru_cache(maxsize=1)
def _random_images(name: str, facts: ImageCounts, size: int, device: str) -> Dataset:
    import torch

    from trainables.data.dataset import Dataset, Split

    shape = (size, facts.side, facts.side, 3)
    images = torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    split = Split(images, torch.arange(size) % facts.num_classes)
    plain = (0.5, 0.5, 0.5)
    classes = tuple(map(str, range(facts.num_classes)))
    return Dataset(name, classes, split, split, plain, plain, "", "random images").to(device)


@functools.cache
def _random_teacher(network: str, num_classes: int, side: int, device: str, precision: str) -> Teacher:
    from trainables.models import build
    from trainables.training.teachers import Teacher

    return Teacher(build(network, num_classes, side), device=device, precision=precision)


def _alone(spec: RunSpec, network: str) -> RunSpec:
    """The network by itself."""
    return replace(
        spec,
        student=network,
        method="vanilla",
        params=(),
        temperature=PLAIN,
        mixing=None,
        teacher=None,
        teacher_source=None,
        peer=None,
        data="",
        timing=False,
    )


def _cost(
    spec: RunSpec,
    facts: ImageCounts,
    device: str,
    seconds: float,
    clock: Clock,
    *,
    trained: bool,
    asked: bool,
    image: float | None,
) -> Cost:
    """Measured, on a processor, on a smaller batch and scaled up where a whole one would take too long.

    image: where it is known already.
    """
    import torch

    from trainables.training.evaluation import BATCH, Scores, autocast, choose_batch_size
    from trainables.training.student import Student
    from trainables.training.teachers import Teacher, TeacherFacts
    from trainables.training.views import TeacherContext, Views

    # Images that are decoded on the way come a step at a time. On a GPU few images take as long as many.
    steps = 1 if datasets.find(spec.dataset).streamed else STEPS[device]
    largest = steps * min(spec.batch_size, facts.train_size)
    few = min(steps * max(2, min(8, LEAST_PIXELS // facts.side**2)), largest) if device == "cpu" else largest
    size = max(largest, facts.num_classes)
    dataset = _random_images(spec.dataset, facts, size, device)
    dtype = torch.bfloat16 if spec.precision == "bf16" else torch.float32

    context = None
    if spec.teacher is not None:
        teacher = _random_teacher(spec.teacher, facts.num_classes, facts.side, device, spec.precision)
        energies = dict.fromkeys(MEMBERSHIPS, torch.zeros(size, device=device))
        context = TeacherContext(teacher, TeacherFacts("", Scores(0, 0, 0), energies))
    with tempfile.TemporaryDirectory() as nowhere:
        student = Student(spec, dataset=dataset, context=context, results=Path(nowhere), started="")
    stored = sum(value.numel() * value.element_size() for value in student.steps.module.state_dict().values())

    def batches_of(images: int) -> tuple[BatchStream, Chunk]:
        crop = "none" if datasets.find(spec.dataset).streamed else spec.augmentation
        stream = dataset.stream(seed=1, batch_size=images // steps, augmentation=crop)
        return stream, _first(next(stream.epoch(1)), steps)

    def train(images: int) -> Callable[[], None]:
        """Steps on views whose teacher has answered already: its answers are counted by themselves."""
        stream, chunk = batches_of(images)
        asked = not student.method.BATCH_STATISTICS
        views = Views(chunk, stream, dtype, context, features=asked and student.method.FEATURES, asked=asked)
        if student.method.BATCH_STATISTICS:
            _ = views.batch_answers
        else:
            _ = views.strong if student.method.wants_strong else views.weak

        def work() -> None:
            student.steps.train(views)
            student.steps.sums.tolist()

        return work

    step = 0.0
    if trained:
        student.steps.begin_epoch(1)
        step = _per_image(train, few, largest, seconds * 0.7, clock) * spec.batch_size
    if image is not None:
        return Cost(step, image, stored, once=not seconds)
    model = student.model.eval()
    answering = Teacher(model, device=device, precision=spec.precision) if asked else None

    def answer(images: int) -> Callable[[], None]:
        inputs = batches_of(images)[1].images
        parts = inputs.split(choose_batch_size(BATCH, inputs.device, facts.side))

        @torch.no_grad()
        def work() -> None:
            if answering is not None:
                answering.logits(inputs).sum().item()
            else:
                with autocast(device, spec.precision):
                    sum(model(part).sum() for part in parts).item()

        return work

    return Cost(step, _per_image(answer, few, largest, seconds * 0.3, clock), stored, once=not seconds)


def _first(chunk: Chunk, steps: int) -> Chunk:
    """The first steps of a chunk: a teacher answers for all of it."""
    end = chunk.bounds[steps]
    rows = {name: getattr(chunk, name)[:end] for name in ("images", "pixels", "labels", "index", "step", "mixing")}
    return replace(chunk, **rows, bounds=chunk.bounds[: steps + 1], sizes=chunk.sizes[:steps])


def _per_image(
    work_on: Callable[[int], Callable[[], None]], few: int, images: int, seconds: float, clock: Clock
) -> float:
    """Median seconds an image, warmed up, within about `seconds`: on a `few` images where all would take longer."""
    deadline = time.perf_counter() + seconds
    work = work_on(few)
    work()
    times = [_timed(work, clock)]
    if few < images and 3 * times[0] * images / few <= max(seconds, LEAST_SECONDS / 2):
        few, work, times = images, work_on(images), []
        work()
    while not times or (len(times) < MOST_STEPS and time.perf_counter() < deadline):
        times.append(_timed(work, clock))
    return statistics.median(times) / few


def _timed(work: Callable[[], None], clock: Clock) -> float:
    began = clock()
    work()
    return clock() - began

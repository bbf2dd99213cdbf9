"""The steps of gpu_check.py, the most important first, and those of correctness."""

from __future__ import annotations

import contextlib
import functools
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from analysis import paper
from analysis.record.settings import Settings
from analysis.table.resolved import resolve
from benchmarks.gpu_step import Row, Setting, Step
from benchmarks.measure import DTYPES, device_name, measure_peaks, synchronize
from ekd_core import energy
from trainables import job
from trainables.data.dataset import Dataset, Split
from trainables.datasets import load
from trainables.job import Execution, prepare_torch, train_epoch
from trainables.models import build
from trainables.models.checkpoint import load_state, save_weights
from trainables.spec import MEMBERSHIPS, RunSpec
from trainables.storage.runs import hash_file, weights_path
from trainables.training.cuda_graphs import WARM_UP
from trainables.training.evaluation import Scores
from trainables.training.student import Student
from trainables.training.teachers import Teacher, TeacherFacts
from trainables.training.views import TeacherContext

CLASSES = 100
TABLES = ("table5", "table4", "methods", "temperatures", "logits", "table1")
FEW = ("kd", "dkd", "kd-he_cutmix40", "energy_kd")
NETWORKS = ("resnet8x4", "vgg8", "MobileNetV2", "ShuffleV2", "wrn_16_2", "resnet20")


def prepare(device: str) -> None:
    prepare_torch(Execution(Path(), device=device))
    warnings.filterwarnings("ignore", message=".*does not have a deterministic implementation")


def make_images(count: int, data_dir: Path | None) -> Dataset:
    """Of CIFAR-100, equally many of each class; without its folder random ones of their shape."""
    if data_dir is not None:
        real = cifar100(data_dir)
        some = real.train.labels.argsort(stable=True).view(CLASSES, -1).T.flatten()[:count]
        split = Split(real.train.images[some], real.train.labels[some])
        return replace(real, train=split, test=split)
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, 32, 32, 3), dtype=torch.uint8, generator=draw)
    split = Split(images, torch.arange(count) % CLASSES)
    plain = (0.5, 0.5, 0.5)
    return Dataset("cifar100", tuple(map(str, range(CLASSES))), split, split, plain, plain, "", "random images")


@functools.cache
def cifar100(data_dir: Path) -> Dataset:
    images = load("cifar100", data_dir)
    assert isinstance(images, Dataset)
    return images


def list_specs(pair: str, tables: Sequence[str], setting: Setting) -> dict[str, RunSpec]:
    """By its treatment, a run of every row of some tables; a few of them where all is small."""
    found: dict[str, RunSpec] = {}
    for name in tables:
        table = resolve(
            paper.find(name), Settings(dataset="cifar100", pairs=(pair,), seeds=1, batch_size=setting.batch)
        )
        for specs in table.cells.values():
            if specs[0].teacher == pair.partition("/")[0]:
                found.setdefault(specs[0].treatment, specs[0])
    return {name: spec for name, spec in found.items() if name in FEW or not setting.small}


def make_context(spec: RunSpec, images: Dataset, device: str, precision: str) -> TeacherContext:
    """A teacher with random weights, and the energies that it has on the processor."""
    torch.manual_seed(0)
    network = build(str(spec.teacher), CLASSES).eval()
    plain = images.train.images.permute(0, 3, 1, 2).float() / 128 - 1
    with torch.no_grad():
        energies = energy(network(plain)).to(device)
    teacher = Teacher(network, device=device, precision=precision)
    return TeacherContext(teacher, TeacherFacts("", Scores(0, 0, 0), dict.fromkeys(MEMBERSHIPS, energies)))


def train_alone(spec: RunSpec, images: Dataset, device: str, epochs: int = 1) -> dict[str, Tensor]:
    """The student's weights after some epochs."""
    there = images.to(device)
    context = make_context(spec, images, device, spec.precision)
    stream = there.stream(seed=spec.seed, batch_size=spec.batch_size, augmentation=spec.augmentation)
    with tempfile.TemporaryDirectory() as nowhere:
        student = Student(spec, dataset=there, context=context, results=Path(nowhere), started="")
        for epoch in range(1, epochs + 1):
            train_epoch(epoch, [student], stream, context)
    return {name: value.detach().cpu() for name, value in student.model.state_dict().items()}


def show_device(setting: Setting) -> Iterator[Row]:
    """What it is, and what it reaches."""
    prepare(setting.device)
    memory = torch.cuda.get_device_properties(0).total_memory / 2**30 if setting.device == "cuda" else None
    row: Row = {"device": device_name(setting.device), "torch": torch.__version__, "memory, GiB": memory}
    if not setting.small:
        peaks = measure_peaks(setting.device)
        row |= {f"{name}, TFLOP/s": peaks[name] / 1e12 for name in DTYPES} | {"copy, GB/s": peaks["copy"] / 1e9}
    yield row


def compare_with_processor(setting: Setting) -> Iterator[Row]:
    """Each method, rule and treatment: some steps here and on the processor."""
    prepare(setting.device)
    images = make_images(2 * setting.batch, setting.data_dir)
    specs = list_specs("resnet14/resnet8", TABLES, setting)
    for name, spec in specs.items():
        row: Row = {"run": name}
        for precision in setting.precisions:
            one, two = (
                train_alone(replace(spec, precision=precision), images, device) for device in ("cpu", setting.device)
            )
            away = sum(float((one[key].double() - two[key].double()).square().sum()) for key in one)
            whole = sum(float(value.double().square().sum()) for value in one.values())
            row[precision] = (away / whole) ** 0.5
        yield row


@contextlib.contextmanager
def jobs_get(images: Dataset) -> Iterator[None]:
    """Jobs that ask for CIFAR-100 get these images."""
    real = job._load
    job._load = lambda *_: images  # type: ignore[assignment]
    try:
        yield
    finally:
        job._load = real


def run_jobs(jobs: Sequence[Sequence[RunSpec]], execution: Execution, *, stop: int = 0) -> None:
    """Train jobs; those that are stopped after an epoch are begun again."""
    for specs in jobs:
        if stop:
            going = job.run(specs, execution)
            for report in going:
                if report.epoch == stop:
                    break
            going.close()  # type: ignore[attr-defined]
        for report in job.run(specs, execution):
            if report.failed:
                raise RuntimeError(next(iter(report.failed.values())))


def compare_bits(setting: Setting) -> Iterator[Row]:
    """Students alone, together, stopped and resumed, once more, in a group of one process: the same bits or not."""
    prepare(setting.device)
    steps = 2 if setting.small else WARM_UP + 4
    for network in ("resnet8",) if setting.small else NETWORKS:
        pair = f"resnet14/{network}"
        found = list_specs(pair, ("table5",), setting)
        some = [found["kd"], found["kd-he_cutmix40"], found["dkd"]][: 2 if setting.small else 3]
        for precision in setting.precisions:
            images = make_images(steps * setting.batch, setting.data_dir).to(setting.device)
            with tempfile.TemporaryDirectory() as folder, jobs_get(images):
                yield {
                    "network": network,
                    "precision": precision,
                    **_bits(some, Path(folder), precision, setting.device),
                }


def _bits(some: Sequence[RunSpec], root: Path, precision: str, device: str) -> Row:
    torch.manual_seed(0)
    save_weights(build(str(some[0].teacher), CLASSES), root / "teacher.pth")
    digest = hash_file(root / "teacher.pth")
    source = f"sha256:{digest}"
    specs = [replace(spec, precision=precision, epochs=2, milestones=(1,), teacher_source=source) for spec in some]
    execution = Execution(root, teachers=((digest, str(root / "teacher.pth")),), device=device)
    ways = {
        "together": lambda there: run_jobs([specs], there),
        "resumed": lambda there: run_jobs([specs], there, stop=1),
        "once more": lambda there: run_jobs([[spec] for spec in specs], there),
        "group of one": lambda there: _in_group(lambda: run_jobs([[spec] for spec in specs], there), device, root),
    }
    if device == "cuda":
        ways["CUDA graphs"] = lambda there: run_jobs([specs], replace(there, cuda_graphs=True))
    run_jobs([[spec] for spec in specs], replace(execution, results=root / "alone"))
    row: Row = {}
    for name, way in ways.items():
        way(replace(execution, results=root / name))
        files = [[load_state(weights_path(root / each, spec.run_id)) for spec in specs] for each in ("alone", name)]
        row[name] = "same" if all(_same(one, two) for one, two in zip(*files, strict=True)) else "DIFFERENT"
    return row


def _same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


def _in_group(work: object, device: str, root: Path) -> None:
    backend = "nccl" if device == "cuda" else "gloo"
    dist.init_process_group(backend, init_method=f"file://{root / 'store'}", rank=0, world_size=1)
    try:
        work()  # type: ignore[operator]
    finally:
        dist.destroy_process_group()


def count_waits(setting: Setting) -> Iterator[Row]:
    """For what the host waits within an epoch: nothing, but twice a chunk where images are mixed by their energy."""
    prepare(setting.device)
    images = make_images(2 * setting.batch, setting.data_dir).to(setting.device)
    specs = list_specs("resnet14/resnet8", TABLES, setting)
    for name, spec in specs.items():
        context = make_context(spec, images.to("cpu"), setting.device, "fp32")
        stream = images.stream(seed=spec.seed, batch_size=spec.batch_size, augmentation=spec.augmentation)
        with tempfile.TemporaryDirectory() as nowhere:
            student = Student(spec, dataset=images, context=context, results=Path(nowhere), started="")
            train_epoch(1, [student], stream, context)
            synchronize(setting.device)
            waits = None
            if setting.device == "cuda":
                with warnings.catch_warnings(record=True) as caught, _sync_debug():
                    warnings.simplefilter("always")
                    _steps_alone(student, stream, context)
                waits = sum("synchroniz" in str(one.message) for one in caught)
        yield {"run": name, "waits": waits, "of energy": "yes" if spec.mixing is not None and spec.mixing.end else "no"}


@contextlib.contextmanager
def _sync_debug() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("warn")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def _steps_alone(student: Student, stream: object, context: TeacherContext) -> None:
    """An epoch without what comes after it: `train_epoch` waits at its end."""
    real = torch.cuda.synchronize
    torch.cuda.synchronize = lambda *_: None  # type: ignore[assignment]
    try:
        train_epoch(2, [student], stream, context)  # type: ignore[arg-type]
    finally:
        torch.cuda.synchronize = real


def measure_memory(setting: Setting) -> Iterator[Row]:
    """What a step of 64 images and an evaluation at the batch of the program take at their peak."""
    from trainables.training.evaluation import evaluate_models

    prepare(setting.device)
    images = make_images(2 * setting.batch, setting.data_dir).to(setting.device)
    spec = list_specs("resnet14/resnet8", ("table5",), setting)["kd"]
    for network in ("resnet8",) if setting.small else (*NETWORKS, "resnet32x4", "wrn_40_2", "vgg13", "ResNet50"):
        row: Row = {"network": network}
        for precision in setting.precisions:
            one = replace(spec, student=network, precision=precision)
            if setting.device == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            train_alone(one, images.to("cpu"), setting.device)
            row[f"step {precision}, MiB"] = _peak(setting.device)
        model = build(network, CLASSES).to(setting.device).eval()
        began = time.perf_counter()
        evaluate_models([model], images, "fp32")
        row["test, MiB"], row["test, s"] = _peak(setting.device), time.perf_counter() - began
        yield row


def _peak(device: str) -> float | None:
    return torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else None


HERE, SPEED = "benchmarks.gpu_steps", "benchmarks.gpu_speed"
WAYS = ("plain", "graphs", "streams")
STEPS = (
    Step(
        "device",
        "The device and what a large matrix product and a copy reach on it.",
        30,
        f"{HERE}:show_device",
        ("device", "torch", "memory, GiB", "fp32, TFLOP/s", "bf16, TFLOP/s", "copy, GB/s"),
    ),
    Step(
        "processor",
        "Two steps of every method, rule and treatment here and on the processor: relative error of the weights.",
        120,
        f"{HERE}:compare_with_processor",
        ("run", "fp32", "bf16"),
    ),
    Step(
        "bits",
        "Weights of jobs of two epochs against those of students that are trained alone.",
        90,
        f"{HERE}:compare_bits",
        ("network", "precision", "once more", "together", "resumed", "group of one", "CUDA graphs"),
    ),
    Step(
        "waits",
        "How often the host waits for the device within two steps (CUDA's sync debug mode). Mixing by energy asks.",
        40,
        f"{HERE}:count_waits",
        ("run", "waits", "of energy"),
    ),
    Step(
        "memory",
        "The most memory of a KD step of 64 images, teacher ResNet14, and of a test.",
        30,
        f"{HERE}:measure_memory",
        ("network", "step fp32, MiB", "step bf16, MiB", "test, MiB", "test, s"),
    ),
    Step(
        "speed",
        "Student-steps a second of Table 5's students, batch 64; the ratio is to plain kernels with the same teacher.",
        180,
        f"{SPEED}:measure_students",
        ("pair", "students", "teacher", "precision", "way", "steps/s", "ratio", "peak, %"),
    ),
    Step(
        "together",
        "A step of all students at once, without a teacher: one after the other, in one vmap, torch.compile.",
        60,
        f"{SPEED}:measure_together",
        ("student", "students", "precision", "way", "steps/s", "ratio"),
    ),
    Step(
        "table 5",
        "GPU-hours of Table 5 (240 epochs, 3 seeds, nine students at once, live teacher), from measured steps; bound: "
        "what a step waits for.",
        60,
        f"{SPEED}:project_table5",
        ("pair", "precision", "way", "steps/s", "hours", "teacher, %", "peak, %", "bound"),
    ),
    Step(
        "beside training",
        "What an epoch of 50,000 images and 10,000 test images takes beside its steps.",
        30,
        f"{SPEED}:measure_rest",
        ("what", "seconds an epoch"),
    ),
    Step(
        "images of ImageNet",
        "Images a second from JPEG files to crops, on this machine.",
        60,
        f"{SPEED}:measure_decoders",
        ("decoder", "images/s", "ratio to Pillow", "left out"),
    ),
)

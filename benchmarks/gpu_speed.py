"""The steps of gpu_check.py that measure speed."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from benchmarks.gpu_step import Row, Setting
from benchmarks.gpu_steps import CLASSES, list_specs, make_images, prepare
from benchmarks.measure import count_flops, measure_peaks, synchronize, take_turns
from benchmarks.pack import Pack, Scene, make_scene
from trainables.datasets import count_images
from trainables.models import build
from trainables.recipes import CIFAR100
from trainables.training.evaluation import evaluate_models

SPEED_PAIRS = ("resnet32x4/resnet8x4", "resnet56/resnet20")
SMALL_PAIR = "resnet8/resnet8"
EPOCHS, SEEDS, BATCH = 240, 3, 64
LAUNCHES = 10
"""Per cent of the peak below which a device waits for its next kernel, about."""


def _steps(setting: Setting) -> int:
    """Of an epoch."""
    return 2 if setting.small else 40


def _turns(setting: Setting) -> int:
    return 1 if setting.small else 3


def make_ways(
    scene: Scene, precision: str, results: Path | None, stack: contextlib.ExitStack, epochs: int
) -> dict[str, Pack]:
    """The students with plain kernels, as CUDA graphs, and as graphs on streams of their own."""
    options = {"plain": {}}
    if scene.device == "cuda":
        options |= {"graphs": {"graphs": True}, "streams": {"graphs": True, "beside": True}}
    return {way: Pack(scene, precision, results, stack, epochs=epochs, **chosen) for way, chosen in options.items()}


def measure_ways(packs: dict[str, Pack], turns: int, device: str, peak: float | None) -> Iterator[tuple[str, Row]]:
    """Rates in turns, warmed up."""
    packs["plain"].steps()
    flops = count_flops(packs["plain"].steps) / packs["plain"].stream.steps / len(packs["plain"].students)
    for pack in packs.values():
        pack.steps()
        pack.seconds = pack.teacher.seconds = 0.0
    rates = take_turns({way: pack.steps for way, pack in packs.items()}, turns, device)
    for way, rate in rates.items():
        pack = packs[way]
        yield (
            way,
            {
                "way": way,
                "steps/s": rate.median,
                "ratio": rate.median / rates["plain"].median,
                "peak, %": peak and 100 * rate.median * flops / peak,
                "teacher, %": 100 * pack.teacher.seconds / pack.seconds,
            },
        )


def measure_students(setting: Setting) -> Iterator[Row]:
    """Nine students and one, live and with a cache."""
    prepare(setting.device)
    peaks = None if setting.small else measure_peaks(setting.device, turns=1)
    turns, steps = _turns(setting), _steps(setting)
    for pair in (SMALL_PAIR,) if setting.small else SPEED_PAIRS:
        for rows in (["kd"], ["kd", "dkd"] if setting.small else []):
            scene = make_scene(pair, rows, steps, setting.device)
            for precision in setting.precisions:
                for cached in (False, True):
                    with contextlib.ExitStack() as stack:
                        results = Path(stack.enter_context(tempfile.TemporaryDirectory())) if cached else None
                        packs = make_ways(scene, precision, results, stack, turns + 5)
                        about = {"pair": pair, "students": len(scene.specs), "precision": precision}
                        about |= {"teacher": "cached" if cached else "live"}
                        for _, row in measure_ways(packs, turns, setting.device, peaks and peaks[precision]):
                            yield about | row


def measure_together(setting: Setting) -> Iterator[Row]:
    """vmap and torch.compile beside the loop; what a way cannot do is said."""
    from benchmarks.together import Students, compile_each, stack

    prepare(setting.device)
    name, students = ("resnet8", 2) if setting.small else ("resnet8x4", 9)
    repeats = 1 if setting.small else 5
    for precision in setting.precisions:
        ways: dict[str, Callable[[], Callable[[], None]]] = {
            "loop": lambda some: some.loop,
            "vmap": lambda some: stack(some)[0],
        }
        if setting.device == "cuda":
            ways["compile"] = compile_each
        rate: dict[str, float] = {}
        for way, make in ways.items():
            about = {"student": name, "students": students, "precision": precision, "way": way}
            try:
                work = make(Students(name, students, setting.device, precision))
                work()
                rate[way] = _rate(work, repeats, setting.device) * students
            except RuntimeError as error:
                yield about | {"way": f"{way}: {' '.join(str(error).split())[:100]}"}
                continue
            yield about | {"steps/s": rate[way], "ratio": rate[way] / rate["loop"]}


def _rate(work: Callable[[], object], repeats: int, device: str) -> float:
    synchronize(device)
    began = time.perf_counter()
    for _ in range(repeats):
        work()
    synchronize(device)
    return repeats / (time.perf_counter() - began)


def project_table5(setting: Setting) -> Iterator[Row]:
    """Of each pair the best way; then all six together."""
    prepare(setting.device)
    peaks = None if setting.small else measure_peaks(setting.device, turns=1)
    pairs = [SMALL_PAIR] if setting.small else [pair.key for pair in CIFAR100.pairs]
    images = count_images("cifar100", None).train_size
    total = dict.fromkeys(setting.precisions, 0.0)
    for pair in pairs:
        for precision in setting.precisions:
            with contextlib.ExitStack() as stack:
                scene = make_scene(pair, ["kd"] if setting.small else [], _steps(setting), setting.device)
                packs = make_ways(scene, precision, None, stack, 10)
                found = [row for _, row in measure_ways(packs, 1, setting.device, peaks and peaks[precision])]
            best = max(found, key=lambda row: row["steps/s"])
            hours = SEEDS * EPOCHS * images / BATCH * len(scene.specs) / best["steps/s"] / 3600
            total[precision] += hours
            bound = "teacher" if best["teacher, %"] > 50 else "students"
            bound = "launches" if peaks and best["peak, %"] < LAUNCHES else bound
            yield {"pair": pair, "precision": precision, **best, "hours": hours, "bound": bound}
    for precision, hours in total.items():
        yield {"pair": "all of these", "precision": precision, "hours": hours}


def measure_rest(setting: Setting) -> Iterator[Row]:
    """Tests, augmentation, and the copy and writing of a checkpoint."""
    prepare(setting.device)
    count = 4 * setting.batch if setting.small else 40 * setting.batch
    images = make_images(count, setting.data_dir).to(setting.device)
    network = build(SMALL_PAIR.partition("/")[2] if setting.small else "resnet8x4", CLASSES).to(setting.device).eval()
    facts = count_images("cifar100", None)
    spec = list_specs(SMALL_PAIR, ("table5",), setting)["kd"]
    stream = images.stream(seed=1, batch_size=setting.batch, augmentation=spec.augmentation)

    def augment() -> None:
        for chunk in stream.epoch(1):
            _ = chunk.images

    def save() -> None:
        with tempfile.TemporaryDirectory() as folder:
            state = {name: value.detach().cpu() for name, value in network.state_dict().items()}
            torch.save({"model": state, "momentum": state}, Path(folder) / "checkpoint.pt")

    for what, work, scale in (
        ("test", lambda: evaluate_models([network], images, "fp32"), facts.test_size / count),
        ("augmentation", augment, facts.train_size / count),
        ("checkpoint", save, 1.0),
    ):
        work()
        yield {"what": what, "seconds an epoch": scale / _rate(work, 1 if setting.small else 3, setting.device)}


def measure_decoders(setting: Setting) -> Iterator[Row]:
    """torchcodec and DALI where they are installed; what is left out says why."""
    from benchmarks.decoders import make_sides
    from benchmarks.imagenet_input import make
    from trainables.datasets import imagenet

    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), 64 if setting.small else 512)
        sides, left_out = make_sides(imagenet.read(Path(folder), download=False).assemble("imagenet"))
        if setting.small:
            sides = {name: sides[name] for name in ("Pillow", "here")}
        rates: dict[str, float] = {}
        for name, side in sides.items():
            done = side.turn()
            rates[name] = done * _rate(side.turn, 1, setting.device)
            yield {"decoder": name, "images/s": rates[name], "ratio to Pillow": rates[name] / rates["Pillow"]}
        for name, why in left_out.items():
            yield {"decoder": name, "left out": why}
